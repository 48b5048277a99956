//! What runs of this program left that were killed: namespaces and the processes in them, cgroups,
//! mounts and directories. Each carries its owner's mark in its name; a later run clears away those
//! whose owner is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use super::mark::Mark;
use super::namespace;

/// How long a process may take to end after SIGTERM, and again after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(20);

/// Where runs keep their sockets, links and mounts: gone at the next boot, as namespaces are.
pub(crate) fn directory() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        PathBuf::from("/run")
    } else {
        std::env::temp_dir()
    }
}

/// Clears away all whose owner is gone; returns how many things that were. What cannot be taken
/// away is said and left.
pub(crate) fn clear() -> usize {
    let mut count = 0;
    let mut done = |what: &str, name: &str, result: Result<()>| match result {
        Ok(()) => count += 1,
        Err(error) => tracing::warn!(
            name,
            error = format!("{error:#}"),
            "cannot clear away a {what} of an earlier run"
        ),
    };
    for name in namespace::list().into_iter().filter(|name| is_orphan(name)) {
        done("network namespace", &name, remove_namespace(&name));
    }
    for path in crate::up::group::marked()
        .into_iter()
        .filter(|path| has_orphan_name(path))
    {
        done("cgroup", &path.to_string_lossy(), remove_group(&path));
    }
    let own = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned));
    for parent in [Some(directory()), own].into_iter().flatten() {
        for path in entries(&parent)
            .into_iter()
            .filter(|path| has_orphan_name(path))
        {
            done(
                "directory",
                &path.to_string_lossy(),
                remove_directory(&path),
            );
        }
    }
    count
}

/// Ends what runs in a namespace, then takes it away.
pub(crate) fn remove_namespace(name: &str) -> Result<()> {
    end(&namespace::processes(name));
    match namespace::delete(name) {
        // Another run may clear away the same at the same time.
        Err(error) if namespace::exists(name) => Err(error),
        _ => Ok(()),
    }
}

/// Ends what runs in a cgroup, then takes it away.
pub(crate) fn remove_group(path: &Path) -> Result<()> {
    for child in entries(path).into_iter().filter(|child| child.is_dir()) {
        remove_group(&child)?;
    }
    let pids = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    end(&pids
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .collect::<Vec<_>>());
    match fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Takes away a directory and what is mounted below it.
pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mount).starts_with(path) {
            // Lazily, as a process that has not ended yet may hold a file there.
            unmount(mount, UnmountFlags::DETACH)?;
        }
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Asks processes to end and ends those that do not.
pub(crate) fn end(pids: &[u32]) {
    let mut marks: Vec<(Pid, Mark)> = pids
        .iter()
        .filter(|&&pid| pid != std::process::id())
        .filter_map(|&pid| Some((Pid::from_raw(i32::try_from(pid).ok()?)?, Mark::of(pid)?)))
        .collect();
    for signal in [Signal::TERM, Signal::KILL] {
        for &(pid, mark) in &marks {
            if mark.lives() {
                // It may end at this moment: then there is nothing to do.
                let _ = kill_process(pid, signal);
                // One that is stopped would not see SIGTERM.
                let _ = kill_process(pid, Signal::CONT);
            }
        }
        let mut waited = Duration::ZERO;
        while waited < PATIENCE && marks.iter().any(|(_, mark)| mark.lives()) {
            thread::sleep(STEP);
            waited += STEP;
        }
        marks.retain(|(_, mark)| mark.lives());
    }
}

fn is_orphan(name: &str) -> bool {
    Mark::in_name(name).is_some_and(|mark| !mark.lives())
}

fn has_orphan_name(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(is_orphan)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::command::run;
    use super::super::mark::PREFIX;
    use super::*;

    #[test]
    fn only_marked_names_without_an_owner_are_orphans() {
        let own = Mark::own().unwrap();
        assert!(!is_orphan(&own.name("a")));
        assert!(!is_orphan("server"));
        // No process has number 0.
        assert!(is_orphan(&format!("{PREFIX}0-1-a")));
    }

    #[test]
    fn a_stopped_process_is_ended_too() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        run(Command::new("kill").args(["-STOP", &pid.to_string()])).unwrap();
        // Reaped meanwhile, as a zombie is still in /proc.
        let reaper = thread::spawn(move || child.wait());
        end(&[pid]);
        assert!(!reaper.join().unwrap().unwrap().success());
    }

    #[test]
    fn a_directory_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a");
        fs::create_dir_all(path.join("b")).unwrap();
        fs::write(path.join("b/c"), "x").unwrap();
        remove_directory(&path).unwrap();
        assert!(!path.exists());
        remove_directory(&path).unwrap();
    }
}
