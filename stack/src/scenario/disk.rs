//! A small file system in memory that can be filled up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// What the space is taken by.
const FILLER: &str = ".filler";
const CHUNK: usize = 64 * 1024;

/// Mounted until dropped.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a tmpfs of so many mebibytes.
    pub(crate) fn mount(path: &Path, mib: u64) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        let options = std::ffi::CString::new(format!("size={mib}m,mode=0755"))
            .context("options of a mount")?;
        mount(
            "weir-stack",
            path,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            options.as_c_str(),
        )
        .with_context(|| format!("mounting a tmpfs at {} (needs root)", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Takes all space but so many bytes.
    pub(crate) fn fill(&self, leave_bytes: u64) -> Result<()> {
        let path = self.path.join(FILLER);
        let fail = || format!("filling {}", self.path.display());
        let mut file = File::create(&path).with_context(fail)?;
        let mut written = 0_u64;
        loop {
            match file.write(&[0; CHUNK]) {
                Ok(bytes) => written += bytes as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error).with_context(fail),
            }
        }
        file.set_len(written.saturating_sub(leave_bytes))
            .with_context(fail)
    }

    /// Gives the space back.
    pub(crate) fn empty(&self) -> Result<()> {
        fs::remove_file(self.path.join(FILLER))
            .with_context(|| format!("emptying {}", self.path.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as a process that has not ended yet may hold a file there.
        if let Err(error) = unmount(self.path.as_path(), UnmountFlags::DETACH) {
            tracing::warn!(path = %self.path.display(), %error, "cannot unmount");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_an_emptied_one_does() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP a small disk: needs root");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let disk = Disk::mount(&place.path().join("disk"), 1).unwrap();
        let file = disk.path.join("a");
        disk.fill(0).unwrap();
        assert_eq!(
            fs::write(&file, [1; 8192]).unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        disk.empty().unwrap();
        fs::write(&file, [1; 8192]).unwrap();
        disk.fill(64 * 1024).unwrap();
        fs::write(disk.path.join("b"), [1; 8192]).unwrap();
    }
}
