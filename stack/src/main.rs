//! A small streaming and game stack, with its players, the network between, and its faults.
//! It knows nothing of any observer: what it writes down is the truth that observers are held to.

#![forbid(unsafe_code)]

mod bench;
mod chat;
mod config;
mod crowd;
mod daemon;
mod docs;
mod game;
mod link;
mod log;
mod origin;
mod scenario;
mod truth;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::config::Config;

/// What a new user wants to know first.
const FIRST_STEPS: &str = "\
First steps:
  weir-stack media   once: the streams that the origin loops, and the player of its page
  weir-stack up      origin, chat and game; prints where they are, Ctrl-C ends all
  then open http://127.0.0.1:8080/ in a browser, or in another terminal let users come:
  weir-stack crowd --truth truth.jsonl --seconds 20 \\
    --players 5 --stream http://127.0.0.1:8080/live/demo/master.m3u8 \\
    --chatters 5 --chat ws://127.0.0.1:9482 --gamers 4 --game http://127.0.0.1:9483";

/// Streaming and game services, their load, their network, their faults.
#[derive(Parser)]
#[command(name = "weir-stack", version, after_help = FIRST_STEPS)]
struct Cli {
    /// TOML file; every key has a default, see `weir-stack config`
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start one process per service, wait until each is ready, stop all on Ctrl-C
    Up(up::Args),
    /// HLS and low-latency HLS, live from a looped ladder or from an encoder
    Origin(origin::Args),
    /// Make the ladder that `origin` loops, once, with ffmpeg's test sources
    Media(origin::media::Args),
    /// Rooms over WebSocket: messages, votes, gifts, history
    Chat(chat::Args),
    /// Matchmaking over gRPC; starts arenas
    Game(game::Args),
    /// One game server with a fixed tick; started by `game`
    Arena(game::arena::Args),
    /// Players, chat users and gamers; writes the truth
    Crowd(Box<crowd::Args>),
    /// The network between: namespaces, rate, delay, loss
    Link(link::Args),
    /// Topology, services, crowd and timed faults from one file
    Scenario(scenario::Args),
    /// Load one service that runs as a process of its own; prints the figures as JSON
    Bench(bench::Args),
    /// Print the configuration with every default, as a file for --config
    Config,
    /// Print a reference of this program in Markdown
    #[command(hide = true)]
    Docs(docs::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let config = Config::load(cli.config.as_deref())?;
    match cli.command {
        Command::Up(args) => up::run(&args, &config, cli.config.as_deref()),
        Command::Origin(args) => {
            daemon::run("origin", &config, origin::run(args, config.origin.clone()))
        }
        Command::Media(args) => origin::media::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Chat(args) => daemon::run("chat", &config, chat::run(args, config.chat.clone())),
        Command::Game(args) => daemon::run("game", &config, game::run(args, config.game.clone())),
        Command::Arena(args) => daemon::run(
            "arena",
            &config,
            game::arena::run(args, config.game.clone()),
        ),
        Command::Crowd(args) => daemon::run("crowd", &config, crowd::run(*args)),
        Command::Link(args) => link::run(args),
        Command::Scenario(args) => scenario::run(args),
        Command::Bench(args) => bench::run(args, &config),
        Command::Config => {
            print!("{}", config.to_toml()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Docs(args) => docs::run(&args),
    }
}
