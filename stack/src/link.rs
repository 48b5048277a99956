//! TODO-link

use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `weir-stack link`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
