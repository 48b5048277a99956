//! Load for the services' own benchmarks, each against a named baseline on the same machine. The
//! services run as separate processes; figures go to standard output as one JSON object.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::Config;

pub(crate) mod game;

/// Arguments of `weir-stack bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Tickets matched in a second and their latency; ticks of many arenas under load
    Game(game::Args),
}

/// Runs one benchmark.
pub(crate) fn run(args: Args, config: &Config) -> Result<ExitCode> {
    match args.subject {
        Subject::Game(args) => crate::daemon::run("bench-game", config, game::run(args)),
    }
}
