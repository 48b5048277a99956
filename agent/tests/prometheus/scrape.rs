//! What real Prometheus servers store is what we had.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::Value as Json;
use weir::export::prometheus::Prometheus;
use weir::metrics::{
    Histogram, Kind, Metric, Point, Snapshot, TCP_OPEN, TCP_RETRANSMITS, TCP_SEND_DURATION,
    TCP_SEND_QUEUE, Value,
};

use crate::data::{Running, point, snapshot};
use crate::scraper::{Scraper, installed, newer};

/// Jobs for one Prometheus: each format once, the classic buckets beside the native ones.
const EACH_FORMAT: [(&str, &str); 3] = [
    ("text", "  scrape_protocols: [PrometheusText0.0.4]\n"),
    (
        "openmetrics",
        "  scrape_protocols: [OpenMetricsText1.0.0]\n",
    ),
    (
        "protobuf",
        "  scrape_protocols: [PrometheusProto]\n  scrape_classic_histograms: true\n",
    ),
];

const NATIVE: [&str; 1] = ["--enable-feature=native-histograms"];

fn histogram(metric: &Metric) -> Histogram {
    let (low, high) = metric.kind.classic_exponents().unwrap();
    let scale = if metric.kind == Kind::TimeHistogram {
        3
    } else {
        0
    };
    let per_octave = 1 << scale;
    let (first, last) = (low * per_octave, high * per_octave);
    // The lowest and the highest bucket, a gap, some in a row.
    let mut counts = vec![0; usize::try_from(last - first + 1).unwrap()];
    let end = counts.len() - 1;
    for (at, count) in [
        (0, 7),
        (1, 1),
        (9, 5),
        (10, 50),
        (12, 3),
        (end - 1, 2),
        (end, 9),
    ] {
        counts[at] = count;
    }
    let zero_threshold = f64::from(low).exp2();
    Histogram {
        scale,
        zero_threshold,
        zero_count: 11,
        first,
        counts,
        sum: 1234.5678,
    }
}

/// One of each kind.
fn mixed() -> Snapshot {
    let distribution = |metric: &'static Metric| {
        (
            metric,
            vec![point("web", &[], Value::Histogram(histogram(metric)))],
        )
    };
    let by_kind: Vec<Point> = vec![
        point("web", &[("kind", "rto")], Value::Int(12)),
        point("web", &[("kind", "tlp")], Value::Float(0.25)),
    ];
    snapshot(vec![
        distribution(&TCP_SEND_DURATION),
        (&TCP_RETRANSMITS, by_kind),
        distribution(&TCP_SEND_QUEUE),
        (&TCP_OPEN, vec![point("web", &[], Value::Int(3))]),
    ])
}

/// Labels (without those that the scrape adds) and values of the classic series.
fn series(found: &[Json]) -> BTreeMap<String, f64> {
    let one = |series: &Json| {
        let mut labels: BTreeMap<String, String> =
            serde_json::from_value(series["metric"].clone()).unwrap();
        labels.remove("job");
        labels.remove("instance");
        let value = series["value"][1].as_str()?.parse().unwrap();
        Some((format!("{labels:?}"), value))
    };
    found.iter().filter_map(one).collect()
}

/// What should be stored, from our own numbers.
fn expected_buckets(metric: &Metric) -> Vec<u64> {
    let (low, high) = metric.kind.classic_exponents().unwrap();
    let histogram = histogram(metric);
    let mut counts: Vec<_> = histogram
        .classic(low, high)
        .iter()
        .map(|bucket| bucket.1)
        .collect();
    counts.push(histogram.count());
    counts
}

async fn check_classic(scraper: &Scraper, job: &str) {
    for metric in [&TCP_SEND_DURATION, &TCP_SEND_QUEUE] {
        let name = metric.prometheus_name();
        let found = scraper
            .query(&format!("{name}_bucket{{job=\"{job}\"}}"))
            .await;
        let mut buckets: Vec<(f64, f64)> = found
            .iter()
            .map(|series| {
                let bound = series["metric"]["le"].as_str().unwrap().parse().unwrap();
                (bound, series["value"][1].as_str().unwrap().parse().unwrap())
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (low, high) = metric.kind.classic_exponents().unwrap();
        let mut bounds: Vec<_> = (low..=high).map(|e| f64::from(e).exp2()).collect();
        bounds.push(f64::INFINITY);
        #[expect(
            clippy::cast_precision_loss,
            reason = "the numbers of the test are small"
        )]
        let expected: Vec<_> = bounds
            .into_iter()
            .zip(expected_buckets(metric))
            .map(|(b, n)| (b, n as f64))
            .collect();
        assert_eq!(buckets, expected, "{name} in job {job}");
        let sum = series(&scraper.query(&format!("{name}_sum{{job=\"{job}\"}}")).await);
        assert_eq!(sum.into_values().collect::<Vec<_>>(), [1234.5678]);
        let count = series(
            &scraper
                .query(&format!("{name}_count{{job=\"{job}\"}}"))
                .await,
        );
        assert_eq!(count.into_values().collect::<Vec<_>>(), [88.0]);
    }
    let found = scraper
        .query(&format!("weir_tcp_retransmits_total{{job=\"{job}\"}}"))
        .await;
    assert_eq!(
        series(&found).into_values().collect::<Vec<_>>(),
        [12.0, 0.25]
    );
}

async fn check_native(scraper: &Scraper, metric: &Metric) {
    let expected = histogram(metric);
    let query = format!("{}{{job=\"protobuf\"}}", metric.prometheus_name());
    let found = scraper.query(&query).await;
    assert_eq!(found.len(), 1, "{query}");
    let native = &found[0]["histogram"][1];
    assert_eq!(native["count"], expected.count().to_string());
    assert_eq!(native["sum"], expected.sum.to_string());
    let number = |json: &Json| json.as_str().unwrap().parse::<f64>().unwrap();
    let mut buckets = native["buckets"].as_array().unwrap().iter();
    let zero = buckets.next().unwrap();
    assert!((number(&zero[2]) - expected.zero_threshold).abs() < 1e-15);
    assert_eq!(number(&zero[3]), 11.0);
    let given = expected
        .counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0);
    for (at, count) in given {
        let bucket = buckets.next().unwrap();
        let bound = |index: i32| (f64::from(index) / f64::from(1 << expected.scale)).exp2();
        let index = expected.first + i32::try_from(at).unwrap();
        for (found, expected) in [(&bucket[1], bound(index)), (&bucket[2], bound(index + 1))] {
            assert!(
                (number(found) / expected - 1.0).abs() < 1e-9,
                "{found} is not {expected}"
            );
        }
        assert_eq!(bucket[3], count.to_string());
        assert_eq!(bucket[0], 0, "open below, closed above");
    }
    assert!(buckets.next().is_none());
}

#[tokio::test]
async fn debians_prometheus_stores_every_bucket() {
    let Some(binary) = installed() else { return };
    let server = Running::start(Prometheus::default(), mixed());
    let scraper = Scraper::start(binary, server.address, &[("debian", "")], &[]).await;
    check_classic(&scraper, "debian").await;
}

#[tokio::test]
async fn a_newer_prometheus_stores_native_and_classic_buckets_alike() {
    let Some(binary) = newer() else { return };
    let server = Running::start(Prometheus::default(), mixed());
    let scraper = Scraper::start(binary, server.address, &EACH_FORMAT, &NATIVE).await;
    for (job, _) in EACH_FORMAT {
        check_classic(&scraper, job).await;
    }
    check_native(&scraper, &TCP_SEND_DURATION).await;
    check_native(&scraper, &TCP_SEND_QUEUE).await;
    // One series is one series, in whatever format it came: the same labels, `le` included.
    let mut all = Vec::new();
    for (job, _) in EACH_FORMAT {
        all.push(series(
            &scraper
                .query(&format!("{{job=\"{job}\",service=\"web\"}}"))
                .await,
        ));
    }
    assert!(all[0].len() > 50);
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

/// Any text, much of it of the kind that needs care.
fn label_values() -> Vec<String> {
    let nasty = proptest::string::string_regex("[\\\\\"\n\r\t{}=, #aé\u{0}-\u{20}]{1,12}").unwrap();
    let values = prop::collection::vec(prop_oneof![any::<String>(), nasty], 500);
    let values = values
        .new_tree(&mut TestRunner::default())
        .unwrap()
        .current();
    let distinct: BTreeSet<_> = values
        .into_iter()
        .filter(|value| !value.is_empty())
        .collect();
    distinct.into_iter().collect()
}

#[tokio::test]
async fn any_label_value_arrives_as_it_was() {
    let values = label_values();
    let number = |i: usize| Value::Int(i.try_into().unwrap());
    let points = values
        .iter()
        .enumerate()
        .map(|(i, value)| point(value, &[], number(i)));
    let server = Running::start(
        Prometheus::default(),
        snapshot(vec![(&TCP_OPEN, points.collect())]),
    );
    let (jobs, flags, binary) = match (newer(), installed()) {
        (Some(binary), _) => (&EACH_FORMAT[..], &NATIVE[..], binary),
        (None, Some(binary)) => (&[("debian", "")][..], &[][..], binary),
        (None, None) => return,
    };
    let scraper = Scraper::start(binary, server.address, jobs, flags).await;
    for (job, _) in jobs {
        let query = format!("{}{{job=\"{job}\"}}", TCP_OPEN.prometheus_name());
        let found = scraper.query(&query).await;
        let by_number: BTreeMap<usize, String> = found
            .iter()
            .map(|series| {
                let value = series["value"][1].as_str().unwrap().parse().unwrap();
                (
                    value,
                    series["metric"]["service"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        let expected: BTreeMap<_, _> = values.iter().cloned().enumerate().collect();
        assert_eq!(by_number, expected, "job {job}");
    }
}
