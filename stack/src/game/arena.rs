//! A game server: a process that hosts matches with a fixed tick. Started and told what to do by
//! `game` (see [`super::pipe`]), or by hand for one match.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc as channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{self, Config, ms};
use super::pipe::{Report, Setup};
use crate::daemon::{self, Health, Limits, Server};

mod master;
mod metrics;
mod player;
mod room;
mod ticker;
mod world;

use metrics::Metrics;
use room::{Room, Seats};
use ticker::{Command, Ticker};

/// Makes its metrics.
pub(crate) fn register(table: &mut daemon::Table) {
    Metrics::new(table);
}

/// Commands that wait while the ticker is in a tick.
const COMMANDS: usize = 1_024;
/// Reports that wait while `game` does not read.
const REPORTS: usize = 1_024;

/// Arguments of `weir-stack arena`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Take orders from standard input, as `game` sends them
    #[arg(long)]
    managed: bool,
    /// Without `--managed`: where to listen
    #[arg(long, default_value = "127.0.0.1:9485", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Without `--managed`: the players' tokens, for one match
    #[arg(long, value_delimiter = ',', default_value = "red,blue")]
    tokens: Vec<String>,
}

/// What connections share.
struct Arena {
    rules: config::Room,
    seats: Arc<Seats>,
    metrics: Metrics,
    free: Arc<Semaphore>,
    players: TaskTracker,
    stop: CancellationToken,
}

/// An arena at work.
struct Running {
    arena: Arc<Arena>,
    address: SocketAddr,
    /// Matches at a time.
    rooms: usize,
    commands: channel::SyncSender<Command>,
    /// Ticker and master → `game`.
    reports: mpsc::Sender<Report>,
    /// Grows with every round of the ticker.
    alive: Arc<AtomicU64>,
    ticker: std::thread::JoinHandle<()>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Hosts matches until it is told to stop; by hand, until the one match is over.
///
/// # Errors
/// If a key or an order cannot work or the port cannot be opened.
pub(crate) async fn run(args: Args, config: Config) -> Result<ExitCode> {
    super::name_process(c"weir-arena");
    if args.managed {
        return master::run().await;
    }
    config.check()?;
    let stop = daemon::stop_token()?;
    let (address, port) = (args.listen.ip(), args.listen.port());
    let setup = Setup {
        address,
        port,
        rooms: 1,
        beat_ms: 1_000,
        room: config.arenas.room,
    };
    let (running, mut reports) = Running::start(setup).await?;
    running.open(1, "by-hand".to_owned(), args.tokens);
    daemon::ready("arena", &[("arena", running.address.to_string())]);
    while let Some(Some(report)) = stop.run_until_cancelled(reports.recv()).await {
        if let Report::Ended {
            reason, standings, ..
        } = report
        {
            tracing::info!(?reason, ?standings, "the match is over");
            break;
        }
    }
    running.finish().await?;
    Ok(ExitCode::SUCCESS)
}

impl Running {
    async fn start(setup: Setup) -> Result<(Self, mpsc::Receiver<Report>)> {
        let mut table = daemon::Table::default();
        let metrics = Metrics::new(&mut table);
        let rules = setup.room;
        let connections = rules.connections;
        let limits = Limits {
            connections: connections + 16,
            write: ms(rules.idle_timeout_ms),
            ..Limits::default()
        };
        let server = Server::new(&mut table, limits);
        let listener = daemon::listen(SocketAddr::new(setup.address, setup.port)).await?;
        let address = listener
            .local_addr()
            .context("asking for the own address")?;
        // Accepted connections inherit it (tcp_create_openreq_child copies the listener's).
        socket2::SockRef::from(&listener)
            .set_tcp_notsent_lowat(rules.unsent_bytes)
            .context("setting TCP_NOTSENT_LOWAT")?;

        let (commands, queue) = channel::sync_channel(COMMANDS);
        let (reports, receiver) = mpsc::channel(REPORTS);
        let (seats, alive) = (Arc::new(Seats::default()), Arc::new(AtomicU64::new(0)));
        let (stop, players) = (CancellationToken::new(), TaskTracker::new());
        let ticker = Ticker::new(
            rules.clone(),
            Arc::clone(&seats),
            metrics.clone(),
            reports.clone(),
            Arc::clone(&alive),
        );
        let ticker = std::thread::Builder::new()
            .name("ticker".to_owned())
            .spawn(move || ticker.run(&queue))
            .context("starting the ticker's thread")?;
        let free = Arc::new(Semaphore::new(connections));
        let arena = Arc::new(Arena {
            rules,
            seats,
            metrics,
            free,
            players,
            stop: stop.clone(),
        });
        let routes = Router::new()
            .route("/", get(upgrade))
            .with_state(Arc::clone(&arena));
        let routes = routes.merge(daemon::router(table, Health::default()));
        let serving = tokio::spawn(server.serve(listener, None, routes, stop));
        let rooms = setup.rooms;
        Ok((
            Self {
                arena,
                address,
                rooms,
                commands,
                reports,
                alive,
                ticker,
                serving,
            },
            receiver,
        ))
    }

    /// Whether there was room for the match.
    fn open(&self, id: u64, name: String, tokens: Vec<String>) -> bool {
        let seats = &self.arena.seats;
        if seats.matches().len() >= self.rooms {
            return false;
        }
        let room = Arc::new(Room::new(id, name, tokens));
        seats.open(&room);
        let opened = self
            .commands
            .try_send(Command::Open(Arc::clone(&room)))
            .is_ok();
        if !opened {
            seats.close(&room);
        }
        opened
    }

    /// Ends all matches, tells their players, and stops listening.
    async fn finish(self) -> Result<()> {
        let Self {
            arena,
            commands,
            ticker,
            serving,
            ..
        } = self;
        drop(commands);
        tokio::task::spawn_blocking(|| ticker.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the ticker panicked"))?;
        arena.players.close();
        _ = tokio::time::timeout(Duration::from_millis(1_200), arena.players.wait()).await;
        arena.stop.cancel();
        serving.await?.context("serving players")
    }
}

/// `GET /`: a player.
async fn upgrade(State(arena): State<Arc<Arena>>, mut request: Request) -> Response {
    let refuse = |status: StatusCode, why: String| {
        arena.metrics.connections_refused.inc();
        (status, why).into_response()
    };
    let Ok(permit) = Arc::clone(&arena.free).try_acquire_owned() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many connections".to_owned(),
        );
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let response =
        match create_response_with_body(&axum::http::Request::from_parts(parts, ()), Body::empty) {
            Ok(response) => response,
            Err(error) => {
                return refuse(
                    StatusCode::BAD_REQUEST,
                    format!("want a WebSocket here: {error}"),
                );
            }
        };
    let player = Arc::clone(&arena);
    arena.players.spawn(async move {
        let patience = ms(player.rules.hello_timeout_ms);
        if let Ok(Ok(upgraded)) = tokio::time::timeout(patience, upgrading).await {
            player::play(player, upgraded).await;
        }
        drop(permit);
    });
    response
}
