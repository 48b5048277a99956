//! The machine: its processors, its statistics of kernel programs, and who else is at it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::command::note;

/// Processors that this process may use.
pub(crate) fn processors() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("asking for the processors")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect())
}

/// Keeps the current thread, or a process that was just started, on one processor.
pub(crate) fn pin(process: Option<Pid>, processor: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(process, &only).context("pinning to a processor")
}

/// Switches the kernel's run-time statistics of its programs on until dropped.
pub(crate) struct Statistics {
    before: String,
}

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    pub(crate) fn on() -> Result<Self> {
        let before = fs::read_to_string(STATISTICS).context("reading bpf_stats_enabled")?;
        fs::write(STATISTICS, "1").context("switching bpf_stats_enabled on")?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(why) = fs::write(STATISTICS, &self.before) {
            note!("bpf_stats_enabled stays on: {why}");
        }
    }
}

/// Run time in nanoseconds and runs of all kernel programs that a process holds, from what the
/// kernel says of its descriptors.
pub(crate) fn program_cost(process: u32) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fdinfo")) else {
        return (0, 0);
    };
    let mut seen = Vec::new();
    let mut cost = (0, 0);
    for entry in entries.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        // A link's descriptor tells the same id without the numbers.
        let (Some(id), Some(ns), Some(runs)) =
            (field("prog_id:"), field("run_time_ns:"), field("run_cnt:"))
        else {
            continue;
        };
        if !seen.contains(&id) {
            seen.push(id);
            cost = (cost.0 + ns, cost.1 + runs);
        }
    }
    cost
}

/// Says if something else on this machine observes the kernel too: its probes are then in the
/// figures without Weir as well.
pub(crate) fn warn_of_others() {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others: Vec<_> = names
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| matches!(name.as_str(), "weir" | "bpftrace"))
        .collect();
    if !others.is_empty() {
        note!(
            "{} runs here already: both sides of each comparison pay for it",
            others.join(", ")
        );
    }
    let load = fs::read_to_string(Path::new("/proc/loadavg")).unwrap_or_default();
    note!("load average {}", load.trim());
}
