//! What a run has made, written to a file while it makes it, so that a later
//! run can clear away what a SIGKILL left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::command::{note, output, run, step};

/// Kept until the next boot, as namespaces are.
const RECORDS: &str = "/run/weir-demo";

/// A process, told from a later one of the same number by its start.
#[derive(Serialize, Deserialize, PartialEq, Eq, Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// In clock ticks since boot.
    start: u64,
}

/// What one run has made.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    owner: Process,
    namespaces: Vec<String>,
    processes: Vec<Process>,
    pub(super) directory: PathBuf,
    /// A `weir-stack`, which knows what runs of its own leave that are killed.
    #[serde(default)]
    cleaner: Option<PathBuf>,
}

impl Process {
    /// The process of that number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the fields count from behind it.
        let start = stat
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(19)?
            .parse()
            .ok()?;
        Some(Self { pid, start })
    }

    fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Asks the process to end and, if it does not, ends it.
    pub(super) fn end(&self) {
        // A scenario ends its services one after the other, each in its own order.
        const PATIENCE: Duration = Duration::from_secs(40);
        const STEP: Duration = Duration::from_millis(20);
        for signal in [Signal::TERM, Signal::KILL] {
            let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
                return;
            };
            if !self.lives() || kill_process(pid, signal).is_err() {
                return;
            }
            let mut waited = Duration::ZERO;
            while self.lives() && waited < PATIENCE {
                thread::sleep(STEP);
                waited += STEP;
            }
        }
    }
}

impl Record {
    /// Starts the record of this run.
    pub(super) fn begin(directory: PathBuf, cleaner: Option<PathBuf>) -> Result<Self> {
        let owner = Process::of(std::process::id()).context("this process is not in /proc")?;
        let record = Self {
            owner,
            namespaces: Vec::new(),
            processes: Vec::new(),
            directory,
            cleaner,
        };
        record.save()?;
        Ok(record)
    }

    /// Adds a process that was started.
    pub(super) fn add(&mut self, pid: u32) -> Result<()> {
        self.processes.extend(Process::of(pid));
        self.save()
    }

    /// Adds a network namespace that will be made.
    pub(super) fn add_namespace(&mut self, name: &str) -> Result<()> {
        self.namespaces.push(name.to_owned());
        self.save()
    }

    fn save(&self) -> Result<()> {
        fs::create_dir_all(RECORDS).with_context(|| format!("making {RECORDS}"))?;
        let text = serde_json::to_string(self).context("writing the record of this run")?;
        let path = self.path();
        // Renamed into place: a reader never sees half a record.
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).with_context(|| format!("writing {}", fresh.display()))?;
        fs::rename(&fresh, &path).with_context(|| format!("writing {}", path.display()))
    }

    fn path(&self) -> PathBuf {
        Path::new(RECORDS).join(format!("{}.json", self.owner.pid))
    }

    /// Takes away all that is recorded; what cannot be taken away is said.
    pub(super) fn clear(&self) {
        for namespace in &self.namespaces {
            for pid in processes_in(namespace) {
                if let Some(process) = Process::of(pid) {
                    process.end();
                }
            }
        }
        for process in &self.processes {
            process.end();
        }
        // One that ended in good order left nothing: then this finds nothing.
        if let Some(cleaner) = self.cleaner.as_ref().filter(|program| program.exists())
            && let Err(error) = output(Command::new(cleaner).args(["link", "clear"]))
        {
            note!("left behind: {error}");
        }
        for namespace in &self.namespaces {
            if Path::new("/run/netns").join(namespace).exists()
                && let Err(error) = run(Command::new("ip").args(["netns", "delete", namespace]))
            {
                note!("left behind: {error}");
            }
        }
        for path in [&self.directory, &self.path()] {
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            if path.exists()
                && let Err(error) = removed
            {
                note!("left behind: {}: {error}", path.display());
            }
        }
    }
}

/// Clears away what runs left that are no longer there.
pub(super) fn clear() -> Result<()> {
    let Ok(entries) = fs::read_dir(RECORDS) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.with_context(|| format!("reading {RECORDS}"))?.path();
        let record = fs::read_to_string(&path).ok();
        let Some(record) = record.and_then(|text| serde_json::from_str::<Record>(&text).ok())
        else {
            note!("{} is not a record of a demo: left alone", path.display());
            continue;
        };
        if !record.owner.lives() {
            step!(
                "clear away what an earlier demo (process {}) left",
                record.owner.pid
            );
            record.clear();
        }
    }
    Ok(())
}

fn processes_in(namespace: &str) -> Vec<u32> {
    output(Command::new("ip").args(["netns", "pids", namespace]))
        .map(|pids| {
            pids.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let own = Process::of(std::process::id()).unwrap();
        assert!(own.lives());
        let other = Process {
            start: own.start + 1,
            ..own
        };
        assert!(!other.lives());
    }

    #[test]
    fn a_process_that_is_asked_to_end_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        // Reaped by another thread, as a zombie is still in /proc.
        let reaper = thread::spawn(move || child.wait());
        process.end();
        assert!(!reaper.join().unwrap().unwrap().success());
        assert!(!process.lives());
    }
}
