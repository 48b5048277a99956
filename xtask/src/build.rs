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
    binary("weir", "weir", release)
}

/// Builds the services, users and network that the agent is shown on, and says where they are.
pub(crate) fn stack(release: bool) -> Result<PathBuf> {
    step!("build: the services, their users and the network between");
    binary("weir-stack", "weir-stack", release)
}

fn binary(package: &str, name: &str, release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    let mut build = cargo();
    build.args(["build", "--package", package, "--bin", name]);
    if release {
        build.arg("--release");
    }
    run_command(&mut build)?;
    Ok(target()?.join(profile).join(name))
}
