//! Who is observed: turns what a kernel record says about a process into a [`Service`]. The only
//! reader of /proc and cgroupfs.
//!
//! A name comes from the first of these that says something: Kubernetes pod or container (by the
//! cgroup's path), systemd unit (likewise), executable, command. A process that is already gone is
//! named from its cgroup, found by its id. Nothing here fails: who knows least is named by command.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

mod cgroup;
mod index;
mod mount;
mod name;
mod own;
mod process;
mod socket;

pub use own::{KernelObject, Usage};
pub use socket::{NetNamespace, SocketOwners};

use cgroup::Place;
use index::CgroupIndex;

/// A process as a kernel record describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Id of the thread group: what user space calls the pid.
    pub tgid: u32,
    /// `start_boottime` of the thread-group leader: nanoseconds since boot, or 0 if not known.
    pub start_boottime_ns: u64,
    /// Id of its cgroup in the v2 hierarchy, or 0 if not known.
    pub cgroup_id: u64,
    /// `comm` of the thread-group leader.
    pub comm: String,
}

/// What told us a service's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A pod's cgroup.
    Kubernetes,
    /// The cgroup of a container that no pod owns.
    Container,
    /// A systemd unit's cgroup.
    Systemd,
    /// The file name of the running executable.
    Executable,
    /// The process's command name, at most 15 bytes.
    Command,
}

/// Who is observed. All texts are printable and at most 128 bytes long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// Its name; the value of the label `service`.
    pub name: String,
    /// Kubernetes namespace, if the pod's names are known.
    pub namespace: Option<String>,
    /// Pod's name, or its uid while the name is not known.
    pub pod: Option<String>,
    /// Container's name, or its short id while the name is not known.
    pub container: Option<String>,
    /// Where the name is from.
    pub source: Source,
}

/// What Kubernetes calls a container and its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInfo {
    /// Name of the workload that owns the pod.
    pub service: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container in the pod.
    pub container: String,
}

/// Knows pods by the ids that stand in cgroup paths.
pub trait PodNames: Send + Sync {
    /// Names of the container `container_id` (64 hex digits; empty for a process that sits in the
    /// pod's own cgroup) in the pod `uid`. For static pods `uid` is the hash of their manifest.
    /// Must answer from memory.
    fn pod(&self, uid: &str, container_id: &str) -> Option<PodInfo>;
}

/// Knows no pod: services are named by pod uid and container id.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPodNames;

impl PodNames for NoPodNames {
    fn pod(&self, _uid: &str, _container_id: &str) -> Option<PodInfo> {
        None
    }
}

/// Finds services in /proc and the cgroup v2 file system.
pub struct Resolver {
    proc: PathBuf,
    cgroups: Option<CgroupIndex>,
    pods: Box<dyn PodNames>,
}

impl Resolver {
    /// A resolver for this host. Without a cgroup v2 mount it names by what /proc says alone.
    pub fn new(pods: Box<dyn PodNames>) -> Self {
        let proc = PathBuf::from("/proc");
        let mount = fs::read(proc.join("self/mountinfo"))
            .ok()
            .and_then(|text| mount::find_cgroup2(&text));
        Self::with_roots(proc, mount, pods)
    }

    /// A resolver that reads `proc` and the cgroup v2 tree at `cgroup`.
    pub fn with_roots(proc: PathBuf, cgroup: Option<PathBuf>, pods: Box<dyn PodNames>) -> Self {
        Self {
            proc,
            cgroups: cgroup.map(CgroupIndex::new),
            pods,
        }
    }

    /// Where the cgroup v2 tree is mounted.
    pub fn cgroup_root(&self) -> Option<&Path> {
        self.cgroups.as_ref().map(CgroupIndex::root)
    }

    /// Names the service that `owner` belongs to. Reads four files for a living process; for one
    /// that is gone the cgroup tree, but only now and then. Keeps no result: callers do, by owner.
    pub fn resolve(&mut self, owner: &Owner) -> Service {
        let (place, file) = match self.look_at_living(owner) {
            Some(seen) => seen,
            None => (self.place_by_id(owner.cgroup_id), None),
        };
        match (place, file) {
            (Some(place), _) => self.name_place(place),
            (None, Some(file)) => plain(&file, Source::Executable),
            (None, None) => plain(owner.comm.as_bytes(), Source::Command),
        }
    }

    /// Describes a running process the way a kernel record would, with its start rounded down to
    /// the clock tick. For sockets that were open before the probes.
    ///
    /// # Errors
    /// If the process is gone or may not be looked at.
    pub fn owner(&self, tgid: u32) -> io::Result<Owner> {
        let dir = self.proc.join(tgid.to_string());
        let stat = process::read(&dir.join("stat"))?;
        let (comm, ticks) = process::parse_stat(&stat)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let cgroup_id = process::read(&dir.join("cgroup"))
            .ok()
            .and_then(|text| self.id_of_path(&cgroup::parse_file(&text).v2?));
        Ok(Owner {
            tgid,
            start_boottime_ns: ticks.saturating_mul(process::TICK_NS),
            cgroup_id: cgroup_id.unwrap_or(0),
            comm: String::from_utf8_lossy(comm).into_owned(),
        })
    }

    /// Which process holds which socket, over all processes of the host. One pass; meant for the
    /// start. At most `max_sockets` are kept.
    ///
    /// # Errors
    /// If /proc cannot be listed.
    pub fn scan_sockets(&self, max_sockets: usize) -> io::Result<SocketOwners> {
        socket::scan(&self.proc, max_sockets)
    }

    /// The network namespaces that processes live in, one entry each, in order of pid.
    ///
    /// # Errors
    /// If /proc cannot be listed.
    pub fn net_namespaces(&self) -> io::Result<Vec<NetNamespace>> {
        socket::net_namespaces(&self.proc)
    }

    /// The agent's own network namespace, by inode number.
    pub fn own_net_namespace(&self) -> Option<u64> {
        fs::metadata(self.proc.join("self/ns/net"))
            .ok()
            .map(|found| found.ino())
    }

    /// Number of TCP sockets on this host, over all network namespaces; 0 if not known.
    pub fn tcp_sockets(&self) -> u32 {
        let text = process::read(&self.proc.join("net/sockstat")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let tcp = text
            .lines()
            .find(|line| line.starts_with("TCP:"))
            .unwrap_or_default();
        let mut words = tcp
            .split_ascii_whitespace()
            .skip_while(|word| *word != "alloc");
        words
            .nth(1)
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }

    /// Processor time and memory of the agent's own process.
    pub fn own_usage(&self) -> Usage {
        own::usage(&self.proc)
    }

    /// What the kernel says of a map or program that the agent holds by this descriptor.
    pub fn kernel_object(&self, fd: i32) -> KernelObject {
        own::kernel_object(&self.proc, fd)
    }

    /// Release of the running kernel, such as `6.1.0-28-amd64`.
    pub fn kernel_release(&self) -> String {
        let text = process::read(&self.proc.join("sys/kernel/osrelease")).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// Whether the process that was recorded with this start is still there.
    pub fn is_alive(&self, tgid: u32, start_boottime_ns: u64) -> bool {
        process::started_at(&self.proc.join(tgid.to_string()), start_boottime_ns)
    }

    /// Place and executable of a process that is still there.
    fn look_at_living(&mut self, owner: &Owner) -> Option<(Option<Place>, Option<Vec<u8>>)> {
        let dir = self.proc.join(owner.tgid.to_string());
        if !process::started_at(&dir, owner.start_boottime_ns) {
            return None;
        }
        let seen = (self.place_of_living(&dir, owner), process::executable(&dir));
        // The pid may have passed to another process between the reads.
        process::started_at(&dir, owner.start_boottime_ns).then_some(seen)
    }

    fn place_of_living(&mut self, dir: &Path, owner: &Owner) -> Option<Place> {
        let text = process::read(&dir.join("cgroup")).ok()?;
        let paths = cgroup::parse_file(&text);
        let v2 = paths.v2.as_deref().unwrap_or("/");
        // Seen from a private cgroup namespace paths are cut off at its root; the tree is not.
        let path = if cgroup::is_cut_off(v2) {
            self.path_by_id(owner.cgroup_id)
                .unwrap_or_else(|| v2.to_owned())
        } else {
            if let Some(cgroups) = &mut self.cgroups {
                cgroups.remember(owner.cgroup_id, v2);
            }
            v2.to_owned()
        };
        paths.place(&path)
    }

    fn place_by_id(&mut self, cgroup_id: u64) -> Option<Place> {
        cgroup::place_by_path(&self.path_by_id(cgroup_id)?)
    }

    fn path_by_id(&mut self, cgroup_id: u64) -> Option<String> {
        self.cgroups.as_mut()?.path(cgroup_id).map(str::to_owned)
    }

    fn id_of_path(&self, path: &str) -> Option<u64> {
        if path.contains("/..") {
            return None;
        }
        let root = self.cgroup_root()?;
        Some(
            fs::metadata(root.join(path.trim_start_matches('/')))
                .ok()?
                .ino(),
        )
    }

    fn name_place(&self, place: Place) -> Service {
        match place {
            Place::Pod { uid, container } => self.name_pod(&uid, &container),
            Place::Container { runtime, id } => Service {
                container: Some(name::short_id(&id).to_owned()),
                ..plain(
                    format!("{runtime}-{}", name::short_id(&id)).as_bytes(),
                    Source::Container,
                )
            },
            Place::Unit(unit) => plain(unit.as_bytes(), Source::Systemd),
        }
    }

    fn name_pod(&self, uid: &str, container: &str) -> Service {
        if let Some(info) = self.pods.pod(uid, container) {
            return Service {
                namespace: Some(name::clean(info.namespace.as_bytes())),
                pod: Some(name::clean(info.pod.as_bytes())),
                container: Some(name::clean(info.container.as_bytes())),
                ..plain(info.service.as_bytes(), Source::Kubernetes)
            };
        }
        let short = name::short_id(container);
        let text = if short.is_empty() {
            uid.to_owned()
        } else {
            format!("{uid}/{short}")
        };
        Service {
            pod: Some(name::clean(uid.as_bytes())),
            container: (!short.is_empty()).then(|| short.to_owned()),
            ..plain(text.as_bytes(), Source::Kubernetes)
        }
    }
}

fn plain(text: &[u8], source: Source) -> Service {
    Service {
        name: name::clean(text),
        namespace: None,
        pod: None,
        container: None,
        source,
    }
}

#[cfg(test)]
mod tests;
