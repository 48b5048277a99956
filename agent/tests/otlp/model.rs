//! Snapshots to export, and the same built from opentelemetry-proto's structs.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
    NumberDataPoint, Sum,
};
use weir::metrics::{self, Family, Histogram, Kind, Labels, Point, Snapshot, Subject, Value};

pub(crate) const START: u64 = 1_700_000_000_000_000_000;

fn subjects(services: usize) -> Vec<Arc<Subject>> {
    (0..services)
        .map(|n| {
            Arc::new(Subject {
                labels: vec![
                    ("namespace", format!("team-{}", n % 40)),
                    ("pod", format!("service-{n}-7c9f8d6b5-x{n:04}z")),
                    ("service", format!("service-{n}")),
                ],
            })
        })
        .collect()
}

/// `services` services with 25 points each, a fifth of them histograms with some 20 buckets that
/// are not empty: what a busy node has.
pub(crate) fn node(services: usize) -> Snapshot {
    let labels: [Labels; 4] = [
        &[("kind", "rto")],
        &[("kind", "fast")],
        &[("kind", "tlp")],
        &[("kind", "syn")],
    ];
    let subjects = subjects(services);
    let family = |metric, labels: &[Labels], value: &dyn Fn(usize) -> Value| Family {
        metric,
        points: subjects
            .iter()
            .flat_map(|subject| labels.iter().map(move |labels| (subject, *labels)))
            .enumerate()
            .map(|(n, (subject, labels))| Point {
                subject: Arc::clone(subject),
                labels,
                value: value(n),
            })
            .collect(),
    };
    let int = |n: usize| Value::Int(1 + n as u64 * 7_919);
    let float = |n: usize| Value::Float(0.25 + n as f64 * 1.37);
    let times = |n: usize| Value::Histogram(histogram(3, n));
    let one: &[Labels] = &[&[]];
    let mut families = vec![
        family(&metrics::TCP_SEND_DURATION, one, &times),
        family(&metrics::TCP_DELIVERY_DURATION, one, &times),
        family(&metrics::TCP_RTT, one, &times),
        family(&metrics::SCHED_DELAY, one, &times),
        family(&metrics::TCP_SEND_QUEUE, one, &|n| {
            Value::Histogram(histogram(0, n))
        }),
        family(&metrics::TCP_RETRANSMITS, &labels, &int),
        family(&metrics::TCP_IO, &labels[..2], &int),
        family(&metrics::TCP_CONNECTIONS, &labels, &int),
        family(&metrics::TCP_LIMITED_TIME, &labels[..3], &float),
        family(&metrics::TCP_ACKED, &labels[..2], &int),
        family(&metrics::TCP_RETRANSMITS_SPURIOUS, &labels[..2], &int),
        family(&metrics::TCP_ZERO_WINDOW_TIME, one, &float),
        family(&metrics::TCP_OPEN, &labels[..2], &int),
    ];
    families.retain(|family| !family.points.is_empty());
    Snapshot {
        start_unix_ns: START,
        at_unix_ns: START + 60_000_000_000,
        families,
    }
}

/// 20 buckets around a middle that differs from series to series.
pub(crate) fn histogram(scale: i32, n: usize) -> Histogram {
    let counts: Vec<u64> = (0..20)
        .map(|k| 1 + (n as u64 * 31 + k * k) % 5_000)
        .collect();
    Histogram {
        scale,
        zero_threshold: if scale == 0 { 256.0 } else { (-20_f64).exp2() },
        zero_count: n as u64 % 3,
        first: if scale == 0 { 8 } else { -90 + (n % 50) as i32 },
        sum: counts.iter().sum::<u64>() as f64 * 0.003,
        counts,
    }
}

/// A metric as opentelemetry-proto has it, its points in order.
pub(crate) fn metric(snapshot: &Snapshot, family: &Family) -> Metric {
    part(snapshot, family.metric, &family.points)
}

/// The same with some of the family's points.
pub(crate) fn part(snapshot: &Snapshot, row: &metrics::Metric, points: &[Point]) -> Metric {
    let (start, at) = (snapshot.start_unix_ns, snapshot.at_unix_ns);
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match row.kind {
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(points, 0, at),
        }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(points, start, at),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::TimeHistogram | Kind::SizeHistogram => {
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: histograms(points, start, at),
                aggregation_temporality: temporality,
            })
        }
    };
    Metric {
        name: row.name.to_owned(),
        description: row.help.to_owned(),
        unit: row.unit.ucum(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn attributes(point: &Point) -> Vec<KeyValue> {
    let subject = point.subject.labels.iter().map(|(k, v)| (*k, v.as_str()));
    subject
        .chain(point.labels.iter().copied())
        .map(|(key, value)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Any::StringValue(value.to_owned())),
            }),
            ..KeyValue::default()
        })
        .collect()
}

fn numbers(points: &[Point], start: u64, at: u64) -> Vec<NumberDataPoint> {
    let points = points.iter().map(|point| NumberDataPoint {
        attributes: attributes(point),
        start_time_unix_nano: start,
        time_unix_nano: at,
        value: Some(match &point.value {
            Value::Int(n) => Number::AsInt(i64::try_from(*n).unwrap_or(i64::MAX)),
            Value::Float(x) => Number::AsDouble(*x),
            Value::Histogram(_) => panic!("a histogram among numbers"),
        }),
        ..NumberDataPoint::default()
    });
    points.collect()
}

fn histograms(points: &[Point], start: u64, at: u64) -> Vec<ExponentialHistogramDataPoint> {
    let points = points.iter().map(|point| {
        let Value::Histogram(histogram) = &point.value else {
            panic!("a number among histograms");
        };
        ExponentialHistogramDataPoint {
            attributes: attributes(point),
            start_time_unix_nano: start,
            time_unix_nano: at,
            count: histogram.zero_count + histogram.counts.iter().sum::<u64>(),
            sum: Some(histogram.sum),
            scale: histogram.scale,
            zero_count: histogram.zero_count,
            positive: (!histogram.counts.is_empty()).then(|| Buckets {
                offset: histogram.first,
                bucket_counts: histogram.counts.clone(),
            }),
            zero_threshold: histogram.zero_threshold,
            ..ExponentialHistogramDataPoint::default()
        }
    });
    points.collect()
}

/// Metrics that came in parts, joined by name.
pub(crate) fn joined(parts: impl IntoIterator<Item = Metric>) -> Vec<Metric> {
    let mut order = Vec::new();
    let mut whole: BTreeMap<String, Metric> = BTreeMap::new();
    for part in parts {
        let Some(known) = whole.get_mut(&part.name) else {
            order.push(part.name.clone());
            whole.insert(part.name.clone(), part);
            continue;
        };
        match (&mut known.data, part.data) {
            (Some(Data::Gauge(all)), Some(Data::Gauge(more))) => {
                all.data_points.extend(more.data_points);
            }
            (Some(Data::Sum(all)), Some(Data::Sum(more))) => {
                all.data_points.extend(more.data_points);
            }
            (Some(Data::ExponentialHistogram(all)), Some(Data::ExponentialHistogram(more))) => {
                all.data_points.extend(more.data_points);
            }
            (known, part) => panic!("{known:?} is continued by {part:?}"),
        }
    }
    order.iter().filter_map(|name| whole.remove(name)).collect()
}
