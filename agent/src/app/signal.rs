//! Signals: the end, and the configuration read again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::alert::engine::Rules;
use crate::alert::paging::Paging;
use crate::collect::Collector;
use crate::config::{Alert, Config, changes_needing_restart};
use crate::log;

/// The signals that the agent knows.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a reload changes.
pub(super) struct Reloaded<'a> {
    /// The configuration's file; none: all defaults.
    pub(super) path: Option<PathBuf>,
    pub(super) current: &'a watch::Sender<Config>,
    pub(super) collector: &'a Arc<Collector>,
    pub(super) alerting: Option<(&'a Paging, Arc<Rules>)>,
}

impl Signals {
    /// From here on they are kept until [`obey`](Self::obey).
    pub(super) fn new() -> Result<Self> {
        let handler = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hang_up: handler(SignalKind::hangup())?,
        })
    }

    /// Returns on those that mean the end.
    pub(super) async fn obey(mut self, reloaded: &Reloaded<'_>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reloaded.reload().await,
            }
        }
    }
}

impl Reloaded<'_> {
    /// Reads the configuration again; a bad one changes nothing.
    async fn reload(&self) {
        let config = match Config::load(self.path.as_deref()) {
            Ok(config) => config,
            Err(why) => {
                let refused = &self.collector.counts.reloads_refused;
                refused.fetch_add(1, Ordering::Relaxed);
                error!("the configuration was not reloaded: {why}");
                return;
            }
        };
        for key in changes_needing_restart(&self.current.borrow(), &config) {
            warn!("{key} has changed and takes effect at the next start");
        }
        log::change(config.log.level);
        self.relabel(&config).await;
        let applied = &self.collector.counts.reloads;
        applied.fetch_add(1, Ordering::Relaxed);
        let alert = config.alert.clone();
        let old = self.current.send_replace(config);
        info!("configuration reloaded");
        self.reload_alerting(&alert, alert != old.alert).await;
    }

    /// Labels of services and limits. Rules must not take a service under other labels for a new
    /// one, so they wait meanwhile.
    async fn relabel(&self, config: &Config) {
        let (labels, limits) = (config.labels.clone(), config.limits.clone());
        let is_same = self.current.borrow().labels == labels;
        match &self.alerting {
            Some((_, rules)) if !is_same => {
                let (rules, collector) = (Arc::clone(rules), Arc::clone(self.collector));
                let relabel = move || rules.relabel(|| collector.reconfigure(&labels, &limits));
                // It fails only if it panicked, which the hook has told.
                drop(tokio::task::spawn_blocking(relabel).await);
            }
            _ => self.collector.reconfigure(&labels, &limits),
        }
    }

    /// Reads the rules again and changes who is paged: both, or neither.
    async fn reload_alerting(&self, alert: &Alert, is_new: bool) {
        let Some((paging, rules)) = &self.alerting else {
            if alert.is_enabled() {
                warn!("alert.rule_files takes effect at the next start");
            }
            return;
        };
        if is_new && let Err(why) = alert.check() {
            error!("rules and receivers stay as they were: {why:#}");
            return;
        }
        let (rules, config) = (Arc::clone(rules), alert.clone());
        let reload = tokio::task::spawn_blocking(move || rules.reload(&config));
        match reload.await {
            Ok(true) if is_new => {
                if let Err(why) = paging.reload(alert).await {
                    error!("the receivers of alerts stay as they were: {why:#}");
                }
            }
            Ok(false) if is_new => error!("the receivers of alerts stay as they were, too"),
            _ => {}
        }
    }
}
