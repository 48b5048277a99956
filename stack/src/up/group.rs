//! A cgroup for each service: seen as one thing by whoever looks, and its CPU can be capped. Uses
//! the unified hierarchy and, where that has no `cpu` controller, the old one's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::link::leftover;
use crate::link::mark::{Mark, PREFIX};

/// Over which the quota is reckoned: the kernel's default.
const PERIOD_US: u32 = 100_000;
/// The kernel refuses a smaller quota (kernel/sched/core.c, `min_cfs_quota_period`).
const SMALLEST_QUOTA_US: u32 = 1_000;

/// Where the hierarchies are mounted.
#[derive(Debug, Default, PartialEq)]
struct Hierarchies {
    unified: Option<PathBuf>,
    old_cpu: Option<PathBuf>,
}

/// Of one service; gone on drop.
pub(crate) struct Group {
    name: String,
    hierarchies: Hierarchies,
    unified: Option<PathBuf>,
    old_cpu: Option<PathBuf>,
}

impl Group {
    /// Makes it where that is allowed; without the right to, it holds nothing.
    pub(crate) fn make(service: &str) -> Result<Self> {
        let name = Mark::own()?.name(service);
        let hierarchies = Hierarchies::find();
        let unified = hierarchies
            .unified
            .as_ref()
            .map(|root| root.join(&name))
            .filter(|path| make(path).is_ok());
        Ok(Self {
            name,
            hierarchies,
            unified,
            old_cpu: None,
        })
    }

    /// One that holds nothing.
    pub(crate) fn none() -> Self {
        Self {
            name: String::new(),
            hierarchies: Hierarchies::default(),
            unified: None,
            old_cpu: None,
        }
    }

    /// Moves a process in; its later children follow.
    pub(crate) fn add(&self, pid: u32) -> Result<()> {
        for path in self.unified.iter().chain(&self.old_cpu) {
            write(&path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The processes inside; none are known without a cgroup.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let path = self.unified.as_ref().map(|path| path.join("cgroup.procs"));
        let text = path
            .and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Lets the service have at most so many CPUs' time; `None`: as much as there is. Processes
    /// that are not in the group already must be told.
    pub(crate) fn cap(&mut self, cpus: Option<f64>, pids: &[u32]) -> Result<()> {
        let quota = cpus.map(|cpus| ((cpus * f64::from(PERIOD_US)) as u32).max(SMALLEST_QUOTA_US));
        if let Some(unified) = self
            .unified
            .as_ref()
            .filter(|path| path.join("cpu.max").exists())
        {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            return write(&unified.join("cpu.max"), &format!("{quota} {PERIOD_US}"));
        }
        let Some(root) = &self.hierarchies.old_cpu else {
            bail!(
                "no cgroup hierarchy here has a cpu controller to cap with (as root, try \
                 `echo +cpu > cgroup.subtree_control` at the root of the unified one)"
            );
        };
        if self.old_cpu.is_none() {
            let path = root.join(&self.name);
            make(&path).with_context(|| format!("making {} (needs root)", path.display()))?;
            self.old_cpu = Some(path);
        }
        let Some(path) = &self.old_cpu else {
            return Ok(());
        };
        write(&path.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
        write(
            &path.join("cpu.cfs_quota_us"),
            &quota.map_or("-1".to_owned(), |quota| quota.to_string()),
        )?;
        for pid in pids {
            write(&path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for path in self.unified.iter().chain(&self.old_cpu) {
            if let Err(error) = leftover::remove_group(path) {
                tracing::warn!(path = %path.display(), error = format!("{error:#}"), "cannot take a cgroup away");
            }
        }
    }
}

impl Hierarchies {
    fn find() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// From the kernel's table of mounts: source, place, type, options.
    fn parse(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(place), Some(kind), Some(options)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            match kind {
                "cgroup2" => found.unified = Some(place.into()),
                "cgroup" if options.split(',').any(|option| option == "cpu") => {
                    found.old_cpu = Some(place.into())
                }
                _ => {}
            }
        }
        found
    }
}

/// Cgroups of this program's runs, alive or dead.
pub(crate) fn marked() -> Vec<PathBuf> {
    let hierarchies = Hierarchies::find();
    let roots = hierarchies.unified.iter().chain(&hierarchies.old_cpu);
    let entries = roots
        .filter_map(|root| fs::read_dir(root).ok())
        .flatten()
        .flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(PREFIX))
        })
        .map(|entry| entry.path())
        .collect()
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {text} to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_in_the_table_of_mounts() {
        let mixed = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n\
                     cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                     cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Hierarchies::parse(mixed);
        assert_eq!(
            found.unified.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            found.old_cpu.as_deref(),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(
            Hierarchies::parse("proc /proc proc rw 0 0\n"),
            Hierarchies::default()
        );
    }
}
