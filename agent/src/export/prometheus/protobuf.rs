//! The protobuf format: classic and native form of each histogram together.
//!
//! The messages are those of prometheus-client, filled and used again point by point: its
//! collectors allocate some twenty times for each point, which takes several times as long.

use std::time::{Duration, SystemTime};

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as model;
use prost::Message as _;

use crate::metrics::{Family, Histogram, Kind, Metric, Point, Snapshot, Value};

/// Number of the field `metric` in a `MetricFamily`.
const METRIC_FIELD: u32 = 4;

/// Appends one family as a length-delimited message.
pub(super) fn encode_family(snapshot: &Snapshot, family: &Family, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    encode_head(family.metric, &mut body);
    let created = Duration::from_nanos(snapshot.start_unix_ns);
    let created = SystemTime::UNIX_EPOCH.checked_add(created);
    let mut message = model::Metric::default();
    for point in &family.points {
        fill(&mut message, family.metric.kind, point, created);
        // Encoded fields may be put together: those that repeat add up.
        prost::encoding::message::encode(METRIC_FIELD, &message, &mut body);
    }
    prost::encoding::encode_varint(body.len() as u64, out);
    out.append(&mut body);
}

fn encode_head(metric: &Metric, body: &mut Vec<u8>) {
    let kind = match metric.kind {
        Kind::Counter => model::MetricType::Counter,
        Kind::Gauge => model::MetricType::Gauge,
        Kind::TimeHistogram | Kind::SizeHistogram => model::MetricType::Histogram,
    };
    let head = model::MetricFamily {
        name: metric.prometheus_name(),
        help: metric.help.to_owned(),
        r#type: kind.into(),
        unit: metric.unit.suffix().unwrap_or_default().to_owned(),
        metric: Vec::new(),
    };
    head.encode_raw(body);
}

/// Makes `message` say what `point` says, whatever point of the same family it held before.
fn fill(message: &mut model::Metric, kind: Kind, point: &Point, created: Option<SystemTime>) {
    let labels = point
        .subject
        .labels
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let labels = labels.chain(point.labels.iter().copied());
    let count = point.subject.labels.len() + point.labels.len();
    message.label.resize_with(count, model::LabelPair::default);
    for (pair, (name, value)) in message.label.iter_mut().zip(labels) {
        pair.name.clear();
        pair.name.push_str(name);
        pair.value.clear();
        pair.value.push_str(value);
    }
    let number = match &point.value {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the format has real numbers only"
        )]
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Histogram(histogram) => {
            let exponents = kind.classic_exponents().unwrap_or((0, -1));
            let message = message.histogram.get_or_insert_default();
            message.start_timestamp = created.map(Into::into);
            return fill_histogram(message, histogram, exponents);
        }
    };
    if kind == Kind::Counter {
        let start_timestamp = created.map(Into::into);
        message.counter = Some(model::Counter {
            value: number,
            exemplar: None,
            start_timestamp,
        });
    } else {
        message.gauge = Some(model::Gauge { value: number });
    }
}

fn fill_histogram(message: &mut model::Histogram, histogram: &Histogram, (low, high): (i32, i32)) {
    message.sample_count = histogram.count();
    message.sample_sum = histogram.sum;
    let classic = histogram.classic(low, high).into_iter();
    let buckets = classic.chain([(f64::INFINITY, message.sample_count)]);
    message.bucket.clear();
    message.bucket.extend(
        buckets.map(|(upper_bound, cumulative_count)| model::Bucket {
            cumulative_count,
            upper_bound,
            ..Default::default()
        }),
    );
    message.schema = histogram.scale;
    message.zero_threshold = histogram.zero_threshold;
    message.zero_count = histogram.zero_count;
    fill_native(message, histogram);
}

/// Spans (distance to the one before, length) and counts, each as difference to the one before.
///
/// Prometheus names a bucket by its upper bound, OpenTelemetry by its lower one: hence `+ 1`.
fn fill_native(message: &mut model::Histogram, histogram: &Histogram) {
    /// A longer run of empty buckets starts a new span, as in Prometheus's own clients.
    const LONGEST_GAP: usize = 2;

    let (spans, deltas) = (&mut message.positive_span, &mut message.positive_delta);
    spans.clear();
    deltas.clear();
    let mut last_count = 0;
    let mut last_end = None;
    for (at, &count) in histogram
        .counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
    {
        let gap = last_end.map(|end| at - end);
        match (gap, spans.last_mut()) {
            (Some(gap @ 0..=LONGEST_GAP), Some(span)) => {
                for _ in 0..gap {
                    deltas.push(-last_count);
                    last_count = 0;
                }
                span.length += small(gap).unsigned_abs() + 1;
            }
            (gap, _) => {
                let offset = gap.map_or(histogram.first + 1 + small(at), small);
                spans.push(model::BucketSpan { offset, length: 1 });
            }
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        deltas.push(count - last_count);
        last_count = count;
        last_end = Some(at + 1);
    }
}

/// Indices of buckets are a few hundred at most.
fn small(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
