//! Finds the cgroup v2 tree in `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The mount point of the cgroup v2 tree that shows most of the host: `/sys/fs/cgroup` on unified
/// hosts, `/sys/fs/cgroup/unified` on hybrid ones, wherever a container mounts the host's.
pub(super) fn find_cgroup2(mountinfo: &[u8]) -> Option<PathBuf> {
    mountinfo
        .split(|&b| b == b'\n')
        .filter_map(parse_line)
        // Of equals the first: it is not hidden by anything mounted later elsewhere.
        .min_by_key(|(root, _)| rank(root))
        .map(|(_, point)| PathBuf::from(OsString::from_vec(unescape(point))))
}

/// Root and mount point, still escaped, if the line is a cgroup v2 mount.
fn parse_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = line.split(|&b| b == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    // Any number of optional fields stands before the lone dash.
    fields.by_ref().find(|field| *field == b"-")?;
    (fields.next()? == b"cgroup2").then_some((root, point))
}

/// Smaller is better. From a private cgroup namespace the host's tree has a root such as
/// `/../../..`: the more steps up, the more of it is shown. `/` is the whole of what this
/// namespace knows; anything else is a part.
fn rank(root: &[u8]) -> isize {
    let mut ups = 0;
    for part in root.split(|&b| b == b'/').filter(|part| !part.is_empty()) {
        if part != b".." {
            return isize::MAX;
        }
        ups -= 1;
    }
    ups
}

/// Mount points are written with `\040` for a space and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                plain.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => plain.push(*first),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(mountinfo: &str, expected: Option<&str>) {
        assert_eq!(
            find_cgroup2(mountinfo.as_bytes()),
            expected.map(PathBuf::from)
        );
    }

    #[test]
    fn unified_hosts_have_it_at_the_usual_place() {
        check(
            "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n",
            Some("/sys/fs/cgroup"),
        );
    }

    #[test]
    fn hybrid_hosts_have_it_beside_the_v1_trees() {
        check(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            Some("/sys/fs/cgroup/unified"),
        );
    }

    #[test]
    fn the_hosts_tree_is_preferred_to_the_containers_own() {
        check(
            "900 800 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
             901 800 0:26 /../../.. /host/sys/fs/my\\040cgroup ro - cgroup2 cgroup rw\n\
             902 800 0:26 /kubepods.slice /part ro - cgroup2 cgroup rw\n",
            Some("/host/sys/fs/my cgroup"),
        );
    }

    #[test]
    fn a_host_may_have_none() {
        check(
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            None,
        );
        check("", None);
        check("35 31 0:32 / /x rw -", None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            let _ = find_cgroup2(&bytes);
            let _ = unescape(&bytes);
        }
    }
}
