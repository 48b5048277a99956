//! Snapshots to serve, and a server to serve them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir::export::prometheus::{Prometheus, Ready, Server};
use weir::metrics::{
    ExportCounts, Family, Labels, Metric, Point, Snapshot, Source, Subject, Value,
};

/// Serves what it was last given.
pub(crate) struct Fixed(pub(crate) Mutex<Snapshot>);

impl Source for Fixed {
    fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap().clone()
    }
}

/// A server that runs in this test's runtime, on a port of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<ExportCounts>,
    pub(crate) ready: watch::Sender<Ready>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) fn start(mut config: Prometheus, snapshot: Snapshot) -> Self {
        config.listen.set_port(0);
        let server = Server::bind(&config).unwrap();
        let address = server.address().unwrap();
        let counts = Arc::new(ExportCounts::default());
        let (ready, is_ready) = watch::channel(Ready::No("attaching probes".to_owned()));
        let stop = CancellationToken::new();
        let source = Arc::new(Fixed(Mutex::new(snapshot)));
        let task = tokio::spawn(server.serve(source, Arc::clone(&counts), is_ready, stop.clone()));
        Self {
            address,
            counts,
            ready,
            stop,
            task,
        }
    }

    pub(crate) fn scrapes(&self) -> u64 {
        self.counts.scrapes.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.counts.scrapes_refused.load(Ordering::Relaxed)
    }
}

pub(crate) fn point(service: &str, labels: Labels, value: Value) -> Point {
    let subject = Subject {
        labels: vec![("service", service.to_owned())],
    };
    Point {
        subject: Arc::new(subject),
        labels,
        value,
    }
}

pub(crate) fn snapshot(families: Vec<(&'static Metric, Vec<Point>)>) -> Snapshot {
    let families = families
        .into_iter()
        .map(|(metric, points)| Family { metric, points });
    Snapshot {
        start_unix_ns: 1,
        at_unix_ns: 2,
        families: families.collect(),
    }
}

/// About 100 bytes of text for each point.
pub(crate) fn gauges(points: usize) -> Snapshot {
    let points = (0..points).map(|i| point(&format!("service-{i:060}"), &[], Value::Int(1)));
    snapshot(vec![(&weir::metrics::TCP_OPEN, points.collect())])
}

/// Waits for a count to reach a value, five seconds at most.
pub(crate) async fn wait_for(count: &AtomicU64, value: u64) {
    for _ in 0..500 {
        if count.load(Ordering::Relaxed) >= value {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "count is {} after 5 s, not {value}",
        count.load(Ordering::Relaxed)
    );
}

pub(crate) fn write(dir: &tempfile::TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let file = dir.path().join(name);
    std::fs::write(&file, text).unwrap();
    Path::new(&file).to_owned()
}
