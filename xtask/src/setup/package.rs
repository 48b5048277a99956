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
    parts: &'static [Part],
    name: &'static str,
    proof: Proof,
    why: &'static str,
}

/// The distribution's Python: one that a version manager put in PATH may lack venv.
pub(super) const PYTHON: &str = "/usr/bin/python3";

/// One package a line: for which parts, its name, how one sees that it is there, why it is needed.
macro_rules! packages {
    ($($($part:ident)+: $name:literal $proof:ident $what:literal $why:literal;)+) => {
        &[$(Package {
            parts: &[$(Part::$part),+],
            name: $name,
            proof: Proof::$proof($what),
            why: $why,
        }),+]
    };
}

static PACKAGES: &[Package] = packages! {
    Build: "gcc" Program "gcc" "links, and compiles the C parts of the TLS library";
    Build: "libc6-dev" File "/usr/include/stdlib.h" "headers for the C compiler";
    Demo Nginx Test Bench: "iproute2" Program "ip" "network namespaces, veth, rate limits";
    Demo Nginx Test Bench: "nftables" Program "nft" "drops packets";
    Demo Nginx Test Bench: "util-linux" Program "setpriv" "ends processes with who started them";
    Demo Test Bench: "ffmpeg" Program "ffmpeg" "makes the stack's streams, and plays them";
    Nginx Bench: "nginx-light" Program "nginx" "the unmodified server that is watched and compared with";
    Nginx: "wrk" Program "wrk" "many connections at once";
    Nginx Test: "curl" Program "curl" "short connections, and scrapes like any client";
    Test: "tcpdump" Program "tcpdump" "what was on the wire";
    Test: "bpftrace" Program "bpftrace" "measures sends independently";
    Test: "procps" Program "ps" "looks for what was left behind";
    Test Bench: "prometheus" Program "promtool" "a real scraper, and the checker of expositions";
    Test: "prometheus-alertmanager" Program "prometheus-alertmanager" "receives real pages";
    Test Bench: "victoria-metrics" Program "vmalert" "rules beside Weir's";
    Test: "redis-server" Program "redis-server" "the chat's real backend";
    Test: "python3-venv" Python "ensurepip" "an OTLP receiver that is not ours";
    Test Bench: "iputils-ping" Program "ping" "round-trip times over the stack's links";
    Test Bench: "iperf3" Program "iperf3" "flows over the stack's links";
    Test Bench: "chromium" Program "chromium" "a real browser to compare the modelled players with";
    Test Bench: "npm" Program "npm" "fetches the player hls.js from its registry";
    Bench: "libnginx-mod-nchan" File "/usr/lib/nginx/modules/ngx_nchan_module.so" "the chat's baseline";
    Vm: "busybox-static" Program "busybox" "the guest's user space";
    Vm: "binutils" Program "strip" "makes the guest's image small";
    Vm: "cpio" Program "cpio" "packs the guest's image";
    Vm: "kmod" Program "depmod" "orders the guest's kernel modules";
    Vm: "xz-utils" Program "xz" "unpacks kernel modules";
    Vm: "zstd" Program "zstd" "unpacks kernel modules";
    Vm: "iproute2" Program "ip" "the guest's network tools";
    Vm: "nftables" Program "nft" "the guest's packet filter";
};

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
        .filter(|package| package.is_for(parts) && !package.proof.holds())
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

impl Package {
    fn is_for(&self, parts: &[Part]) -> bool {
        self.parts.iter().any(|part| parts.contains(part))
    }
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
    fn the_demo_installs_neither_browser_nor_nginx() {
        let of_demo = |name| {
            let found = PACKAGES.iter().filter(|package| package.name == name);
            found
                .into_iter()
                .any(|package| package.is_for(&[Part::Demo]))
        };
        assert!(of_demo("ffmpeg"));
        assert!(!of_demo("chromium") && !of_demo("nginx-light"));
    }

    #[test]
    fn a_file_that_is_not_there_proves_nothing() {
        assert!(!Proof::File("/no/such/file").holds());
        assert!(Proof::Program("sh").holds());
    }
}
