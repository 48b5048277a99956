//! Makes the ladder that the origin loops.

use anyhow::Result;

/// Arguments of `weir-stack media`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<()> {
    Ok(())
}
