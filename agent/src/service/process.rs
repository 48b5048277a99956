//! One process in /proc: when it started, what it runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One clock tick in nanoseconds. What /proc calls `USER_HZ` is 100 on every architecture that
/// runs eBPF, whatever the kernel's own tick.
pub(super) const TICK_NS: u64 = 10_000_000;

/// More than any file read here holds; /proc can be filled by whoever names cgroups.
const MAX_FILE: u64 = 64 * 1024;

/// Reads a small file whole.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// Whether the process in `dir` is there and the one that started at `start_boottime_ns`, to a
/// clock tick. A start of 0 means any.
pub(super) fn started_at(dir: &Path, start_boottime_ns: u64) -> bool {
    let Ok(stat) = read(&dir.join("stat")) else {
        return false;
    };
    match parse_stat(&stat) {
        Some((_, ticks)) => {
            start_boottime_ns == 0 || ticks.abs_diff(start_boottime_ns / TICK_NS) <= 1
        }
        None => false,
    }
}

/// `comm` and start (field 22, in clock ticks since boot) of a `/proc/PID/stat`.
pub(super) fn parse_stat(stat: &[u8]) -> Option<(&[u8], u64)> {
    let open = stat.iter().position(|&b| b == b'(')?;
    // The name may hold parentheses and spaces itself; no field after it can.
    let close = stat.iter().rposition(|&b| b == b')')?;
    let comm = stat.get(open + 1..close)?;
    // Field 3 is the first after the name.
    let start = stat[close + 1..]
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .nth(22 - 3)?;
    Some((comm, std::str::from_utf8(start).ok()?.parse().ok()?))
}

/// File name of the executable, without the mark of a file that was replaced or removed. `None`
/// for kernel threads and where the kernel does not let us look.
pub(super) fn executable(dir: &Path) -> Option<Vec<u8>> {
    let target = fs::read_link(dir.join("exe")).ok()?;
    let file = base_name(target.as_os_str().as_bytes());
    (!file.is_empty()).then(|| file.to_vec())
}

fn base_name(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.rsplit(|&b| b == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAT: &[u8] = b"4711 (a) R) S 1 4711 4711 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 98765 \
        1000 20 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";

    #[test]
    fn start_is_found_behind_any_name() {
        assert_eq!(parse_stat(STAT), Some((b"a) R".as_slice(), 98765)));
        assert_eq!(parse_stat(b"1 (x) S 1"), None);
        assert_eq!(parse_stat(b"1 )x( S 1"), None);
    }

    #[test]
    fn a_start_may_be_off_by_one_tick_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stat"), STAT).unwrap();
        assert!(started_at(dir.path(), 98765 * TICK_NS + TICK_NS - 1));
        assert!(started_at(dir.path(), 98766 * TICK_NS));
        assert!(started_at(dir.path(), 98764 * TICK_NS));
        assert!(started_at(dir.path(), 0));
        assert!(!started_at(dir.path(), 98767 * TICK_NS));
        assert!(!started_at(dir.path(), 98764 * TICK_NS - 1));
        assert!(!started_at(&dir.path().join("gone"), 0));
    }

    #[test]
    fn a_replaced_executable_keeps_its_name() {
        assert_eq!(base_name(b"/usr/sbin/nginx (deleted)"), b"nginx");
        assert_eq!(base_name(b"/usr/sbin/nginx"), b"nginx");
        assert_eq!(base_name(b"/memfd:jit (deleted)"), b"memfd:jit");
    }

    proptest! {
        #[test]
        fn any_stat_is_read_or_refused(bytes: Vec<u8>) {
            let _ = parse_stat(&bytes);
            let _ = base_name(&bytes);
        }

        #[test]
        fn any_field_of_a_stat_may_be_garbage(at in 0..STAT.len(), byte: u8) {
            let mut stat = STAT.to_vec();
            stat[at] = byte;
            let _ = parse_stat(&stat);
            let _ = parse_stat(&STAT[..at]);
        }
    }
}
