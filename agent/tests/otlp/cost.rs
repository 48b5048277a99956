//! What an export of a busy node costs, by Weir's encoder and by opentelemetry-proto's structs.
//! Prints figures and judges none: `cargo test --release --test otlp cost::encoder -- --ignored --nocapture`.

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use prost::Message as _;
use weir::export::otlp::{Otlp, measure};
use weir::metrics::Snapshot;

use super::grpc::Server;
use super::model;
use super::run::{Exporter, until};

const RUNS: usize = 15;

/// Encodes and compresses with the structs, in requests of 2,000 points. Returns bytes sent.
fn by_structs(snapshot: &Snapshot, gzip: bool) -> u64 {
    let mut sent = 0;
    let mut open: Vec<Metric> = Vec::new();
    let mut room = 2_000;
    for family in &snapshot.families {
        let mut rest = &family.points[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            open.push(model::part(snapshot, family.metric, now));
            room -= now.len();
            rest = later;
            if room == 0 {
                sent += send(std::mem::take(&mut open), gzip);
                room = 2_000;
            }
        }
    }
    sent + if open.is_empty() { 0 } else { send(open, gzip) }
}

fn send(metrics: Vec<Metric>, gzip: bool) -> u64 {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let message = request.encode_to_vec();
    if !gzip {
        return message.len() as u64;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    encoder.write_all(&message).unwrap();
    encoder.finish().unwrap().len() as u64
}

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs and prints median and least time, and by how much memory grew at its peak.
fn print(name: &str, mut run: impl FnMut() -> (Duration, u64)) {
    let before = status("VmRSS:");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let mut times: Vec<_> = Vec::new();
    let mut sent = 0;
    for _ in 0..RUNS {
        let (took, bytes) = run();
        times.push(took);
        sent = bytes;
    }
    let peak = status("VmHWM:").saturating_sub(before);
    times.sort();
    println!(
        "{name:>28}: median {:5.1?} least {:5.1?}, {sent} bytes sent, peak +{peak} KiB",
        times[RUNS / 2],
        times[0]
    );
}

#[test]
#[ignore = "prints figures; run it alone, in a release build"]
fn encoder() {
    let snapshot = model::node(2_000);
    for gzip in [true, false] {
        let config = Otlp {
            gzip,
            ..Otlp::default()
        };
        print(&format!("encoder, gzip {gzip}"), || {
            let cost = measure(&config, &snapshot).unwrap();
            (cost.cpu, cost.sent_bytes)
        });
    }
}

#[test]
#[ignore = "prints figures; run it alone, in a release build"]
fn structs() {
    let snapshot = model::node(2_000);
    for gzip in [true, false] {
        print(&format!("structs, gzip {gzip}"), || {
            let began = Instant::now();
            let sent = by_structs(&snapshot, gzip);
            (began.elapsed(), sent)
        });
    }
}

#[tokio::test]
#[ignore = "prints figures; run it alone, in a release build"]
async fn exporter() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let before = status("VmRSS:");
    let snapshot = model::node(2_000);
    let filled = status("VmRSS:");
    let config = Otlp {
        interval_seconds: 0.5,
        ..server.config()
    };
    let exporter = Exporter::start(&config, snapshot);
    until("ten exports", || exporter.counts().sent >= 250).await;
    let spent = exporter.counts.otlp_ns.load(Ordering::Relaxed);
    let exports = exporter.source.given.load(Ordering::Relaxed);
    println!(
        "RSS {before} KiB, with a snapshot {filled}, exporting now {} peak {}; {:.1} ms encoding per export",
        status("VmRSS:"),
        status("VmHWM:"),
        spent as f64 / 1e6 / exports as f64
    );
    exporter.stop().await;
}
