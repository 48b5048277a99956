//! Matchmaking, and the arenas it starts.
//!
//! A request changes the [`desk`]; the [`director`] runs the match functions every cycle, has the
//! [`fleet`] open a room in an [`arena`] process for each match, and assigns the tickets.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::daemon::{self, Health, Limits, Server};

pub(crate) mod arena;
mod book;
mod config;
mod desk;
mod director;
mod fleet;
mod matcher;
mod metrics;
mod pipe;
mod pool;
pub(crate) mod protocol;
mod rating;
mod service;

pub(crate) use config::Config;

use desk::Desk;
use fleet::Fleet;
use metrics::Metrics;
use proto::matchmaker_server::MatchmakerServer;
use service::Service;

/// The gRPC interface, generated from `proto/game.proto`: `matchmaker_client` for players and
/// directors, `matchmaker_server` for the service.
#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub(crate) mod proto {
    tonic::include_proto!("weir.game.v1");
}

/// File and command name of arena processes.
pub(crate) const ARENA: &str = "weir-arena";
/// Makes its metrics.
pub(crate) fn register(table: &mut daemon::Table) {
    Metrics::new(table);
}

/// Ends of matches that wait for the director.
const ENDED: usize = 1_024;
/// Longest gRPC request, in bytes: 1,000 ids and what belongs to them.
const MAX_REQUEST: usize = 128 * 1024;
/// Calls at a time in one connection; a bot farm keeps a watch per ticket.
const STREAMS: u32 = 10_000;

/// Arguments of `weir-stack game`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the matchmaker and its arenas until it is told to stop.
///
/// # Errors
/// If a key cannot work or a port cannot be opened.
pub(crate) async fn run(_args: Args, config: Config) -> Result<ExitCode> {
    config.check()?;
    name_process(c"weir-game");
    let stop = daemon::stop_token()?;
    let mut table = daemon::Table::default();
    let metrics = Metrics::new(&mut table);
    let limits = Limits {
        streams: STREAMS,
        ..Limits::default()
    };
    let server = Server::new(&mut table, limits);
    let (grpc, http) = (
        daemon::listen(config.grpc).await?,
        daemon::listen(config.http).await?,
    );

    let ratings = Arc::new(rating::Memory::new(config.ratings_max, config.tau));
    let desk = Arc::new(Desk::new(config.tickets.clone(), ratings, metrics.clone()));
    let (ended, ends) = mpsc::channel(ENDED);
    let fleet = Arc::new(Fleet::new(config.arenas.clone(), metrics.clone(), ended));
    let taking_ends = tokio::spawn(director::take_ends(Arc::clone(&desk), ends));
    let arenas = tokio::spawn(fleet::run(Arc::clone(&fleet), stop.clone()));
    let cycle = config::ms(config.cycle_ms);
    let profiles = config.profiles()?;
    let directing = director::run(
        Arc::clone(&desk),
        Arc::clone(&fleet),
        profiles,
        cycle,
        metrics,
        stop.clone(),
    );
    let directing = tokio::spawn(directing);

    let matchmaker =
        MatchmakerServer::new(Service(Arc::clone(&desk))).max_decoding_message_size(MAX_REQUEST);
    let matchmaker = tonic::service::Routes::new(matchmaker).into_axum_router();
    let matchmaker = matchmaker.layer(axum::middleware::from_fn(daemon::trace));
    let health = Health::default();
    let routes = daemon::router(table, health.clone()).merge(show_arenas(Arc::clone(&fleet)));
    tokio::spawn(judge(Arc::clone(&fleet), config.arenas.processes, health));
    // A player that comes as soon as this is said should find an arena; a broken one shows in /healthz.
    let patience = config::ms(config.arenas.start_timeout_ms);
    _ = tokio::time::timeout(patience, stop.run_until_cancelled(fleet.wait_healthy())).await;
    daemon::ready(
        "game",
        &[("grpc", address(&grpc)?), ("http", address(&http)?)],
    );

    let serving = tokio::spawn(server.clone().serve(http, None, routes, stop.clone()));
    // Watches would keep calls open for all of the grace period.
    let watches = async {
        stop.cancelled().await;
        desk.stop();
    };
    let (calls, ()) = tokio::join!(server.serve(grpc, None, matchmaker, stop.clone()), watches);
    calls.context("serving gRPC")?;
    serving.await?.context("serving HTTP")?;
    arenas.await.context("stopping arenas")?;
    directing.await?;
    taking_ends.abort();
    Ok(ExitCode::SUCCESS)
}

fn address(listener: &TcpListener) -> Result<String> {
    Ok(listener
        .local_addr()
        .context("asking for the own address")?
        .to_string())
}

/// What `ps` and observers call the process; kernels cut it at 15 bytes.
fn name_process(name: &std::ffi::CStr) {
    if let Err(error) = rustix::thread::set_name(name) {
        tracing::debug!(%error, "the process keeps the name of its file");
    }
}

/// `/arenas`: the processes, as JSON.
fn show_arenas(fleet: Arc<Fleet>) -> Router {
    Router::new().route(
        "/arenas",
        get(move || async move { axum::Json(fleet.views()) }),
    )
}

/// Not healthy without an arena that takes matches.
async fn judge(fleet: Arc<Fleet>, wanted: usize, health: Health) {
    let mut moments = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        moments.tick().await;
        match fleet.healthy() {
            0 if wanted > 0 => health.fail("arenas", "no arena process takes matches"),
            _ => health.mend("arenas"),
        }
    }
}
