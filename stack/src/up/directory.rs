//! A run's own directory for sockets, links to the binary and mounts: marked with its owner and
//! gone on drop.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::link::leftover;
use crate::link::mark::Mark;

/// Kept where it is gone at the next boot.
pub(crate) struct Directory {
    path: PathBuf,
    binaries: PathBuf,
    program: PathBuf,
}

impl Directory {
    /// Makes it; only its owner may enter.
    pub(crate) fn make(what: &str) -> Result<Self> {
        let mark = Mark::own()?;
        let path = leftover::directory().join(mark.name(what));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        let program = std::env::current_exe().context("finding this program")?;
        let beside = program.parent().unwrap_or(Path::new("/"));
        let binaries = beside.join(mark.name(&format!("{what}-bin")));
        Ok(Self {
            path,
            binaries,
            program,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// This program under another file name, so that lists of processes tell services apart by
    /// command and by executable: a hard link beside it, or a copy where that cannot be.
    pub(crate) fn program_as(&self, name: &str) -> Result<PathBuf> {
        let linked = self.binaries.join(name);
        if linked.exists() {
            return Ok(linked);
        }
        if fs::create_dir_all(&self.binaries).is_ok()
            && fs::hard_link(&self.program, &linked).is_ok()
        {
            return Ok(linked);
        }
        let copied = self.path.join(name);
        if !copied.exists() {
            fs::copy(&self.program, &copied)
                .with_context(|| format!("copying this program to {}", copied.display()))?;
        }
        Ok(copied)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for path in [&self.path, &self.binaries] {
            if let Err(error) = leftover::remove_directory(path) {
                tracing::warn!(path = %path.display(), error = format!("{error:#}"), "cannot take a directory away");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_another_name_and_all_is_gone_afterwards() {
        let directory = Directory::make("test-directory").unwrap();
        let program = directory.program_as("weir-origin").unwrap();
        assert!(program.ends_with("weir-origin"));
        assert_eq!(
            fs::metadata(&program).unwrap().len(),
            fs::metadata(&directory.program).unwrap().len()
        );
        assert_eq!(directory.program_as("weir-origin").unwrap(), program);
        let path = directory.path().to_owned();
        drop(directory);
        assert!(!path.exists() && !program.exists());
    }
}
