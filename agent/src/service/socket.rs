//! Which process holds which socket, and which network namespaces there are. Read once at the
//! start, for the sockets that were open before the probes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Holders of sockets. The kernel numbers sockets host-wide, so no network namespace is needed to
/// tell them apart; the holder's would mislead, since sockets stay in the one they were made in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOwners {
    /// Thread-group id by the socket's inode number. Of several holders the one with the lowest
    /// id, but pid 1 only if no other holds it: it passes sockets on to services.
    pub tgids: HashMap<u64, u32>,
    /// Processes looked at.
    pub processes: usize,
    /// Processes that could not be looked at; gone in between or protected.
    pub refused: usize,
    /// Sockets left out because of the bound.
    pub left_out: usize,
}

/// A network namespace and a process that lives in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetNamespace {
    /// Its inode number, which is its identity on this host.
    pub inode: u64,
    /// A process in it.
    pub pid: u32,
    /// File to open to enter it, while the process lives.
    pub path: PathBuf,
}

impl NetNamespace {
    /// Opens it, which keeps it alive.
    ///
    /// # Errors
    /// If the process is gone, has moved to another namespace, or may not be looked at.
    pub fn open(&self) -> io::Result<File> {
        let file = File::open(&self.path)?;
        if file.metadata()?.ino() == self.inode {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} is in another namespace now", self.pid),
            ))
        }
    }
}

pub(super) fn scan(proc: &Path, max_sockets: usize) -> io::Result<SocketOwners> {
    let mut owners = SocketOwners::default();
    let mut pids = pids(proc)?;
    let first_is_1 = pids.first() == Some(&1);
    pids.rotate_left(usize::from(first_is_1));
    for pid in pids {
        let Ok(files) = fs::read_dir(proc.join(pid.to_string()).join("fd")) else {
            owners.refused += 1;
            continue;
        };
        owners.processes += 1;
        for file in files.flatten() {
            let Some(inode) = link_inode(&file.path(), b"socket:[") else {
                continue;
            };
            if owners.tgids.len() < max_sockets {
                owners.tgids.entry(inode).or_insert(pid);
            } else if !owners.tgids.contains_key(&inode) {
                owners.left_out += 1;
            }
        }
    }
    Ok(owners)
}

pub(super) fn net_namespaces(proc: &Path) -> io::Result<Vec<NetNamespace>> {
    let mut seen = HashSet::new();
    Ok(pids(proc)?
        .into_iter()
        .filter_map(|pid| {
            let path = proc.join(pid.to_string()).join("ns/net");
            let inode = link_inode(&path, b"net:[")?;
            seen.insert(inode)
                .then_some(NetNamespace { inode, pid, path })
        })
        .collect())
}

fn pids(proc: &Path) -> io::Result<Vec<u32>> {
    let mut pids: Vec<u32> = fs::read_dir(proc)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The number in a link such as `socket:[4711]`.
fn link_inode(link: &Path, prefix: &[u8]) -> Option<u64> {
    let target = fs::read_link(link).ok()?;
    let number = target
        .as_os_str()
        .as_bytes()
        .strip_prefix(prefix)?
        .strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::fs::symlink;

    #[test]
    fn own_sockets_are_found_on_this_host() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(listener));
        let inode = file.metadata().unwrap().ino();
        let owners = scan(Path::new("/proc"), usize::MAX).unwrap();
        assert_eq!(owners.tgids.get(&inode), Some(&std::process::id()));
        assert_eq!(owners.left_out, 0);

        let none = scan(Path::new("/proc"), 0).unwrap();
        assert!(none.tgids.is_empty() && none.left_out > 0);
    }

    #[test]
    fn own_network_namespace_is_listed_and_opens() {
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        let namespaces = net_namespaces(Path::new("/proc")).unwrap();
        let found: Vec<_> = namespaces.iter().filter(|ns| ns.inode == own).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].open().unwrap().metadata().unwrap().ino(), own);
    }

    #[test]
    fn the_service_and_not_pid_1_holds_a_passed_socket() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, inodes) in [(1, [7, 8]), (20, [7, 9]), (30, [7, 9])] {
            let fds = proc.path().join(format!("{pid}/fd"));
            fs::create_dir_all(&fds).unwrap();
            for (fd, inode) in inodes.into_iter().enumerate() {
                symlink(format!("socket:[{inode}]"), fds.join(fd.to_string())).unwrap();
            }
            symlink("/dev/null", fds.join("5")).unwrap();
            symlink("socket:[x]", fds.join("6")).unwrap();
        }
        fs::create_dir(proc.path().join("40")).unwrap();
        let owners = scan(proc.path(), 100).unwrap();
        assert_eq!(owners.tgids, HashMap::from([(7, 20), (9, 20), (8, 1)]));
        assert_eq!((owners.processes, owners.refused), (3, 1));
    }
}
