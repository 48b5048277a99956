//! One process per service.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::config::Config;

/// Arguments of `weir-stack up`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, _config: &Config, _file: Option<&Path>) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
