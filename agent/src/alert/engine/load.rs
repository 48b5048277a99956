//! From the configuration to rule files that can be used, and the same again while running.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use anyhow::{Context as _, bail, ensure};
use tracing::{error, info};

use super::{LOOKBACK_MS, Rules, asked, limits, milliseconds, settings};
use crate::alert::config::Alert;
use crate::alert::file::{FileError, RuleFile};
use crate::alert::log::Change;
use crate::alert::set;

/// The files that were there at a time: path, device, inode, size and time of change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Option<[i64; 5]>)>);

impl Files {
    /// Looks at all rule files. A link counts as what it points to.
    pub fn look(config: &Alert) -> Self {
        let paths = expand(config).unwrap_or_default();
        let all = paths.into_iter().flat_map(|path| {
            let inside = std::fs::read_dir(&path).into_iter().flatten().flatten();
            let mut inside: Vec<_> = inside.take(10_000).map(|entry| entry.path()).collect();
            inside.sort_unstable();
            std::iter::once(path).chain(inside)
        });
        Self(all.map(|path| (path.clone(), stamp(&path))).collect())
    }
}

fn stamp(path: &Path) -> Option<[i64; 5]> {
    let found = std::fs::metadata(path).ok()?;
    let number = |n: u64| i64::from_ne_bytes(n.to_ne_bytes());
    let size = if found.is_dir() { 0 } else { found.size() };
    Some([
        number(found.dev()),
        number(found.ino()),
        number(size),
        found.mtime(),
        found.mtime_nsec(),
    ])
}

/// The paths that the configuration names. A pattern may match nothing; a plain path stays as it
/// is.
fn expand(config: &Alert) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (index, text) in config.rule_files.iter().enumerate() {
        let key = || format!("alert.rule_files[{index}] is {text:?}");
        let (dir, name) = text.rsplit_once('/').unwrap_or(("", text));
        let is_pattern = |text: &str| text.contains(['*', '?', '[']);
        ensure!(
            !is_pattern(dir),
            "{}: only the last part of a path may be a pattern",
            key()
        );
        ensure!(!text.is_empty(), "{}: name a file", key());
        if !is_pattern(name) || Path::new(text).exists() {
            paths.push(PathBuf::from(text));
            continue;
        }
        let pattern = match text.rsplit_once('/') {
            Some((dir, name)) => format!("{}/{name}", glob::Pattern::escape(dir)),
            None => text.clone(),
        };
        let found = glob::glob(&pattern).with_context(key)?;
        for path in found {
            let path = path.with_context(key)?;
            // Editors and Kubernetes put hidden things beside the files.
            let is_hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !is_hidden {
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// Reads and checks all rule files.
///
/// # Errors
/// One line: the first thing that is wrong, with file, place, group and rule, and how many more
/// there are.
pub fn load(config: &Alert) -> anyhow::Result<Vec<RuleFile>> {
    let settings = settings(config);
    let files = set::load(&expand(config)?).map_err(first)?;
    let window_ms = milliseconds(config.window_seconds);
    set::demand(&files, &settings, LOOKBACK_MS, window_ms).map_err(first)?;
    let groups = || files.iter().flat_map(|file| &file.groups);
    for (index, wanted) in config.immediate.iter().enumerate() {
        if groups().all(|group| group.name != *wanted) {
            let names: Vec<_> = groups().map(|group| group.name.as_str()).take(20).collect();
            bail!(
                "alert.immediate[{index}] is {wanted:?}, but no rule file has a group of that name: there are {}",
                names.join(", ")
            );
        }
        asked::check(&files, wanted).map_err(first)?;
    }
    Ok(files)
}

fn first(errors: Vec<FileError>) -> anyhow::Error {
    let mut all = errors
        .iter()
        .flat_map(|error| error.problems.iter().map(move |problem| (error, problem)));
    let Some((error, problem)) = all.next() else {
        return anyhow::anyhow!("a rule file cannot be used");
    };
    let line = format!("{}: {problem}", error.path).replace('\n', " ");
    match all.count() {
        0 => anyhow::anyhow!("{line}"),
        more => anyhow::anyhow!("{line} (and {more} more; `weir rules check` tells all)"),
    }
}

impl Rules {
    /// Takes over another configuration and reads all rule files again; blocks. If any of them
    /// cannot be used, the rules and their configuration stay as they were, which is said and
    /// counted.
    pub fn reload(&self, config: &Alert) -> bool {
        let _work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is found by the next look.
        let (seen, seen_before) = (Files::look(config), Files::look(&self.config()));
        let files = match load(config) {
            Ok(files) => files,
            Err(why) => {
                self.note(seen_before);
                self.counts.reloaded(false, super::wall_ms());
                error!("the rules stay as they were: {why:#}");
                return false;
            }
        };
        self.note(seen);
        let rules: usize = files.iter().map(RuleFile::rules).sum();
        let count = files.len();
        let change = self.put(config, files);
        self.log.commit_blocking(change);
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.counts.reloaded(true, super::wall_ms());
        self.wake.notify_one();
        info!(files = count, rules, "rules loaded");
        true
    }

    /// Reads the rule files again with the configuration at hand.
    pub fn reload_files(&self) -> bool {
        let config = self.config();
        self.reload(&config)
    }

    /// Rule files as they are, or were, when they are read.
    pub(super) fn note(&self, files: Files) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
    }

    /// Whether rule files are others than those that were read.
    pub(super) fn are_others(&self, files: &Files) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().is_some_and(|seen| seen != files)
    }

    /// Has services labelled anew by `relabel`: a counter that goes on under other labels is not
    /// taken for one that was born just now. Blocks while rules are evaluated.
    pub fn relabel(&self, relabel: impl FnOnce()) {
        let _work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.lock();
        relabel();
        inner.feed.forget_births();
        // What waits has the old labels.
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }

    /// The configuration that is in force.
    pub(super) fn config(&self) -> Alert {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    fn put(&self, config: &Alert, files: Vec<RuleFile>) -> Change {
        let mut inner = self.lock();
        let mut clock = inner.clock;
        let now_ms = clock.read(super::wall_ms(), self.steady_ms()).now_ms;
        let keys = |inner: &super::Inner| {
            let saved = inner.set.save(now_ms);
            saved.iter().map(set::SavedRule::key).collect::<Vec<_>>()
        };
        let before = keys(&inner);
        let external = inner.settings.external.labels.clone();
        inner.settings = settings(config);
        inner.store.set_limits(limits(config));
        let new = inner.settings.clone();
        let mut pages = inner.set.replace(files, &new, now_ms);
        for page in &mut pages {
            super::outcome::carry(page, &external);
        }
        inner.arrange(config);
        inner.measure(&self.counts);
        self.asked.send_replace(inner.asked());
        let after = keys(&inner);
        let gone = before.into_iter().filter(|key| !after.contains(key));
        Change {
            pages,
            states: gone.map(|key| (key, None)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(files: &[String]) -> Alert {
        Alert {
            rule_files: files.to_vec(),
            ..Alert::default()
        }
    }

    #[test]
    fn the_last_part_of_a_path_may_be_a_pattern() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yaml", "c.txt", ".d.yaml"] {
            std::fs::write(dir.path().join(name), "groups: []\n").unwrap();
        }
        let at = |name: &str| dir.path().join(name).display().to_string();
        let paths = expand(&config(&[at("*.yaml"), at("plain")])).unwrap();
        assert_eq!(
            paths,
            ["a.yaml", "b.yaml", "plain"].map(|name| dir.path().join(name))
        );
        let why = expand(&config(&["/etc/*/a.yaml".to_owned()])).unwrap_err();
        assert!(why.to_string().contains("alert.rule_files[0]"), "{why}");
        assert!(load(&config(&[at("*.yaml")])).unwrap().len() == 2);
        assert!(load(&config(&[at("plain")])).is_err());
    }

    #[test]
    fn a_change_of_a_file_or_of_what_a_link_points_to_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        for of in [&one, &two] {
            std::fs::create_dir(of).unwrap();
            std::fs::write(of.join("r.yaml"), "groups: []\n").unwrap();
        }
        let link = dir.path().join("data");
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let config = config(&[link.join("*.yaml").display().to_string()]);
        let before = Files::look(&config);
        assert_eq!(Files::look(&config), before);
        let new = dir.path().join("new");
        std::os::unix::fs::symlink(&two, &new).unwrap();
        std::fs::rename(&new, &link).unwrap();
        let after = Files::look(&config);
        assert_ne!(after, before);
        std::fs::write(two.join("s.yaml"), "groups: []\n").unwrap();
        assert_ne!(Files::look(&config), after);
    }
}
