//! The sending side, as the agent runs it: a log, a notifier, a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use weir::alert::config::Alert;
use weir::alert::log::{Change, Log};
use weir::alert::notify::{self, Counts, Receiver};
use weir::alert::page::{Page, Pairs, Status};

pub(crate) struct Node {
    pub(crate) log: Log,
    counts: Arc<Counts>,
    stop: CancellationToken,
    runs: Option<JoinHandle<()>>,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

impl Node {
    /// Starts with `[alert]` as TOML without its head, and the log in `dir`.
    pub(crate) fn start(config: &str, dir: &Path) -> Self {
        let config: Alert = toml::from_str(config).unwrap();
        let log = Log::open(dir, config.log_limits(), Arc::default());
        let (counts, stop) = (Arc::<Counts>::default(), CancellationToken::new());
        let (inner_log, inner_counts, inner_stop) = (log.clone(), counts.clone(), stop.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let mut watch = log.watch();
        let runs = thread::spawn(move || {
            runtime().block_on(async {
                let runs = notify::start(&config, inner_log, &inner_counts, inner_stop).unwrap();
                ready.send(()).unwrap();
                runs.await;
            });
        });
        is_ready.recv().unwrap();
        let node = Self {
            log,
            counts,
            stop,
            runs: Some(runs),
        };
        // Receivers get what comes from their registration on.
        runtime().block_on(async { watch.changed().await.unwrap() });
        node
    }

    pub(crate) fn commit(&self, pages: Vec<Page>) {
        let states = Vec::new();
        self.log.commit_blocking(Change { pages, states });
    }

    pub(crate) fn counts(&self, receiver: usize) -> Arc<Receiver> {
        self.counts.receivers()[receiver].clone()
    }

    pub(crate) fn refused(&self, receiver: usize) -> u64 {
        self.counts(receiver).refused.load(Ordering::Relaxed)
    }

    pub(crate) fn failed(&self, receiver: usize) -> u64 {
        self.counts(receiver).failed.load(Ordering::Relaxed)
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.log.counts().waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runs) = self.runs.take() {
            runs.join().unwrap();
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// An alert that fires since `ago_ms`; it stands for four minutes.
pub(crate) fn fired(name: &str, ago_ms: i64) -> Page {
    let at_ms = now_ms() - ago_ms;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Page {
        labels: Pairs::from([pair("alertname", name), pair("service", "web")]),
        annotations: Pairs::from([pair("summary", "it stalls")]),
        status: Status::Firing,
        at_ms,
        starts_at_ms: at_ms,
        ends_at_ms: at_ms + 240_000,
        generator_url: "http://127.0.0.1/graph".to_owned(),
    }
}

/// The same, resolved.
pub(crate) fn resolved(page: &Page, ago_ms: i64) -> Page {
    let at_ms = now_ms() - ago_ms;
    Page {
        status: Status::Resolved,
        at_ms,
        ends_at_ms: at_ms,
        ..page.clone()
    }
}
