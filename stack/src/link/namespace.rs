//! Network namespaces by name, as ip-netns(8) keeps them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::{output, run};

/// Where ip-netns(8) mounts them.
const DIRECTORY: &str = "/run/netns";

/// Makes one, with its loopback up.
pub(crate) fn add(name: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "add", name]))?;
    run(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]))
}

/// Takes one away; links and addresses go with it once no process is inside.
pub(crate) fn delete(name: &str) -> Result<()> {
    run(Command::new("ip").args(["netns", "delete", name]))
}

/// Whether it is there.
pub(crate) fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Names of all.
pub(crate) fn list() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The processes inside.
pub(crate) fn processes(name: &str) -> Vec<u32> {
    output(Command::new("ip").args(["netns", "pids", name]))
        .map(|pids| {
            pids.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect()
        })
        .unwrap_or_default()
}

/// A command that runs inside. Unlike `ip netns exec` this leaves the mounts alone, so cgroups
/// stay in sight.
pub(crate) fn command(name: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={DIRECTORY}/{name}"))
        .arg("--")
        .arg(program);
    command
}

/// Runs a piece of this program inside, on a thread of its own that ends with it.
pub(crate) fn inside<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = File::open(path(name))
        .with_context(|| format!("cannot open the network namespace {name}"))?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| {
                    format!("setns into the network namespace {name} (needs CAP_SYS_ADMIN)")
                })?;
            work()
        });
        thread
            .join()
            .map_err(|_| anyhow!("work inside the network namespace {name} panicked"))?
    })
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
