//! One game server with a fixed tick.

use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `weir-stack arena`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, _config: super::Config) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
