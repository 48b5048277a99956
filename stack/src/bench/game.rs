//! Load for `game`: open-loop tickets through to their assignment, then bots in many matches at
//! once. The server is `weir-stack game` in processes of its own, with ports of their own.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

mod arenas;
mod population;
mod server;
mod tickets;

use server::Server;

/// Time between two runs of the match functions, as `game` has it by default.
const CYCLE_MS: u64 = 250;

/// Arguments of `weir-stack bench game`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Tickets created in a second, whether or not answers come
    #[arg(long, default_value_t = 2_500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    tickets_per_second: u32,
    /// How long tickets are created, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    ticket_seconds: u64,
    /// Players in the matches of the tickets
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=16))]
    ticket_players: u32,
    /// Matches at once whose ticks are measured
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=512))]
    arenas: u32,
    /// Processes that host them
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    processes: u32,
    /// Bots in each
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=16))]
    arena_players: u32,
    /// Ticks in a second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(20..=60))]
    tick_hz: u8,
    /// How long ticks are measured, in seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    arena_seconds: u64,
    /// Seed of players' skills, regions and moves
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Measures both and prints the figures.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    ensure!(
        args.arenas.is_multiple_of(args.processes),
        "--arenas has to be a multiple of --processes"
    );
    let tickets = measure_tickets(&args).await?;
    let arenas = measure_arenas(&args).await?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let figures = json!({
        "bench": "game",
        "cores": cores,
        "load_average": load.trim(),
        "debug_build": cfg!(debug_assertions),
        "seed": args.seed,
        "matchmaking": tickets,
        "arenas": arenas,
    });
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(ExitCode::SUCCESS)
}

async fn measure_tickets(args: &Args) -> Result<serde_json::Value> {
    // Nobody joins these matches, so that their rooms come back after the join timeout: this many
    // are open at once, and twice as many must fit.
    let open = args.tickets_per_second / args.ticket_players * 3 / 2;
    let processes = 4;
    let config = format!(
        "[game]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ncycle_ms = {CYCLE_MS}\n\
         [game.arenas]\nprocesses = {processes}\nprocesses_max = {processes}\nrooms = {rooms}\n\
         [game.arenas.room]\njoin_timeout_ms = 1000\n\
         [[game.profiles]]\nname = \"bench\"\nplayers = {players}\nstrings = {{ mode = \"bench\" }}\n\
         split_by = \"region\"\nwindow = 100.0\nwindow_per_second = 200.0\n",
        rooms = (open * 2 / processes).clamp(16, 1_024),
        players = args.ticket_players,
    );
    let server = Server::start(&config).await?;
    let players = population::rate(&server, args.seed).await?;
    let mut figures = tickets::measure(&server, args, players).await?;
    figures["server"] = server.stop().await?;
    Ok(figures)
}

async fn measure_arenas(args: &Args) -> Result<serde_json::Value> {
    let measured = Duration::from_secs(args.arena_seconds);
    let config = format!(
        "[game]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
         [game.arenas]\nprocesses = {processes}\nprocesses_max = {processes}\nrooms = {rooms}\n\
         [game.arenas.room]\ntick_hz = {hz}\nmatch_ms = {match_ms}\n\
         [[game.profiles]]\nname = \"bench\"\nplayers = {players}\nwindow = 10000.0\nwindow_per_second = 0.0\n",
        processes = args.processes,
        rooms = args.arenas / args.processes,
        hz = args.tick_hz,
        // Longer than everything; the bots leave.
        match_ms = measured.as_millis() + 120_000,
        players = args.arena_players,
    );
    let server = Server::start(&config).await?;
    let mut figures = arenas::measure(&server, args).await?;
    figures["server"] = server.stop().await?;
    Ok(figures)
}
