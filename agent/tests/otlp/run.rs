//! Runs the exporter as the agent does.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir::export::otlp::{Otlp, start};
use weir::metrics::{ExportCounts, Snapshot, Source};

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Gives the same snapshot each time and counts how often.
pub(crate) struct Counted {
    snapshot: Snapshot,
    pub(crate) given: AtomicU64,
}

impl Source for Counted {
    fn snapshot(&self) -> Snapshot {
        self.given.fetch_add(1, Ordering::Relaxed);
        self.snapshot.clone()
    }
}

/// A running exporter.
pub(crate) struct Exporter {
    pub(crate) counts: Arc<ExportCounts>,
    pub(crate) source: Arc<Counted>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    pub(crate) fn start(config: &Otlp, snapshot: Snapshot) -> Self {
        let counts = Arc::new(ExportCounts::default());
        let source = Arc::new(Counted {
            snapshot,
            given: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let run = start(config, source.clone(), counts.clone(), stop.clone()).unwrap();
        Self {
            counts,
            source,
            stop,
            task: tokio::spawn(run),
        }
    }

    /// Stops it, which makes one last export, and waits for its end.
    pub(crate) async fn stop(self) -> Counts {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        Counts::of(&self.counts)
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::of(&self.counts)
    }
}

/// One export of the snapshot: that of the stop.
pub(crate) async fn export_once(config: &Otlp, snapshot: Snapshot) -> Counts {
    let config = Otlp {
        interval_seconds: 3_600.0,
        ..config.clone()
    };
    Exporter::start(&config, snapshot).stop().await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) points: u64,
    pub(crate) dropped: u64,
    pub(crate) queue: u64,
}

impl Counts {
    fn of(counts: &ExportCounts) -> Self {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Self {
            sent: read(&counts.otlp_sent),
            failed: read(&counts.otlp_failed),
            points: read(&counts.otlp_points),
            dropped: read(&counts.otlp_dropped_points),
            queue: read(&counts.otlp_queue),
        }
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Where downloaded receivers are, outside the tree.
pub(crate) fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    base.unwrap_or_else(home).join("weir")
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
