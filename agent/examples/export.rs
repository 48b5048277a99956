//! What exports of 50,000 series take: a line of JSON for each form. Run by `cargo xtask bench
//! export`.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir::export::otlp::{Otlp, measure};
use weir::export::prometheus::{Encoder, Format};
use weir::metrics::{self, Family, Histogram, Labels, Metric, Point, Snapshot, Subject, Value};

const SERVICES: usize = 2_000;
const RUNS: usize = 15;
const START: u64 = 1_700_000_000_000_000_000;

fn main() -> anyhow::Result<()> {
    let snapshot = node();
    for (name, format) in [
        ("scrape, text", Format::Text),
        ("scrape, OpenMetrics", Format::OpenMetrics),
        ("scrape, protobuf", Format::Protobuf),
    ] {
        for gzip in [false, true] {
            let name = if gzip {
                format!("{name}, gzip")
            } else {
                name.to_owned()
            };
            print(&name, &snapshot, || {
                let copy = snapshot.clone();
                let begun = thread_cpu();
                let bytes = Encoder::new(copy, format, gzip).map(|piece| piece.len());
                let bytes = bytes.sum::<usize>();
                Ok((thread_cpu().saturating_sub(begun), bytes as u64))
            })?;
        }
    }
    let config = Otlp {
        gzip: true,
        ..Otlp::default()
    };
    print("OTLP, gzip", &snapshot, || {
        let cost = measure(&config, &snapshot)?;
        Ok((cost.cpu, cost.sent_bytes))
    })
}

fn print(
    name: &str,
    snapshot: &Snapshot,
    mut run: impl FnMut() -> anyhow::Result<(Duration, u64)>,
) -> anyhow::Result<()> {
    let runs = (0..RUNS)
        .map(|_| run())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let took: Vec<_> = runs
        .iter()
        .map(|(took, _)| took.as_secs_f64() * 1e3)
        .collect();
    let line = serde_json::json!({
        "name": name,
        "took_ms": took,
        "bytes": runs.last().map_or(0, |(_, bytes)| *bytes),
        "series": snapshot.points(),
    });
    println!("{line}");
    Ok(())
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// 25 series for each service, a fifth of them histograms with 20 buckets that are not empty: what
/// a busy node has.
fn node() -> Snapshot {
    let services: Vec<_> = (0..SERVICES)
        .map(|n| {
            Arc::new(Subject {
                labels: vec![
                    ("namespace", format!("team-{}", n % 40)),
                    ("service", format!("service-{n}")),
                ],
            })
        })
        .collect();
    let mut families: Vec<_> = [
        &metrics::TCP_SEND_DURATION,
        &metrics::TCP_DELIVERY_DURATION,
        &metrics::TCP_RTT,
        &metrics::SCHED_DELAY,
    ]
    .map(|metric| family(metric, &services, &[&[]], |n| times(n, 3)))
    .into();
    families.push(family(&metrics::TCP_SEND_QUEUE, &services, &[&[]], |n| {
        times(n, 0)
    }));
    let kinds: [Labels; 5] = [
        &[("kind", "rto")],
        &[("kind", "fast")],
        &[("kind", "tlp")],
        &[("kind", "syn")],
        &[("kind", "synack")],
    ];
    for metric in [
        &metrics::TCP_RETRANSMITS,
        &metrics::TCP_CONNECTIONS,
        &metrics::TCP_IO,
        &metrics::TCP_LIMITED_TIME,
    ] {
        families.push(family(metric, &services, &kinds, |n| {
            Value::Int(1 + n as u64 * 7_919)
        }));
    }
    Snapshot {
        start_unix_ns: START,
        at_unix_ns: START + 60_000_000_000,
        families,
    }
}

fn family(
    metric: &'static Metric,
    services: &[Arc<Subject>],
    labels: &[Labels],
    value: impl Fn(usize) -> Value,
) -> Family {
    let all = services
        .iter()
        .flat_map(|subject| labels.iter().map(move |labels| (subject, *labels)));
    let points = all.enumerate().map(|(n, (subject, labels))| Point {
        subject: Arc::clone(subject),
        labels,
        value: value(n),
    });
    Family {
        metric,
        points: points.collect(),
    }
}

/// 20 buckets around a middle that differs from series to series.
fn times(n: usize, scale: i32) -> Value {
    let counts: Vec<_> = (0..20)
        .map(|bucket| 1 + (n as u64 * 31 + bucket * bucket) % 5_000)
        .collect();
    Value::Histogram(Histogram {
        scale,
        zero_threshold: if scale == 0 { 256.0 } else { (-20_f64).exp2() },
        zero_count: n as u64 % 3,
        first: if scale == 0 { 8 } else { -90 + (n % 50) as i32 },
        sum: counts.iter().sum::<u64>() as f64 * 0.003,
        counts,
    })
}
