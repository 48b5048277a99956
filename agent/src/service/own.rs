//! What the kernel says of the agent itself: its process and its kernel objects.

use std::path::Path;

use super::process::{TICK_NS, read};

/// The agent's own process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system, in nanoseconds; to the clock tick of 10 ms.
    pub cpu_ns: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// A map or program of the agent's, from /proc/self/fdinfo. Zero where the kernel says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelObject {
    /// Bytes of memory.
    pub memory: u64,
    /// Most entries of a map.
    pub capacity: u64,
    /// Runs of a program while statistics were on.
    pub runs: u64,
    /// Nanoseconds in these runs.
    pub run_ns: u64,
    /// Runs skipped to avoid recursion (5.12).
    pub missed: u64,
}

const PAGE: u64 = 4096;

/// Reads the agent's own usage; zeros if /proc does not tell.
pub(super) fn usage(proc: &Path) -> Usage {
    let stat = read(&proc.join("self/stat")).unwrap_or_default();
    parse_stat(&stat).unwrap_or_default()
}

/// Reads what the kernel says of one of the agent's descriptors.
pub(super) fn kernel_object(proc: &Path, fd: i32) -> KernelObject {
    let text = read(&proc.join(format!("self/fdinfo/{fd}"))).unwrap_or_default();
    parse_fdinfo(&text)
}

fn parse_stat(stat: &[u8]) -> Option<Usage> {
    let close = stat.iter().rposition(|&b| b == b')')?;
    let text = std::str::from_utf8(&stat[close + 1..]).ok()?;
    // Field 3 is the first after the name; 14 and 15 are utime and stime, 24 is rss.
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Usage {
        cpu_ns: field(14)?
            .saturating_add(field(15)?)
            .saturating_mul(TICK_NS),
        rss_bytes: field(24)?.saturating_mul(PAGE),
    })
}

fn parse_fdinfo(text: &[u8]) -> KernelObject {
    let mut object = KernelObject::default();
    for line in String::from_utf8_lossy(text).lines() {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let Ok(value) = value.trim().parse() else {
            continue;
        };
        match name {
            "memlock" => object.memory = value,
            "max_entries" => object.capacity = value,
            "run_cnt" => object.runs = value,
            "run_time_ns" => object.run_ns = value,
            "recursion_misses" => object.missed = value,
            _ => {}
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_process_uses_memory() {
        let usage = usage(Path::new("/proc"));
        assert!(usage.rss_bytes > 100_000, "{usage:?}");
    }

    #[test]
    fn a_program_is_described() {
        let text = b"pos:\t0\nprog_type:\t17\nmemlock:\t4096\nrun_time_ns:\t70\nrun_cnt:\t7\nrecursion_misses:\t1\n";
        let expected = KernelObject {
            memory: 4096,
            capacity: 0,
            runs: 7,
            run_ns: 70,
            missed: 1,
        };
        assert_eq!(parse_fdinfo(text), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            parse_fdinfo(&bytes);
            parse_stat(&bytes);
        }
    }
}
