//! Wires the parts together, owns the tasks and the way down.
//!
//! One thread. Tasks: `Reader` (ring → names, immediate rules), `serve` (Prometheus), OTLP, pages to receivers,
//! `housekeep` (places, overhead budget). The kernel counts on its own; nothing here runs per event of a connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::alert::api;
use crate::alert::engine::{self, Rules};
use crate::alert::paging::Paging;
use crate::collect::Collector;
use crate::config::{Alert, Config, changes_needing_restart};
use crate::export::otlp;
use crate::export::prometheus::{Ready, Server};
use crate::kernel::Kernel;
use crate::reader::Reader;
use crate::{govern, log, start};

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
        tasks.spawn(rules.clone().run(stop.clone()));
    }
    let (current, changed) = watch::channel(config);
    tasks.spawn(housekeep(collector.clone(), changed, stop.clone()));

    signals
        .obey(path, &current, &collector, paging.as_ref().zip(rules))
        .await;
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

/// The signals that the agent knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on they are kept until [`obey`](Self::obey).
    fn new() -> Result<Self> {
        let handler = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hang_up: handler(SignalKind::hangup())?,
        })
    }

    /// Returns on those that mean the end.
    async fn obey(
        mut self,
        path: Option<PathBuf>,
        current: &watch::Sender<Config>,
        collector: &Collector,
        alerting: Option<(&Paging, Arc<Rules>)>,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    if let Some(alert) = reload(path.as_deref(), current, collector) {
                        reload_alerting(alert, alerting.as_ref()).await;
                    }
                }
            }
        }
    }
}

/// Reads the configuration again; a bad one changes nothing. Returns what it says of
/// alerting, and whether that is new.
fn reload(
    path: Option<&std::path::Path>,
    current: &watch::Sender<Config>,
    collector: &Collector,
) -> Option<(Alert, bool)> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(why) => {
            collector
                .counts
                .reloads_refused
                .fetch_add(1, Ordering::Relaxed);
            error!("the configuration was not reloaded: {why}");
            return None;
        }
    };
    for key in changes_needing_restart(&current.borrow(), &config) {
        warn!("{key} has changed and takes effect at the next start");
    }
    log::change(config.log.level);
    collector.reconfigure(&config.labels, &config.limits);
    collector.counts.reloads.fetch_add(1, Ordering::Relaxed);
    let alert = config.alert.clone();
    let old = current.send_replace(config);
    info!("configuration reloaded");
    let is_new = alert != old.alert;
    Some((alert, is_new))
}

/// Reads the rules again and changes who is paged; what cannot be used leaves things as they were.
async fn reload_alerting((alert, is_new): (Alert, bool), alerting: Option<&(&Paging, Arc<Rules>)>) {
    match alerting {
        Some((paging, rules)) => {
            if is_new && let Err(why) = paging.reload(&alert).await {
                error!("the receivers of alerts stay as they were: {why:#}");
            }
            let rules = Arc::clone(rules);
            // It fails only if it panicked, which the hook has told.
            drop(tokio::task::spawn_blocking(move || rules.reload(&alert)).await);
        }
        None if alert.is_enabled() => warn!("alert.rule_files takes effect at the next start"),
        None => {}
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
