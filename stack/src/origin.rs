//! Live streams: HLS and low-latency HLS (RFC 8216bis), from a looped ladder or from encoders, and
//! what players say of them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

use crate::daemon::{self, Health};

mod address;
mod answer;
mod body;
mod boxes;
mod cmcd;
mod config;
mod ingest;
mod ladder;
mod live;
mod looped;
pub(crate) mod media;
mod metric;
mod page;
mod playlist;
mod session;
mod stream;
mod timeline;
mod tls;
mod track;

pub(crate) use config::{Args, Config};

/// How often silent sessions are forgotten.
const FORGET: Duration = Duration::from_secs(5);

/// Serves until it is told to stop.
pub(crate) async fn run(args: Args, config: Config) -> Result<ExitCode> {
    let config = config.with(args);
    config.check()?;
    let tls = config.tls()?;
    let stop = daemon::stop_token()?;
    let Origin {
        server,
        router,
        mut tasks,
    } = Origin::new(&config, &stop).await?;
    let mut addresses = Vec::new();
    if let Some((address, source)) = tls {
        let acceptor = tls::acceptor(&source).context("[origin] TLS")?;
        let listener = daemon::listen(address)
            .await
            .context("[origin] tls_listen")?;
        addresses.push(("https", format!("https://{}", listener.local_addr()?)));
        let serving = server
            .clone()
            .serve(listener, Some(acceptor), router.clone(), stop.clone());
        tasks.spawn(async move { serving.await.context("serving TLS") });
    }
    let listener = daemon::listen(config.listen)
        .await
        .context("[origin] listen")?;
    addresses.push(("http", format!("http://{}", listener.local_addr()?)));
    tasks.spawn({
        let serving = server.serve(listener, None, router, stop.clone());
        async move { serving.await.context("serving") }
    });
    daemon::ready("origin", &addresses);
    while let Some(end) = tasks.join_next().await {
        end.context("a task of the origin")??;
    }
    Ok(ExitCode::SUCCESS)
}

/// All parts of an origin but its ports.
struct Origin {
    server: daemon::Server,
    router: Router,
    tasks: JoinSet<Result<()>>,
}

impl Origin {
    async fn new(config: &Config, stop: &CancellationToken) -> Result<Self> {
        let mut table = daemon::Table::default();
        let health = Health::default();
        let limits = daemon::Limits {
            connections: config.connections,
            ..daemon::Limits::default()
        };
        let server = daemon::Server::new(&mut table, limits);
        let live = live(config, &mut table);
        let folder = config.media.clone().map_or_else(media::cache, Ok)?;
        let mut tasks = JoinSet::new();
        if !config.streams.is_empty() {
            let looped = begin_loop(config, &folder, &live, health.clone()).await?;
            let stop = stop.clone();
            tasks.spawn(async move {
                looped.run(stop).await;
                Ok(())
            });
        }
        tasks.spawn(forget(live.sessions.clone(), live.clock, stop.clone()));
        let ingest = ingest::Ingest {
            config: Arc::new(config.ingest.clone()),
            streams: live.streams.clone(),
            metrics: metric::Ingests::register(&mut table),
            clock: live.clock,
            window: config.window(),
            feeds: Arc::default(),
            log: ingest::log_limit(),
        };
        let page = page::Page {
            streams: live.streams.clone(),
            sessions: live.sessions.clone(),
            players: live.players.clone(),
            clock: live.clock,
            player: media::player(&folder),
        };
        let router = live::router(live)
            .merge(page::router(page))
            .layer(CorsLayer::permissive())
            // Encoders are no pages: no page of another site may send.
            .merge(ingest::router(ingest))
            .merge(daemon::router(table, health))
            .layer(axum::middleware::from_fn(daemon::trace));
        Ok(Self {
            server,
            router,
            tasks,
        })
    }
}

/// Makes its metrics.
pub(crate) fn register(table: &mut daemon::Table) {
    metric::Requests::register(table);
    metric::Players::register(table);
    metric::Ingests::register(table);
}

fn live(config: &Config, table: &mut daemon::Table) -> live::Live {
    let players = metric::Players::register(table);
    let limits = session::Limits {
        sessions: config.sessions,
        silence_ms: config.session_silence_seconds.saturating_mul(1000),
    };
    live::Live {
        streams: stream::Streams::default(),
        requests: metric::Requests::register(table),
        sessions: session::Sessions::new(limits, players.clone()),
        players,
        held: Arc::new(Semaphore::new(config.held)),
        clock: looped::Clock::start(),
    }
}

async fn begin_loop(
    config: &Config,
    folder: &Path,
    live: &live::Live,
    health: Health,
) -> Result<looped::Looped> {
    let (folder, seconds) = (folder.to_owned(), config.loop_seconds);
    let rungs = tokio::task::spawn_blocking(move || media::load(&folder, seconds)).await??;
    let late = live.requests.late.clone();
    Ok(looped::Looped::begin(
        &config.streams,
        rungs,
        config.window(),
        &live.streams,
        late,
        health,
    ))
}

async fn forget(
    sessions: session::Sessions,
    clock: looped::Clock,
    stop: CancellationToken,
) -> Result<()> {
    while stop
        .run_until_cancelled(tokio::time::sleep(FORGET))
        .await
        .is_some()
    {
        sessions.forget(clock.now_ms());
    }
    Ok(())
}
