//! Live streams: HLS and low-latency HLS (RFC 8216bis), from a looped ladder or from encoders, and
//! what players say of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

use crate::daemon;

mod address;
mod answer;
mod body;
mod boxes;
mod cmcd;
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

/// How often silent sessions are forgotten.
const FORGET: Duration = Duration::from_secs(5);

/// Arguments of `weir-stack origin`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of HTTP/1.1 and HTTP/2 without TLS
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Address of the same with TLS
    #[arg(long)]
    tls_listen: Option<SocketAddr>,
    /// Make a certificate for localhost at the start
    #[arg(long)]
    tls_self_signed: bool,
    /// A stream that loops the ladder; may be given more than once
    #[arg(long = "stream", value_name = "NAME")]
    streams: Vec<String>,
    /// Folder of ladder and player, as `weir-stack media` makes it
    #[arg(long, value_name = "DIR")]
    media: Option<PathBuf>,
    /// Length of the loop in seconds, a multiple of 8
    #[arg(long)]
    seconds: Option<u64>,
}

/// `[origin]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address of HTTP/1.1 and HTTP/2 without TLS.
    pub(crate) listen: SocketAddr,
    /// Address of the same with TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_listen: Option<SocketAddr>,
    /// Certificate chain and key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Make a certificate for localhost at the start instead.
    pub(crate) tls_self_signed: bool,
    /// Streams that loop the ladder.
    pub(crate) streams: Vec<String>,
    /// Folder of ladder and player; the user's cache without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media: Option<PathBuf>,
    /// Length of the loop in seconds, a multiple of 8.
    pub(crate) loop_seconds: u64,
    /// Length of a playlist in seconds.
    pub(crate) window_seconds: u64,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub(crate) connections: usize,
    /// Requests at a time that are held until a playlist or part is there.
    pub(crate) held: usize,
    /// Player sessions at a time.
    pub(crate) sessions: usize,
    /// Seconds of silence after which a session is forgotten.
    pub(crate) session_silence_seconds: u64,
    pub(crate) ingest: ingest::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_listen: None,
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            streams: vec!["demo".to_owned()],
            media: None,
            loop_seconds: media::DEFAULT_SECONDS,
            window_seconds: 40,
            connections: 20_000,
            held: 20_000,
            sessions: 10_000,
            session_silence_seconds: 60,
            ingest: ingest::Config::default(),
        }
    }
}

impl Config {
    fn with(mut self, args: Args) -> Self {
        self.listen = args.listen.unwrap_or(self.listen);
        self.tls_listen = args.tls_listen.or(self.tls_listen);
        self.tls_self_signed |= args.tls_self_signed;
        if !args.streams.is_empty() {
            self.streams = args.streams;
        }
        self.media = args.media.or(self.media);
        self.loop_seconds = args.seconds.unwrap_or(self.loop_seconds);
        self
    }

    fn check(&self) -> Result<()> {
        for (index, name) in self.streams.iter().enumerate() {
            ensure!(stream::is_name(name), "[origin] streams: {name:?}: want 1 to 64 letters, digits, - and _");
            ensure!(!self.streams[..index].contains(name), "[origin] streams: {name:?} is there twice");
        }
        // RFC 8216bis § 6.2.2 asks for three target durations; a delta update skips from six on.
        let window = self.window_seconds;
        ensure!((6..=600).contains(&window), "[origin] window_seconds = {window}: want 6 to 600");
        ensure!(self.held <= Semaphore::MAX_PERMITS, "[origin] held = {}: too many", self.held);
        Ok(())
    }

    fn tls(&self) -> Result<Option<(SocketAddr, tls::Source)>> {
        let Some(address) = self.tls_listen else {
            ensure!(
                !self.tls_self_signed && self.tls_cert.is_none(),
                "[origin] a certificate without tls_listen (--tls-listen): where to?"
            );
            return Ok(None);
        };
        let source = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => tls::Source::Files {
                cert: cert.clone(),
                key: key.clone(),
            },
            (None, None) if self.tls_self_signed => {
                tls::Source::SelfSigned(vec!["localhost".to_owned(), address.ip().to_string()])
            }
            _ => anyhow::bail!("[origin] tls_listen: want tls_cert and tls_key, or tls_self_signed"),
        };
        Ok(Some((address, source)))
    }
}

/// Serves until it is told to stop.
pub(crate) async fn run(args: Args, config: Config) -> Result<ExitCode> {
    let config = config.with(args);
    config.check()?;
    let stop = daemon::stop_token()?;
    let Origin { server, router, tasks } = Origin::new(&config, &stop).await?;
    let mut tasks = tasks;
    let mut addresses = Vec::new();
    if let Some((address, source)) = config.tls()? {
        let acceptor = tls::acceptor(&source).context("[origin] TLS")?;
        let listener = daemon::listen(address).await.context("[origin] tls_listen")?;
        addresses.push(("https", format!("https://{}", listener.local_addr()?)));
        let serving = server.clone().serve(listener, Some(acceptor), router.clone(), stop.clone());
        tasks.spawn(async move { serving.await.context("serving TLS") });
    }
    let listener = daemon::listen(config.listen).await.context("[origin] listen")?;
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
        let mut registry = Registry::default();
        let limits = daemon::Limits {
            connections: config.connections,
            ..daemon::Limits::default()
        };
        let server = daemon::Server::new(&mut registry, limits);
        let players = metric::Players::register(&mut registry);
        let limits = session::Limits {
            sessions: config.sessions,
            silence_ms: config.session_silence_seconds.saturating_mul(1000),
        };
        let sessions = session::Sessions::new(limits, players.clone());
        let streams = stream::Streams::default();
        let clock = looped::Clock::start();
        let window = Duration::from_secs(config.window_seconds);
        let folder = config.media.clone().map_or_else(media::cache, Ok)?;
        let mut tasks = JoinSet::new();
        if !config.streams.is_empty() {
            let (from, seconds) = (folder.clone(), config.loop_seconds);
            let rungs = tokio::task::spawn_blocking(move || media::load(&from, seconds)).await??;
            let looped = looped::Looped::begin(&config.streams, rungs, window, &streams);
            let stop = stop.clone();
            tasks.spawn(async move {
                looped.run(stop).await;
                Ok(())
            });
        }
        tasks.spawn(forget(sessions.clone(), clock, stop.clone()));
        let live = live::Live {
            streams: streams.clone(),
            requests: metric::Requests::register(&mut registry),
            players: players.clone(),
            sessions: sessions.clone(),
            held: Arc::new(Semaphore::new(config.held)),
            clock,
        };
        let ingest = ingest::Ingest {
            config: Arc::new(config.ingest.clone()),
            streams: streams.clone(),
            metrics: metric::Ingests::register(&mut registry),
            clock,
            window,
            feeds: Arc::default(),
        };
        let page = page::Page {
            streams,
            sessions,
            players,
            clock,
            player: media::player(&folder),
        };
        let router = live::router(live)
            .merge(page::router(page))
            .layer(CorsLayer::permissive())
            // Encoders are no pages: nothing of another origin may send.
            .merge(ingest::router(ingest))
            .merge(daemon::router(registry, daemon::Health::default()))
            .layer(axum::middleware::from_fn(daemon::trace));
        Ok(Self { server, router, tasks })
    }
}

async fn forget(sessions: session::Sessions, clock: looped::Clock, stop: CancellationToken) -> Result<()> {
    while stop.run_until_cancelled(tokio::time::sleep(FORGET)).await.is_some() {
        sessions.forget(clock.now_ms());
    }
    Ok(())
}
