//! The table of programs that Weir's commands need, the Debian package each
//! comes from, and why it is needed.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::{Part, apt};
use crate::{
    command::{find, note, step, succeeds},
    workspace::is_root,
};

/// How to see that a package's content is there, whoever installed it.
enum Proof {
    /// A program in PATH.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// A module of the distribution's Python.
    Python(&'static str),
}

struct Package {
    part: Part,
    name: &'static str,
    proof: Proof,
    why: &'static str,
}

const fn program(
    part: Part,
    name: &'static str,
    proof: &'static str,
    why: &'static str,
) -> Package {
    Package {
        part,
        name,
        proof: Proof::Program(proof),
        why,
    }
}

/// The distribution's Python: one that a version manager put in PATH may lack venv.
pub(super) const PYTHON: &str = "/usr/bin/python3";

static PACKAGES: &[Package] = &[
    program(
        Part::Build,
        "gcc",
        "gcc",
        "links, and compiles the C parts of the TLS library",
    ),
    Package {
        part: Part::Build,
        name: "libc6-dev",
        proof: Proof::File("/usr/include/stdlib.h"),
        why: "headers for the C compiler",
    },
    program(
        Part::Demo,
        "iproute2",
        "ip",
        "network namespaces, veth, rate limit",
    ),
    program(Part::Demo, "nftables", "nft", "drops packets"),
    program(
        Part::Demo,
        "util-linux",
        "setpriv",
        "ends the demo's processes with the demo",
    ),
    program(
        Part::Demo,
        "nginx-light",
        "nginx",
        "the unmodified server that is watched",
    ),
    program(Part::Demo, "curl", "curl", "short connections"),
    program(Part::Demo, "wrk", "wrk", "many connections at once"),
    program(
        Part::Test,
        "iproute2",
        "ss",
        "the kernel's own view of a connection",
    ),
    program(Part::Test, "nftables", "nft", "drops chosen packets"),
    program(Part::Test, "tcpdump", "tcpdump", "what was on the wire"),
    program(
        Part::Test,
        "bpftrace",
        "bpftrace",
        "measures sends independently",
    ),
    program(Part::Test, "procps", "ps", "looks for what was left behind"),
    program(Part::Test, "curl", "curl", "scrapes like any client"),
    program(
        Part::Test,
        "prometheus",
        "promtool",
        "a real scraper, and the checker of expositions",
    ),
    program(
        Part::Test,
        "prometheus-alertmanager",
        "prometheus-alertmanager",
        "receives real pages",
    ),
    program(
        Part::Test,
        "victoria-metrics",
        "vmalert",
        "rules beside Weir's",
    ),
    program(
        Part::Test,
        "ffmpeg",
        "ffmpeg",
        "makes the stack's streams, and plays them",
    ),
    program(
        Part::Test,
        "redis-server",
        "redis-server",
        "the chat's real backend",
    ),
    Package {
        part: Part::Test,
        name: "python3-venv",
        proof: Proof::Python("ensurepip"),
        why: "an OTLP receiver that is not ours",
    },
    Package {
        part: Part::Vm,
        name: "busybox-static",
        proof: Proof::Program("busybox"),
        why: "the guest's user space",
    },
    program(
        Part::Vm,
        "binutils",
        "strip",
        "makes the guest's image small",
    ),
    program(Part::Vm, "cpio", "cpio", "packs the guest's image"),
    program(
        Part::Vm,
        "kmod",
        "depmod",
        "orders the guest's kernel modules",
    ),
    program(Part::Vm, "xz-utils", "xz", "unpacks kernel modules"),
    program(Part::Vm, "zstd", "zstd", "unpacks kernel modules"),
    program(Part::Vm, "iproute2", "ip", "the guest's network tools"),
    program(Part::Vm, "nftables", "nft", "the guest's packet filter"),
];

/// What bpf-linker is built from; not needed once it is there.
static BPF_LINKER_PACKAGES: &[(&str, &str)] = &[
    ("llvm-22-dev", "bpf-linker is built against LLVM 22"),
    ("libpolly-22-dev", "part of LLVM 22"),
    ("libzstd-dev", "LLVM 22 compresses with it"),
    ("g++", "bpf-linker compiles a little C++"),
];

/// Installs the packages that are missing for these parts.
pub(super) fn ensure(parts: &[Part], linker_missing: bool, allow_removal: bool) -> Result<()> {
    let mut missing: Vec<(&str, &str)> = PACKAGES
        .iter()
        .filter(|package| parts.contains(&package.part) && !package.proof.holds())
        .map(|package| (package.name, package.why))
        .collect();
    if linker_missing {
        let packages = BPF_LINKER_PACKAGES.iter().copied();
        missing.extend(packages.filter(|(name, _)| !apt::is_installed(name)));
    }
    missing.sort_unstable();
    missing.dedup_by_key(|(name, _)| *name);
    if missing.is_empty() {
        return Ok(());
    }
    step!("packages missing here:");
    for (name, why) in &missing {
        note!("{name}: {why}");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if find("apt-get").is_none() {
        bail!(
            "this is not Debian: install by hand what holds the equivalent of these packages: {}",
            names.join(" ")
        );
    }
    if !is_root() {
        bail!(
            "not root: run `apt-get install --no-install-recommends {}` as root",
            names.join(" ")
        );
    }
    apt::install(&names, allow_removal)
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Program(name) => find(name).is_some(),
            Self::File(path) => Path::new(path).exists(),
            Self::Python(module) => {
                succeeds(Command::new(PYTHON).args(["-c", &format!("import {module}")]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_says_why() {
        assert!(PACKAGES.iter().all(|package| !package.why.is_empty()));
    }

    #[test]
    fn a_file_that_is_not_there_proves_nothing() {
        assert!(!Proof::File("/no/such/file").holds());
        assert!(Proof::Program("sh").holds());
    }
}
