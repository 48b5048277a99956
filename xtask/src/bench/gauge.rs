//! Reads what the kernel knows of a process: processor time and memory.

use std::fs;

use anyhow::{Context as _, Result};

/// Processor time of a process so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// All of it in nanoseconds, as the scheduler counts.
    pub total_ns: u64,
    /// Ticks in user mode, by sampling: only good for the share.
    pub user_ticks: u64,
    /// Ticks in the kernel.
    pub system_ticks: u64,
}

impl Cpu {
    /// Of a running process, all its threads.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).context("the agent is gone")?;
        let mut total_ns = 0;
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let first = text.split_whitespace().next().unwrap_or("0");
            total_ns += first.parse::<u64>().unwrap_or(0);
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("reading stat")?;
        // The command's name may contain blanks; it ends with the last parenthesis.
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        let tick = |at: usize| fields.get(at).and_then(|text| text.parse().ok());
        Ok(Self {
            total_ns,
            user_ticks: tick(11).unwrap_or(0),
            system_ticks: tick(12).unwrap_or(0),
        })
    }

    /// User and system time since `before` in percent of `elapsed_ns` on one core. The ticks only
    /// say how the exact total divides.
    pub(crate) fn percent_since(&self, before: &Self, elapsed_ns: f64) -> (f64, f64) {
        let total = self.total_ns.saturating_sub(before.total_ns) as f64 / elapsed_ns * 100.0;
        let user = self.user_ticks.saturating_sub(before.user_ticks) as f64;
        let system = self.system_ticks.saturating_sub(before.system_ticks) as f64;
        if user + system == 0.0 {
            return (total / 2.0, total / 2.0);
        }
        let share = user / (user + system);
        (total * share, total * (1.0 - share))
    }
}

/// Memory of a process in bytes, from the lines of its `status`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident now.
    pub rss: u64,
    /// Of that, not from files.
    pub anonymous: u64,
    /// The most that was resident.
    pub peak: u64,
}

impl Memory {
    /// Of a running process.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let status =
            fs::read_to_string(format!("/proc/{process}/status")).context("the agent is gone")?;
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next());
            kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Ok(Self {
            rss: line("VmRSS:"),
            anonymous: line("RssAnon:"),
            peak: line("VmHWM:"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let me = std::process::id();
        let before = Cpu::of(me).unwrap();
        let mut x = 1_u64;
        while Cpu::of(me).unwrap().total_ns == before.total_ns {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let (user, system) = Cpu::of(me).unwrap().percent_since(&before, 1e9);
        assert!(user + system > 0.0);
        let memory = Memory::of(me).unwrap();
        assert!(memory.rss > 1 << 20 && memory.peak >= memory.rss);
    }
}
