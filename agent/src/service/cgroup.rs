//! Reads cgroup paths: which pod, container or unit a path belongs to.

/// Paths of one process, from `/proc/PID/cgroup`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    /// In the v2 hierarchy.
    pub(super) v2: Option<String>,
    /// In systemd's own v1 hierarchy.
    pub(super) systemd: Option<String>,
    /// In the v1 hierarchies of controllers.
    pub(super) v1: Vec<String>,
}

/// What owns a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A container of a Kubernetes pod; the container is empty for the pod's own cgroup.
    Pod { uid: String, container: String },
    /// A container without a pod.
    Container { runtime: &'static str, id: String },
    /// A systemd unit.
    Unit(String),
}

/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Its owner.
    At(Place),
    /// A known path that names no service: a slice, a login session, a runtime's monitor.
    Nowhere,
    /// Nothing: the root of the hierarchy.
    Root,
}

impl Placement {
    fn owner(self) -> Option<Place> {
        match self {
            Self::At(place) => Some(place),
            Self::Nowhere | Self::Root => None,
        }
    }
}

/// Units that start containers.
const RUNTIME_UNITS: [&str; 8] = [
    "containerd.service",
    "crio.service",
    "docker.service",
    "k3s-agent.service",
    "k3s.service",
    "podman.service",
    "rke2-agent.service",
    "rke2-server.service",
];

/// Prefixes that runtimes put before a container's id, and the runtime's name.
const RUNTIMES: [(&str, &str); 6] = [
    ("cri-containerd-", "containerd"),
    ("cri-containerd:", "containerd"),
    ("crio-", "crio"),
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("nerdctl-", "nerdctl"),
];

/// Helpers that runtimes run beside a container, in cgroups that carry its id.
const MONITORS: [&str; 2] = ["crio-conmon-", "libpod-conmon-"];

/// More paths than hierarchies exist.
const MAX_V1: usize = 32;

/// Splits a `/proc/PID/cgroup`; skips lines that are none.
pub(super) fn parse_file(text: &[u8]) -> Paths {
    let mut paths = Paths::default();
    for line in text.split(|&b| b == b'\n') {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // The kernel marks the path of a cgroup that was removed while a process was in it.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path).to_owned();
        match (id, controllers) {
            ("0", "") => paths.v2 = Some(path),
            (_, "name=systemd") => paths.systemd = Some(path),
            _ if paths.v1.len() < MAX_V1 => paths.v1.push(path),
            _ => {}
        }
    }
    paths
}

impl Paths {
    /// What owns the process whose whole path in the v2 hierarchy is `v2`.
    ///
    /// On hybrid hosts runtimes put containers into the v1 hierarchies only; in v2 they stay where
    /// the runtime is. So a pod or container of any hierarchy counts before a unit. Units are
    /// systemd's to tell: in the controllers' hierarchies they may be stale.
    pub(super) fn place(&self, v2: &str) -> Option<Place> {
        let in_v2 = place(v2);
        if let Placement::At(Place::Pod { .. } | Place::Container { .. }) = in_v2 {
            return in_v2.owner();
        }
        let v1: Vec<_> = self
            .systemd
            .iter()
            .chain(&self.v1)
            .map(|path| place(path))
            .collect();
        let is_pod = |one: &&Placement| matches!(one, Placement::At(Place::Pod { .. }));
        let is_container = |one: &&Placement| matches!(one, Placement::At(Place::Container { .. }));
        let container = v1
            .iter()
            .find(is_pod)
            .or_else(|| v1.iter().find(is_container));
        if let Some(container) = container {
            return container.clone().owner();
        }
        match (in_v2, &self.systemd) {
            (Placement::Root, Some(systemd)) => place(systemd).owner(),
            (in_v2, _) => in_v2.owner(),
        }
    }
}

/// Who owns the cgroup at `path`, if the process is gone and only this is known. The unit of a
/// runtime may stand for any container on a hybrid host, so it tells nothing.
pub(super) fn place_by_path(path: &str) -> Option<Place> {
    let owner = place(path).owner()?;
    let is_runtime = |unit: &str| RUNTIME_UNITS.contains(&unit);
    (!matches!(&owner, Place::Unit(unit) if is_runtime(unit))).then_some(owner)
}

/// Whether a path shows less than the whole: seen from inside a cgroup namespace.
pub(super) fn is_cut_off(path: &str) -> bool {
    path == "/" || path.starts_with("/..")
}

/// Says what owns the cgroup at `path`.
pub(super) fn place(path: &str) -> Placement {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != "..")
        .collect();
    if parts.is_empty() {
        return Placement::Root;
    }
    let is_monitor = |part: &&str| MONITORS.iter().any(|monitor| part.starts_with(monitor));
    if parts.iter().any(is_monitor) {
        return Placement::Nowhere;
    }
    match find_pod(&parts)
        .or_else(|| find_container(&parts))
        .or_else(|| find_unit(&parts))
    {
        Some(place) => Placement::At(place),
        None => Placement::Nowhere,
    }
}

/// The innermost pod (clusters run inside containers too), and the outermost container in it (a
/// container may run its own).
fn find_pod(parts: &[&str]) -> Option<Place> {
    let (at, uid) = parts
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, part)| Some((at, pod_uid(part)?)))?;
    // `…-pod<uid>.slice:cri-containerd:<id>` has both in one part.
    let container = parts[at..]
        .iter()
        .find_map(|part| container_id(part))
        .map_or("", |(_, id)| id);
    Some(Place::Pod {
        uid,
        container: container.to_owned(),
    })
}

/// The uid in `pod<uid>`, `kubepods-burstable-pod<uid>.slice` and the like. systemd's driver
/// writes `_` for `-`, because `-` nests slices.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or(part);
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.rsplit_once("-pod") {
        Some((parent, uid)) if parent.contains("kubepods") => uid,
        Some(_) | None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    is_uid(&uid).then_some(uid)
}

/// A UUID; static pods have 32 hex digits instead: the hash of their manifest.
fn is_uid(uid: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    match uid.len() {
        32 => is_hex(uid),
        36 => uid
            .split('-')
            .zip([8, 4, 4, 4, 12])
            .all(|(group, digits)| group.len() == digits && is_hex(group)),
        _ => false,
    }
}

/// The innermost container.
fn find_container(parts: &[&str]) -> Option<Place> {
    let (at, (runtime, id)) = parts
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, part)| Some((at, container_id(part)?)))?;
    let runtime = runtime.unwrap_or(match at.checked_sub(1).map(|parent| parts[parent]) {
        Some("docker") => "docker",
        Some(_) | None => "container",
    });
    Some(Place::Container {
        runtime,
        id: id.to_owned(),
    })
}

/// Runtime, if named, and the 64 hex digits of a container's id.
fn container_id(part: &str) -> Option<(Option<&'static str>, &str)> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let is_id = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id(name) {
        return Some((None, name));
    }
    RUNTIMES.iter().find_map(|(prefix, runtime)| {
        let (_, id) = name.rsplit_once(prefix)?;
        is_id(id).then_some((Some(*runtime), id))
    })
}

/// The innermost unit, if it stands for a program rather than for a login or a single call.
fn find_unit(parts: &[&str]) -> Option<Place> {
    let unit = parts
        .iter()
        .rev()
        .find(|part| part.ends_with(".service") || part.ends_with(".scope"))?;
    // systemd puts `_` before names that the kernel has taken.
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    (!is_passing(unit)).then(|| Place::Unit(unit.to_owned()))
}

/// Units whose names count logins, windows or calls: they would never repeat, and say less than
/// the executable does.
fn is_passing(unit: &str) -> bool {
    let numbered = |prefix: &str| {
        unit.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    unit == "init.scope"
        || numbered("session-")
        || numbered("session-c")
        || numbered("run-u")
        || numbered("run-p")
        || is_random_run(unit)
        || unit.ends_with(".scope") && (unit.starts_with("app-") || unit.starts_with("vte-spawn-"))
}

/// `run-r<32 hex digits>.scope`, as systemd-run names what has no name.
fn is_random_run(unit: &str) -> bool {
    let Some((digits, _)) = unit
        .strip_prefix("run-r")
        .and_then(|rest| rest.split_once('.'))
    else {
        return false;
    };
    digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
