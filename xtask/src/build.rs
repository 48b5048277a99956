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
    let profile = if release { "release" } else { "debug" };
    step!("build ({profile}): the probes for the kernel, then the agent that carries them");
    let mut build = cargo();
    build.args(["build", "--package", "weir", "--bin", "weir"]);
    if release {
        build.arg("--release");
    }
    run_command(&mut build)?;
    Ok(target()?.join(profile).join("weir"))
}
