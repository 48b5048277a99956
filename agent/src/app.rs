//! Wires the parts together, owns the tasks and the way down.
//!
//! One thread. Tasks: `Reader` (ring → names, immediate rules), `serve` (Prometheus), OTLP, pages to receivers,
//! `housekeep` (places, overhead budget). The kernel counts on its own; nothing here runs per event of a connection.

mod signal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::alert::api;
use crate::alert::engine;
use crate::alert::paging::Paging;
use crate::collect::Collector;
use crate::config::Config;
use crate::export::otlp;
use crate::export::prometheus::{Ready, Server};
use crate::kernel::Kernel;
use crate::reader::Reader;
use crate::{govern, start};
use signal::{Reloaded, Signals};

/// How long the tasks may take to finish.
const GRACE: Duration = Duration::from_secs(5);
/// How often places whose owners are gone are looked for.
const RECLAIM_EVERY: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// If something cannot start; a running agent goes on.
pub fn run(path: Option<PathBuf>, config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(supervise(path, config))
}

async fn supervise(path: Option<PathBuf>, config: Config) -> Result<()> {
    // A signal that comes while the agent starts must not be missed, nor SIGHUP end it.
    let signals = Signals::new()?;
    // Before the probes, so that an address in use is told at once.
    let server = Server::bind(&config.prometheus)?;
    let address = server
        .address()
        .context("cannot tell the listening address")?;
    let seen_files = engine::Files::look(&config.alert);
    let rule_files = engine::load(&config.alert)?;
    let paging = match config.alert.is_enabled() {
        true => Some(Paging::start(&config.alert)?),
        false => None,
    };
    let mut kernel = start::kernel(&config)?;
    let records = kernel.records()?;
    report(&kernel);
    forward_probe_log(&mut kernel, &config);
    let collector = Arc::new(start::collector(&config, kernel));
    let rules = paging.as_ref().map(|paging| {
        // It is empty before.
        let _ = collector.alerts.set(Arc::clone(paging.alerts()));
        paging.rules(&config.alert, rule_files, collector.clone())
    });
    let server = match &rules {
        Some(rules) => server.mount(api::router(rules.clone(), config.alert.api_limits())),
        None => server,
    };
    let stop = CancellationToken::new();
    let (ready, is_ready) = watch::channel(Ready::No("taking over open sockets".into()));
    let exporter = if config.otlp.endpoint.is_empty() {
        None
    } else {
        let (source, counts) = (collector.clone(), collector.exports.clone());
        Some(otlp::start(&config.otlp, source, counts, stop.clone())?)
    };
    let sockets = collector.seed();
    ready.send_replace(Ready::Yes);
    info!(metrics = %format!("http://{address}/metrics"), sockets, "watching");

    let mut tasks = JoinSet::new();
    let reader = Reader::new(records, collector.clone(), rules.clone());
    tasks.spawn(reader.run(stop.clone()));
    let (source, counts) = (collector.clone(), collector.exports.clone());
    let serving = server.serve(source, counts, is_ready, stop.clone());
    tasks.spawn(async move {
        if let Err(why) = serving.await {
            error!("the Prometheus endpoint stopped: {why:#}");
        }
    });
    if let Some(exporter) = exporter {
        tasks.spawn(exporter);
    }
    if let Some(rules) = &rules {
        tasks.spawn(rules.clone().run(seen_files, stop.clone()));
    }
    let (current, changed) = watch::channel(config);
    tasks.spawn(housekeep(collector.clone(), changed, stop.clone()));

    let reloaded = Reloaded {
        path,
        current: &current,
        collector: &collector,
        alerting: paging.as_ref().zip(rules),
    };
    signals.obey(&reloaded).await;
    info!("stopping");
    stop.cancel();
    let finish = async {
        if let Some(paging) = &paging {
            paging.stop().await;
        }
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        warn!("some tasks did not finish within {} s", GRACE.as_secs());
    }
    Ok(())
}

/// Says which probes run, and which do not and why.
fn report(kernel: &Kernel) {
    for probe in kernel.attached() {
        match probe.rung {
            Some(rung) => info!(probe = probe.probe, rung, "attached"),
            None => {
                let why: Vec<_> = probe
                    .failed
                    .iter()
                    .map(|failed| format!("{}: {}", failed.rung, failed.reason()))
                    .collect();
                warn!(
                    probe = probe.probe,
                    lost = probe.fact,
                    why = why.join("; "),
                    "not attached"
                );
            }
        }
    }
}

/// The probes' own messages, at the levels debug and trace only.
fn forward_probe_log(kernel: &mut Kernel, config: &Config) {
    use crate::config::LogLevel;
    if matches!(config.log.level, LogLevel::Debug | LogLevel::Trace)
        && let Err(why) = kernel.forward_log()
    {
        warn!("no messages from the probes: {why:#}");
    }
}

/// Takes unused places back and keeps the overhead within its budget.
async fn housekeep(
    collector: Arc<Collector>,
    config: watch::Receiver<Config>,
    stop: CancellationToken,
) {
    let mut governor = govern::Governor::default();
    let mut reclaim = tokio::time::interval(RECLAIM_EVERY);
    let mut measure_at = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = reclaim.tick() => collector.reclaim(),
            () = tokio::time::sleep_until(measure_at) => {
                let (budget, required) = {
                    let config = config.borrow();
                    (config.overhead.clone(), config.kernel.required.clone())
                };
                measure_at = Instant::now() + governor.step(&collector, &budget, &required).await;
            }
        }
    }
}
