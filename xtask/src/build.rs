//! `build`: the kernel probes and the agent.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    command::{note, run as run_command, step},
    setup::{self, Part},
    workspace::{cargo, target},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// With optimisation, as it is shipped
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Part::Build])?;
    let agent = agent(args.release)?;
    note!("built {}", agent.display());
    Ok(())
}

/// Builds the agent and says where it is. Its build script builds the probes
/// for the BPF target with the same toolchain.
pub(crate) fn agent(release: bool) -> Result<PathBuf> {
    step!("build: the probes for the kernel, then the agent that carries them");
    binaries(["weir"], release).map(|[agent]| agent)
}

/// Builds the agent and what it is shown on: services, their users and the network between. Both
/// at once: each alone would want what they share with other features, and compile it again.
pub(crate) fn agent_and_stack(release: bool) -> Result<[PathBuf; 2]> {
    step!("build: probes and agent; services, their users and the network between");
    binaries(["weir", "weir-stack"], release)
}

/// Of packages whose binary is called as they are.
fn binaries<const N: usize>(names: [&str; N], release: bool) -> Result<[PathBuf; N]> {
    let profile = if release { "release" } else { "debug" };
    let mut build = cargo();
    build.args(["build", "--bins"]);
    for name in names {
        build.args(["--package", name]);
    }
    if release {
        build.arg("--release");
    }
    run_command(&mut build)?;
    let target = target()?;
    Ok(names.map(|name| target.join(profile).join(name)))
}
