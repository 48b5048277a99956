//! OTLP: pushes all metrics to a receiver, by gRPC or by protobuf over HTTP.
//!
//! Every interval a snapshot becomes requests of at most 2,000 points and less than 4 MiB, since
//! receivers refuse more; they wait in a bounded queue until the receiver has taken them.
//! opentelemetry-otlp's exporter does neither split nor bound, so that 50,000 points never arrive.

mod answer;
mod compress;
mod config;
mod connection;
mod encode;
mod endpoint;
mod grpc;
mod http;
mod point;
mod queue;
mod report;
mod resource;
mod sender;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::compress::Frame;
use self::config::Settings;
pub use self::config::{Otlp, Protocol};
use self::encode::Encoder;
use self::queue::Queue;
use self::resource::Origin;
use self::sender::Sender;
use crate::metrics::{ExportCounts, Snapshot, Source};

/// Makes the exporter: a future that exports every interval until `stop`, then once more, and
/// ends when the queue is empty or the configured time for that is over. What is not sent by then
/// is counted as dropped. Needs a tokio runtime with I/O and time.
///
/// # Errors
///
/// If a field is wrong, or a file or environment variable it names cannot be used. Whether the
/// receiver is there is not tried: it may come later.
pub fn start(
    config: &Otlp,
    source: Arc<dyn Source>,
    counts: Arc<ExportCounts>,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let settings = Arc::new(Settings::new(config)?);
    Ok(run(settings, source, counts, stop))
}

async fn run(
    settings: Arc<Settings>,
    source: Arc<dyn Source>,
    counts: Arc<ExportCounts>,
    stop: CancellationToken,
) {
    let queue = Queue::new(
        settings.queue_requests,
        settings.queue_bytes,
        Arc::clone(&counts),
    );
    let sender = Sender::new(Arc::clone(&settings), Arc::clone(&counts));
    let work = async {
        tokio::join!(
            collect(&settings, &*source, &counts, &queue, &stop),
            sender.run(&queue, &stop)
        )
    };
    let deadline = async {
        stop.cancelled().await;
        sleep(settings.drain).await;
    };
    tokio::select! {
        _ = work => {}
        () = deadline => {}
    }
    let left = queue.clear();
    if left > 0 {
        let endpoint = &settings.endpoint;
        warn!("OTLP export to {endpoint}: stopped before {left} points were sent");
    }
}

/// Fills the queue, once every interval and once more at the end.
async fn collect(
    settings: &Settings,
    source: &dyn Source,
    counts: &ExportCounts,
    queue: &Queue,
    stop: &CancellationToken,
) {
    // Agents that are started together should not come to the receiver together.
    let first = settings.interval.mul_f64(fastrand::f64());
    let mut ticks = interval_at(Instant::now() + first, settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !stop.is_cancelled() {
        tokio::select! {
            _ = ticks.tick() => export(settings, source, counts, queue).await,
            () = stop.cancelled() => {}
        }
    }
    export(settings, source, counts, queue).await;
    queue.close();
}

/// One snapshot into the queue. Gives way to other tasks between requests, each of which takes a
/// millisecond or two of the processor.
async fn export(settings: &Settings, source: &dyn Source, counts: &ExportCounts, queue: &Queue) {
    let snapshot = source.snapshot();
    let frame = Frame {
        protocol: settings.endpoint.protocol,
        gzip: settings.gzip,
    };
    let mut encoder = Encoder::new(&snapshot, &settings.origin, frame);
    loop {
        let started = Instant::now();
        let request = encoder.next();
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        ExportCounts::add(&counts.otlp_ns, took);
        let Some(request) = request else { break };
        queue.push(request, Instant::now());
        tokio::task::yield_now().await;
    }
    ExportCounts::add(&counts.otlp_dropped_points, encoder.unfit);
}

/// What it takes to encode and compress one snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests made.
    pub requests: u64,
    /// Points in them.
    pub points: u64,
    /// Bytes of all messages before compression.
    pub message_bytes: u64,
    /// Bytes of the largest message before compression.
    pub largest_message_bytes: u64,
    /// Bytes of all bodies as sent.
    pub sent_bytes: u64,
    /// Processor time of this thread.
    pub cpu: Duration,
}

/// Encodes a snapshot as an export would, sends it nowhere, and reports the cost. `config` needs
/// no endpoint.
///
/// # Errors
///
/// If `otlp.resource` is not usable.
pub fn measure(config: &Otlp, snapshot: &Snapshot) -> anyhow::Result<Cost> {
    let origin = Origin::new(&config.resource)?;
    let mut cost = Cost::default();
    let began = thread_cpu();
    for request in Encoder::new(snapshot, &origin, frame(config)) {
        let message = request.message_bytes as u64;
        cost.requests += 1;
        cost.points += request.points;
        cost.message_bytes += message;
        cost.largest_message_bytes = cost.largest_message_bytes.max(message);
        cost.sent_bytes += request.body.len() as u64;
    }
    cost.cpu = thread_cpu().saturating_sub(began);
    Ok(cost)
}

/// The bodies of all requests for a snapshot, as they would be sent.
///
/// # Errors
///
/// If `otlp.resource` is not usable.
pub fn bodies(config: &Otlp, snapshot: &Snapshot) -> anyhow::Result<Vec<bytes::Bytes>> {
    let origin = Origin::new(&config.resource)?;
    let requests = Encoder::new(snapshot, &origin, frame(config));
    Ok(requests.map(|request| request.body).collect())
}

fn frame(config: &Otlp) -> Frame {
    Frame {
        protocol: config.protocol,
        gzip: config.gzip,
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
