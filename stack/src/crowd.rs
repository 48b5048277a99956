//! Players, chat users and gamers.

mod abr;
mod playback;
mod player;
mod playlist;
mod track;

use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `weir-stack crowd`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
