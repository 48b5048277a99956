//! Memory, processor time and open files of this process, read when they are asked for, under the
//! names that Prometheus client libraries agree on.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Collects from `/proc/self`; what cannot be read is left out.
#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(bytes) = resident_bytes(&status) {
            let gauge = ConstGauge::new(bytes);
            let name = "process_resident_memory_bytes";
            let metric =
                encoder.encode_descriptor(name, "Resident memory", None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(ticks) = cpu_ticks(&stat) {
            let per_second = rustix::param::clock_ticks_per_second();
            let counter = ConstCounter::new(ticks as f64 / per_second as f64);
            let name = "process_cpu_seconds";
            let metric = encoder.encode_descriptor(
                name,
                "User and system time spent",
                None,
                counter.metric_type(),
            )?;
            counter.encode(metric)?;
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            let gauge = ConstGauge::new(files.count() as u64);
            let metric = encoder.encode_descriptor(
                "process_open_fds",
                "Open files",
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// `VmRSS` of `/proc/PID/status`, which is in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// `utime` + `stime` of `/proc/PID/stat`, fields 14 and 15 (`proc_pid_stat(5)`). Counted from the
/// last parenthesis, for the command name before it may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_an_odd_command_name() {
        let stat = "12 (a) b 9) S 1 2 3 4 5 6 7 8 9 10 300 45 0 0";
        assert_eq!(cpu_ticks(stat), Some(345));
        assert_eq!(cpu_ticks("12 (short) S 1"), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            resident_bytes("Name:\tx\nVmRSS:\t    1024 kB\n"),
            Some(1_048_576)
        );
        assert_eq!(resident_bytes("VmRSS:\tmany"), None);
    }
}
