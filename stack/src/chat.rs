//! Rooms over WebSocket.

pub(crate) mod protocol;

use std::process::ExitCode;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Arguments of `weir-stack chat`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// `[chat]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {}

pub(crate) async fn run(_args: Args, _config: Config) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
