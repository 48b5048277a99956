//! Rooms over WebSocket, for the comments, gifts and votes of a live stream.
//!
//! A message is checked, masked and made into JSON once, waits at most one tick for its room's
//! batch, gets its revision from the log, and goes to every connection as the same bytes.
//! The protocol is in [`protocol`], the bounds in [`config`].

pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod consumer;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod hub;
pub(crate) mod lane;
pub(crate) mod log;
pub(crate) mod metric;
pub(crate) mod outbox;
pub(crate) mod privacy;
pub(crate) mod protocol;
pub(crate) mod room;
pub(crate) mod server;
mod tally;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::config::Config;
use self::config::Storage;
use self::hub::{Hub, Shared};
use self::log::Log;
use self::metric::Metrics;

/// How long clients have to take their leave when the service stops.
const GRACE: Duration = Duration::from_millis(500);

/// Arguments of `weir-stack chat`; each overrides its key in the configuration.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen, as `[chat] listen`
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Folder of the embedded log, as `[chat.fjall] dir`
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where items are kept in Redis, as `[chat.redis] url`; also sets `[chat] storage`
    #[arg(long)]
    redis: Option<String>,
}

/// Makes its metrics.
pub(crate) fn register(table: &mut crate::daemon::Table) {
    Metrics::new(table);
}

/// Runs the service until it is told to stop.
pub(crate) async fn run(args: Args, mut config: Config) -> Result<ExitCode> {
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(dir) = args.dir {
        config.fjall.dir = dir;
    }
    if let Some(url) = args.redis {
        config.redis.url = url;
        config.storage = Storage::Redis;
    }
    let stop = crate::daemon::stop_token()?;
    let service = Service::start(config, stop.clone()).await?;
    crate::daemon::ready("chat", &[("ws", service.address.to_string())]);
    stop.cancelled().await;
    service.end().await;
    Ok(ExitCode::SUCCESS)
}

/// A running service.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Arc<Hub>,
    tasks: [JoinHandle<()>; 2],
}

impl Service {
    /// Starts everything; accepts until `stop`.
    pub(crate) async fn start(config: Config, stop: CancellationToken) -> Result<Self> {
        config.check()?;
        server::raise_file_limit(config.max_connections)?;
        let mut table = crate::daemon::Table::default();
        let (metrics, started) = (Arc::new(Metrics::new(&mut table)), Instant::now());
        let log: Box<dyn Log> = match config.storage {
            Storage::Memory => Box::new(log::memory::Memory),
            Storage::Fjall => Box::new(log::embedded::Embedded::start(
                &config.fjall,
                &metrics,
                started,
            )?),
            Storage::Redis => {
                Box::new(log::streams::Streams::start(&config.redis, &metrics, started).await?)
            }
        };
        let listener = server::listen(&config)?;
        let address = listener.local_addr()?;
        let lanes = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            lanes: lane::Lanes::start(lanes, &config, &metrics, started),
            auditor: audit::Auditor::new(config.audit, config.audit_rate, Arc::clone(&metrics)),
            config,
            metrics,
            log,
            started,
        };
        let hub = Hub::new(Arc::new(shared));
        let router = http::router(Arc::clone(&hub), table);
        let tasks = [
            tokio::spawn(Arc::clone(&hub).keep_house()),
            tokio::spawn(server::run(Arc::clone(&hub.shared), router, listener, stop)),
        ];
        Ok(Self {
            address,
            hub,
            tasks,
        })
    }

    /// Takes leave of the clients and writes what waits.
    pub(crate) async fn end(self) {
        self.hub.shared.lanes.stop().await;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && self.hub.shared.metrics.connections.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.hub.shared.log.close().await;
        for task in self.tasks {
            task.abort();
        }
    }
}
