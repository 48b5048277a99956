//! Matchmaking, and the arenas it starts.

use std::process::ExitCode;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub(crate) mod arena;
pub(crate) mod protocol;

/// The gRPC interface, generated from `proto/game.proto`: `matchmaker_client` for players and
/// directors, `matchmaker_server` for the service.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub(crate) mod proto {
    tonic::include_proto!("weir.game.v1");
}

/// Arguments of `weir-stack game`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// `[game]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {}

pub(crate) async fn run(_args: Args, _config: Config) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
