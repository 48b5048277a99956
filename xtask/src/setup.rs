//! `setup`: installs what is missing, and only that. Every step first looks
//! whether its result is there, so that a second run does nothing.

mod apt;
mod archive;
mod emulator;
mod media;
mod package;
mod receiver;
mod toolchain;

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

pub(crate) use self::{
    archive::{Archive, unpack},
    emulator::command as emulator,
    media::ensure as ensure_media,
    receiver::ensure as ensure_receivers,
};
use crate::{
    command::{note, run as run_command, step},
    workspace::is_root,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to prepare for; everything if not given
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Let apt remove packages that are in the way of those needed
    #[arg(long)]
    allow_removal: bool,
}

/// What a command needs from the machine.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Toolchain and BPF linker
    Build,
    /// What the demo's network and streams are made with
    Demo,
    /// nginx and load generators, for the demo on nginx
    Nginx,
    /// Tools and receivers that Weir's numbers are checked against
    Test,
    /// Baselines, a real browser and its player, for `cargo xtask bench stack`
    Bench,
    /// QEMU and what the guests are made from
    Vm,
}

/// Every part, in the order of preparation.
const ALL: [Part; 6] = [
    Part::Build,
    Part::Demo,
    Part::Nginx,
    Part::Test,
    Part::Bench,
    Part::Vm,
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let parts = if args.parts.is_empty() {
        &ALL[..]
    } else {
        &args.parts
    };
    prepare(parts, args.allow_removal || crate::workspace::in_ci())?;
    if parts.contains(&Part::Test) {
        receiver::ensure()?;
    }
    if parts.contains(&Part::Test) || parts.contains(&Part::Bench) {
        media::ensure()?;
    }
    note!("everything needed is there");
    Ok(())
}

/// Prepares for what another command needs.
pub(crate) fn ensure(parts: &[Part]) -> Result<()> {
    prepare(parts, crate::workspace::in_ci())
}

fn prepare(parts: &[Part], allow_removal: bool) -> Result<()> {
    let builds = parts.contains(&Part::Build);
    if builds {
        toolchain::ensure_rust()?;
    }
    let linker_missing = builds && !toolchain::has_bpf_linker();
    package::ensure(parts, linker_missing, allow_removal)?;
    if linker_missing {
        toolchain::install_bpf_linker()?;
    }
    if parts.contains(&Part::Vm) {
        emulator::ensure()?;
    }
    let probes = [Part::Test, Part::Demo, Part::Nginx];
    if probes.iter().any(|part| parts.contains(part)) {
        mount_tracefs()?;
    }
    Ok(())
}

/// Tracepoints are found through tracefs; containers often leave it unmounted.
fn mount_tracefs() -> Result<()> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    if Path::new(TRACEFS).join("events").is_dir() {
        return Ok(());
    }
    if !is_root() {
        bail!("tracefs is not mounted: run `mount -t tracefs tracefs {TRACEFS}` as root");
    }
    step!("mount tracefs on {TRACEFS}: the agent finds tracepoints there");
    run_command(Command::new("mount").args(["-t", "tracefs", "tracefs", TRACEFS]))
}
