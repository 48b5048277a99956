//! OTLP over HTTP to VictoriaMetrics, and back out of it by query.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use tempfile::TempDir;
use weir::export::otlp::{Otlp, Protocol};
use weir::metrics::{Family, Kind, Snapshot, Value};

use super::model;
use super::run::{Process, cache, export_once, until};

/// VictoriaMetrics; ends with the test.
struct Victoria {
    _process: Process,
    _data: TempDir,
    address: SocketAddr,
}

type Series = BTreeMap<BTreeSet<(String, String)>, f64>;

impl Victoria {
    /// `None`, said aloud, where it is not installed.
    async fn start() -> Option<Self> {
        let binary = cache().join("victoria-metrics/usr/bin/victoria-metrics");
        if !binary.exists() {
            eprintln!("SKIP no {}: run `cargo xtask setup`", binary.display());
            return None;
        }
        let data = TempDir::new().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let process = Process::start(
            Command::new(binary)
                .arg(format!("-httpListenAddr={address}"))
                .arg(format!("-storageDataPath={}", data.path().display()))
                .arg("-opentelemetry.usePrometheusNaming")
                .arg("-search.latencyOffset=0s")
                .arg("-search.maxExportSeries=1000000")
                .arg("-memory.allowedBytes=512MB")
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        until("VictoriaMetrics answers", || {
            get(address, "/health").is_some()
        })
        .await;
        Some(Self {
            _process: process,
            _data: data,
            address,
        })
    }

    /// Latest value of each series of this name.
    fn series(&self, name: &str) -> Series {
        let text = get(self.address, &format!("/api/v1/export?match[]={name}"));
        let text = text.unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let series = lines.map(|line: Json| {
            let labels = line["metric"].as_object().unwrap().iter();
            let labels = labels
                // What the resource adds is checked elsewhere.
                .filter(|(name, _)| !OF_RESOURCE.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
            let last = line["values"].as_array().unwrap().last().unwrap();
            (labels.collect(), last.as_f64().unwrap())
        });
        series.collect()
    }

    /// The same, as soon as there are that many: VictoriaMetrics shows them seconds later.
    async fn series_when(&self, name: &str, count: usize) -> Series {
        let mut series = Series::new();
        until(&format!("{count} series of {name}"), || {
            series = self.series(name);
            std::thread::sleep(Duration::from_millis(200));
            series.len() >= count
        })
        .await;
        series
    }
}

const OF_RESOURCE: &[&str] = &[
    "__name__",
    "host.name",
    "host_name",
    "instance",
    "job",
    "os.type",
    "os_type",
    "otel_scope_name",
    "otel_scope_version",
    "scope.name",
    "scope.version",
    "service.instance.id",
    "service.name",
    "service.version",
    "service_instance_id",
    "service_name",
    "service_version",
];

/// Body of a 200 answer. HTTP/1.0, so that it comes in one piece.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// What is to be seen of a family's points: value by labels.
fn expected(family: &Family, value: impl Fn(&Value) -> f64) -> Series {
    let points = family.points.iter().map(|point| {
        let subject = point.subject.labels.iter().map(|(k, v)| (*k, v.as_str()));
        let labels = subject.chain(point.labels.iter().copied());
        let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        (labels, value(&point.value))
    });
    points.collect()
}

/// VictoriaMetrics keeps what is recent only.
fn fresh(services: usize) -> Snapshot {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap().as_nanos()).unwrap();
    Snapshot {
        start_unix_ns: now - 60_000_000_000,
        at_unix_ns: now,
        ..model::node(services)
    }
}

fn config(victoria: &Victoria) -> Otlp {
    Otlp {
        endpoint: format!("http://{}/opentelemetry/v1/metrics", victoria.address),
        protocol: Protocol::Http,
        drain_seconds: 50.0,
        ..Otlp::default()
    }
}

/// Numbers may lose their last bits in VictoriaMetrics' decimals.
fn check_equal(name: &str, got: &Series, expected: &Series) {
    let labels = |series: &Series| series.keys().cloned().collect::<Vec<_>>();
    assert!(
        labels(got) == labels(expected),
        "{name}: got {:?}, expected {:?}",
        got.first_key_value(),
        expected.first_key_value()
    );
    for (labels, expected) in expected {
        let got = got[labels];
        let tolerance = 1e-9 * expected.abs();
        assert!(
            (got - expected).abs() <= tolerance,
            "{name}{labels:?}: {got} instead of {expected}"
        );
    }
}

async fn check_family(victoria: &Victoria, family: &Family) {
    let name = family.metric.prometheus_name();
    let histogram = |value: &Value| match value {
        Value::Histogram(histogram) => histogram.clone(),
        other => panic!("{other:?}"),
    };
    match family.metric.kind {
        Kind::Counter | Kind::Gauge => {
            let expected = expected(family, |value| match value {
                Value::Int(n) => *n as f64,
                Value::Float(x) => *x,
                other => panic!("{other:?}"),
            });
            let got = victoria.series_when(&name, expected.len()).await;
            check_equal(&name, &got, &expected);
        }
        Kind::TimeHistogram | Kind::SizeHistogram => {
            let count = expected(family, |value| histogram(value).count() as f64);
            let sum = expected(family, |value| histogram(value).sum);
            for (suffix, expected) in [("count", count), ("sum", sum)] {
                let name = format!("{name}_{suffix}");
                let got = victoria.series_when(&name, expected.len()).await;
                check_equal(&name, &got, &expected);
            }
            check_buckets(victoria, &name, family).await;
        }
    }
}

/// Every bucket that is not empty is there, under the range it stands for.
async fn check_buckets(victoria: &Victoria, name: &str, family: &Family) {
    let Some(point) = family.points.last() else {
        return;
    };
    let Value::Histogram(histogram) = &point.value else {
        panic!("{:?}", point.value);
    };
    let service = &point
        .subject
        .labels
        .iter()
        .find(|(k, _)| *k == "service")
        .unwrap()
        .1;
    let selector = format!("{name}_bucket{{service=\"{service}\"}}");
    let mut expected: Vec<(f64, f64)> = Vec::new();
    if histogram.zero_count > 0 {
        expected.push((histogram.zero_threshold, histogram.zero_count as f64));
    }
    let base = (-f64::from(histogram.scale)).exp2();
    for (k, n) in histogram.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let end = f64::from(histogram.first + k as i32 + 1) * base;
        expected.push((end.exp2(), *n as f64));
    }
    let series = victoria.series_when(&selector, expected.len()).await;
    let mut got: Vec<(f64, f64)> = Vec::new();
    for (labels, count) in series {
        let range = labels.into_iter().find(|(k, _)| k == "vmrange").unwrap().1;
        let (_, end) = range.split_once("...").unwrap();
        got.push((end.parse().unwrap(), count));
    }
    got.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(
        got.len(),
        expected.len(),
        "{selector}: {got:?}, expected {expected:?}"
    );
    for (got, expected) in got.iter().zip(&expected) {
        // Bounds are printed with four digits.
        let is_near = (got.0 / expected.0 - 1.0).abs() < 1e-3;
        assert!(
            is_near && got.1 == expected.1,
            "{selector}: {got:?}, expected {expected:?}"
        );
    }
}

#[tokio::test]
async fn every_value_can_be_queried() {
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let snapshot = fresh(200);
    let counts = export_once(&config(&victoria), snapshot.clone()).await;
    assert_eq!(
        (counts.points, counts.dropped, counts.failed),
        (5_000, 0, 0)
    );
    for family in &snapshot.families {
        check_family(&victoria, family).await;
    }
    let up = get(
        victoria.address,
        "/api/v1/export?match[]=weir_tcp_acked_bytes_total",
    );
    let line = up.unwrap().lines().next().unwrap().to_owned();
    let metric = serde_json::from_str::<Json>(&line).unwrap()["metric"].clone();
    assert_eq!(metric["service_name"], "weir", "{metric}");
}

#[tokio::test]
async fn fifty_thousand_series_arrive() {
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let mut snapshot = fresh(2_500);
    snapshot
        .families
        .retain(|family| matches!(family.metric.kind, Kind::Counter | Kind::Gauge));
    assert_eq!(snapshot.points(), 50_000);
    let counts = export_once(&config(&victoria), snapshot.clone()).await;
    assert_eq!(
        (counts.points, counts.dropped, counts.failed),
        (50_000, 0, 0)
    );
    for family in &snapshot.families {
        check_family(&victoria, family).await;
    }
}
