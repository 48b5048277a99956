//! Load for the services' own benchmarks, each against a named baseline on the same machine. The
//! services run as separate processes; figures go to standard output as one JSON object.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::Config;

pub(crate) mod chat;
pub(crate) mod crowd;
pub(crate) mod game;
pub(crate) mod link;

/// Arguments of `weir-stack bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Connections, fan-out and latency of `chat`, beside nginx with nchan
    Chat(chat::Args),
    /// Delay, rate and fates of `link`'s relay, beside a plain veth pair
    Link(link::Args),
    /// Tickets matched in a second and their latency; ticks of many arenas under load
    Game(game::Args),
    /// The crowd's model beside hls.js, and many players at once
    Crowd(crowd::Args),
}

/// Runs one benchmark.
pub(crate) fn run(args: Args, config: &Config) -> Result<ExitCode> {
    match args.subject {
        Subject::Chat(args) => crate::daemon::run("bench-chat", config, chat::run(args)),
        Subject::Link(args) => link::run(&args),
        Subject::Game(args) => crate::daemon::run("bench-game", config, game::run(args)),
        Subject::Crowd(args) => crate::daemon::run("bench-crowd", config, crowd::run(args)),
    }
}
