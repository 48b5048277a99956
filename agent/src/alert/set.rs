//! All groups of all rule files: loading, replacing as a whole, storing and needs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_promql::store::{Need, needs};

use super::duration::shown;
use super::file::{FileError, Problem, RuleFile, RuleName};
use super::group::{Group, Settings};
use super::page::{Page, Pairs};
use super::rule::Rule;
use super::state::{Alerts, Saved, Sending};

/// Most files that are read.
const MAX_FILES: usize = 1_000;

/// The groups at work.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// All of them, in order of files.
    pub groups: Vec<Group>,
}

/// The state of one rule, to be stored.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SavedRule {
    /// The file that it stands in.
    pub file: String,
    /// Its group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its labels as written.
    pub labels: Pairs,
    /// Its alerts.
    pub state: Saved,
}

impl SavedRule {
    /// The state of a rule.
    pub fn new(group: &Group, rule: &Rule, at_ms: i64) -> Self {
        Self {
            file: group.file.to_string(),
            group: group.name.clone(),
            name: rule.written.name.clone(),
            labels: rule.written.labels.clone(),
            state: rule.alerts.save(at_ms),
        }
    }

    /// What tells it from the states of other rules.
    pub fn key(&self) -> String {
        let labels = self.labels.iter();
        let labels = labels.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let parts = [self.file.as_str(), &self.group, &self.name].into_iter();
        parts.chain(labels).collect::<Vec<_>>().join("\0")
    }

    /// As it is stored; none if it has nothing to keep.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        if self.state.alerts.is_empty() {
            return None;
        }
        serde_json::to_vec(self).ok()
    }

    /// What was stored; none if it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Reads files and every `*.yml` and `*.yaml` in folders. All are good, or none is used.
///
/// # Errors
/// With everything that is wrong with any of them.
pub fn load(paths: &[PathBuf]) -> Result<Vec<RuleFile>, Vec<FileError>> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    let fail = |path: &Path, why: String| FileError {
        path: path.display().to_string(),
        problems: vec![Problem::plain(why)],
    };
    let mut found = Vec::new();
    for path in paths {
        match list(path) {
            Ok(list) => found.extend(list),
            Err(why) => errors.push(fail(path, why.to_string())),
        }
    }
    found.sort();
    found.dedup();
    if found.len() > MAX_FILES {
        let why = format!("there are more than {MAX_FILES} rule files");
        errors.push(fail(&found[MAX_FILES], why));
        found.truncate(MAX_FILES);
    }
    for path in found {
        match RuleFile::load(&path, false) {
            Ok(file) => files.push(file),
            Err(why) => errors.push(why),
        }
    }
    if errors.is_empty() {
        Ok(files)
    } else {
        Err(errors)
    }
}

fn list(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yml" || extension == "yaml");
        if is_yaml && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

impl RuleSet {
    /// Groups that were not evaluated yet.
    pub fn new(files: Vec<RuleFile>, settings: &Settings) -> Self {
        let mut groups = Vec::new();
        for file in files {
            let path = file.path;
            let written = file.groups.into_iter();
            groups.extend(written.map(|group| Group::new(&path, group, settings)));
        }
        Self { groups }
    }

    /// Puts new files in the place of the old ones; rules that are still there keep their state.
    /// Gives back pages for alerts that fired and whose rule is gone: they are resolved.
    pub fn replace(&mut self, files: Vec<RuleFile>, settings: &Settings, at_ms: i64) -> Vec<Page> {
        let mut old = std::mem::take(&mut self.groups);
        let mut pages = Vec::new();
        let resolve = |rules: Vec<Rule>, sending: Sending, pages: &mut Vec<Page>| {
            for mut rule in rules {
                let url = rule.generator_url().to_owned();
                pages.extend(rule.alerts.resolve_all(at_ms, &sending, &url));
            }
        };
        let sending = |interval_ms| Sending {
            interval_ms,
            resend_ms: settings.resend_ms,
        };
        *self = Self::new(files, settings);
        for group in &mut self.groups {
            let same = |old: &Group| old.file == group.file && old.name == group.name;
            if let Some(at) = old.iter().position(same) {
                let gone = group.inherit(old.remove(at));
                resolve(gone, sending(group.interval_ms), &mut pages);
            }
        }
        for group in old {
            resolve(group.rules, sending(group.interval_ms), &mut pages);
        }
        pages
    }

    /// The state of all alerts, to be stored.
    pub fn save(&self, at_ms: i64) -> Vec<SavedRule> {
        let mut saved = Vec::new();
        for group in &self.groups {
            for rule in group
                .rules
                .iter()
                .filter(|rule| rule.alerts.iter().next().is_some())
            {
                saved.push(SavedRule::new(group, rule, at_ms));
            }
        }
        saved
    }

    /// Goes on with the state of a former run; says how many rules it had that are gone.
    ///
    /// An alert stays as it was until the windows that its rule reads can be full again.
    pub fn restore(&mut self, saved: Vec<SavedRule>, now_ms: i64, lookback_ms: i64) -> usize {
        let mut gone = 0;
        for saved in saved {
            let Some((group, rule)) = self.find(&saved) else {
                gone += 1;
                continue;
            };
            let group = &mut self.groups[group];
            let tree = group.rules[rule].written.expr.tree();
            let needs = needs(tree, lookback_ms, group.query_offset_ms).unwrap_or_default();
            let window_ms = needs.iter().map(|need| need.window_ms).max().unwrap_or(0);
            let warm_at_ms = now_ms
                .saturating_add(window_ms)
                .saturating_add(2 * group.interval_ms);
            group.rules[rule].alerts = Alerts::restore(saved.state, now_ms, warm_at_ms);
        }
        gone
    }

    /// Whether the rule of a saved state is there and has none yet.
    pub fn has(&self, saved: &SavedRule) -> bool {
        self.find(saved).is_some()
    }

    fn find(&self, saved: &SavedRule) -> Option<(usize, usize)> {
        let same = |group: &Group| *group.file == *saved.file && group.name == saved.group;
        let group = self.groups.iter().position(same)?;
        let rule = self.groups[group].rules.iter().position(|rule| {
            rule.is_alert()
                && rule.written.name == saved.name
                && rule.written.labels == saved.labels
                && rule.alerts.iter().next().is_none()
        })?;
        Some((group, rule))
    }
}

/// What the rules need of the past.
///
/// # Errors
/// With file, group and rule of every expression that needs more than `window_ms`, or a time that no
/// window covers.
pub fn demand(
    files: &[RuleFile],
    settings: &Settings,
    lookback_ms: i64,
    window_ms: i64,
) -> Result<Vec<Need>, Vec<FileError>> {
    let mut all = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        let mut problems = Vec::new();
        for group in &file.groups {
            let offset_ms = group.query_offset_ms.unwrap_or(settings.query_offset_ms);
            for (index, rule) in group.rules.iter().enumerate() {
                let refuse = |message: String| Problem {
                    rule: Some(Box::new(RuleName {
                        group: group.name.clone(),
                        number: index + 1,
                        name: rule.name.clone(),
                    })),
                    ..Problem::plain(message)
                };
                match needs(rule.expr.tree(), lookback_ms, offset_ms) {
                    Err(why) => problems.push(refuse(why.to_string())),
                    Ok(needs) => {
                        let longest = needs.iter().map(|need| need.window_ms).max().unwrap_or(0);
                        if longest > window_ms {
                            let (longest, window) = (shown(longest), shown(window_ms));
                            problems.push(refuse(format!(
                                "expression needs {longest} of the past, but the window is {window}"
                            )));
                        }
                        all.extend(needs);
                    }
                }
            }
        }
        if !problems.is_empty() {
            errors.push(FileError {
                path: file.path.to_string(),
                problems,
            });
        }
    }
    if errors.is_empty() {
        Ok(all)
    } else {
        Err(errors)
    }
}
