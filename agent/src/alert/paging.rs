//! Log and notifier together, as the agent runs them: opened once, receivers changed by a reload.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::config::Alert;
use super::engine::Rules;
use super::file::RuleFile;
use super::log::Log;
use super::measure::Alerts;
use super::notify;
use crate::metrics::Source;

/// What brings pages out of the node.
pub struct Paging {
    log: Log,
    alerts: Arc<Alerts>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Paging {
    /// Opens the log and starts to deliver what waits in it. Needs a tokio runtime with I/O and
    /// time.
    ///
    /// # Errors
    /// If a receiver's fields are wrong, or a file or environment variable they name cannot be
    /// used.
    pub fn start(config: &Alert) -> anyhow::Result<Self> {
        let alerts = Arc::<Alerts>::default();
        let counts = Arc::clone(&alerts.log);
        let log = Log::open(&config.state_dir, config.log_limits(), counts);
        let running = run(config, &log, &alerts)?;
        Ok(Self {
            log,
            alerts,
            running: Mutex::new(Some(running)),
        })
    }

    /// Where transitions go.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Puts rules to work whose pages go out here.
    pub fn rules(
        &self,
        config: &Alert,
        files: Vec<RuleFile>,
        source: Arc<dyn Source>,
    ) -> Arc<Rules> {
        let (log, counts) = (self.log.clone(), Arc::clone(&self.alerts.rules));
        Arc::new(Rules::new(config, files, source, log, counts))
    }

    /// What is counted.
    pub fn alerts(&self) -> &Arc<Alerts> {
        &self.alerts
    }

    /// Changes receivers, with what waits for those that stay. A request under way is ended first.
    ///
    /// # Errors
    /// As [`start`](Self::start); the old receivers stay then.
    pub async fn reload(&self, config: &Alert) -> anyhow::Result<()> {
        config.check()?;
        let mut running = self.running.lock().await;
        if let Some(old) = running.take() {
            old.end().await;
        }
        *running = Some(run(config, &self.log, &self.alerts)?);
        Ok(())
    }

    /// Delivers what can be within a few seconds, and ends. What is left is on disk.
    pub async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.end().await;
        }
    }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        // It fails only if it panicked, which the hook has told.
        drop(self.task.await);
    }
}

fn run(config: &Alert, log: &Log, alerts: &Alerts) -> anyhow::Result<Running> {
    let stop = CancellationToken::new();
    let notifier = notify::start(config, log.clone(), &alerts.receivers, stop.clone())?;
    let task = tokio::spawn(notifier);
    Ok(Running { stop, task })
}
