//! Live streams: HLS and low-latency HLS.

use std::process::ExitCode;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(crate) mod media;

/// Arguments of `weir-stack origin`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// `[origin]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {}

pub(crate) async fn run(_args: Args, _config: Config) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
