//! A snapshot as export requests: split by points and by size, framed, compressed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, Metric as MetricHead, Sum,
};
use prost::Message as _;

use super::compress::Frame;
use super::point::{self, Head, embedded_len, open};
use super::resource::Origin;
use crate::metrics::{Family, Kind, Point, Snapshot, Subject, Value};

/// Most points of a request: what receivers are used to, and what bounds the memory of encoding.
pub(super) const MAX_POINTS: u64 = 2_000;
/// Most bytes of a request before compression. gRPC servers refuse above 4 MiB by default; the
/// rest is for the envelope (at most 64 KiB of resource) and the open metric's head.
const MAX_BYTES: usize = (4 << 20) - (256 << 10);

/// One export request, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Body as sent: compressed, and with its prefix for gRPC.
    pub(super) body: Bytes,
    /// Points in it.
    pub(super) points: u64,
    /// Bytes of the message before compression.
    pub(super) message_bytes: usize,
}

/// Makes the requests of one snapshot, one at a time, so that only one is in memory uncompressed.
pub(super) struct Encoder<'a> {
    snapshot: &'a Snapshot,
    origin: &'a Origin,
    frame: Frame,
    /// Next point: index of the family, index of the point in it.
    next: (usize, usize),
    /// Encoded metrics of the open request.
    metrics: Vec<u8>,
    /// Encoded points of the open metric.
    points: Vec<u8>,
    subjects: Subjects,
    /// Points that no request can carry: too large, or of another kind than their family.
    pub(super) unfit: u64,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, origin: &'a Origin, frame: Frame) -> Self {
        Self {
            snapshot,
            origin,
            frame,
            next: (0, 0),
            metrics: Vec::new(),
            points: Vec::new(),
            subjects: Subjects::default(),
            unfit: 0,
        }
    }

    /// Adds points of one family to the open request, until it is full or the family is done.
    /// Returns how many, and whether there is room for more.
    fn add_family(&mut self, family: &Family, room: u64) -> (u64, bool) {
        let head = metric_head(family);
        let tail = data_tail(family.metric.kind);
        let mut added = 0;
        let mut is_full = false;
        self.points.clear();
        while let Some(point) = family.points.get(self.next.1) {
            if added == room {
                is_full = true;
                break;
            }
            let before = self.points.len();
            let fits = self.add_point(family.metric.kind, point);
            if !fits {
                self.unfit += 1;
            } else if self.metrics.len() + self.points.len() > MAX_BYTES {
                self.points.truncate(before);
                if added > 0 || !self.metrics.is_empty() {
                    is_full = true;
                    break;
                }
                self.unfit += 1;
            } else {
                added += 1;
            }
            self.next.1 += 1;
        }
        if added > 0 {
            self.close_metric(&head, family.metric.kind, &tail);
        }
        (added, !is_full)
    }

    /// Writes a point; false if its value is not of the family's kind.
    fn add_point(&mut self, kind: Kind, point: &Point) -> bool {
        let start = self.snapshot.start_unix_ns;
        let (tag, start_unix_ns) = match (kind, &point.value) {
            (Kind::Counter, Value::Int(_) | Value::Float(_)) => (point::NUMBER_ATTRIBUTES, start),
            // A gauge has no start: it is true at one instant.
            (Kind::Gauge, Value::Int(_) | Value::Float(_)) => (point::NUMBER_ATTRIBUTES, 0),
            (Kind::TimeHistogram | Kind::SizeHistogram, Value::Histogram(_)) => {
                (point::HISTOGRAM_ATTRIBUTES, start)
            }
            _ => return false,
        };
        let head = Head {
            subject: self.subjects.encoded(&point.subject, tag),
            labels: point.labels,
            start_unix_ns,
            at_unix_ns: self.snapshot.at_unix_ns,
        };
        point::point(&mut self.points, &head, &point.value);
        true
    }

    /// Moves the open metric's points into the request.
    fn close_metric(&mut self, head: &[u8], kind: Kind, tail: &[u8]) {
        let field = match kind {
            Kind::Gauge => 5,
            Kind::Counter => 7,
            Kind::TimeHistogram | Kind::SizeHistogram => 10,
        };
        let data = self.points.len() + tail.len();
        open(&mut self.metrics, 2, head.len() + embedded_len(field, data));
        self.metrics.extend_from_slice(head);
        open(&mut self.metrics, field, data);
        self.metrics.extend_from_slice(&self.points);
        self.metrics.extend_from_slice(tail);
    }

    /// `ExportMetricsServiceRequest` around the metrics.
    fn finish(&self, points: u64) -> Request {
        let origin = self.origin;
        let scope_metrics = embedded_len(1, origin.scope.len()) + self.metrics.len();
        let resource_metrics =
            embedded_len(1, origin.resource.len()) + embedded_len(2, scope_metrics);
        let mut envelope = Vec::with_capacity(origin.resource.len() + origin.scope.len() + 32);
        open(&mut envelope, 1, resource_metrics);
        open(&mut envelope, 1, origin.resource.len());
        envelope.extend_from_slice(&origin.resource);
        open(&mut envelope, 2, scope_metrics);
        open(&mut envelope, 1, origin.scope.len());
        envelope.extend_from_slice(&origin.scope);
        Request {
            body: self.frame.pack(&[&envelope, &self.metrics]),
            points,
            message_bytes: envelope.len() + self.metrics.len(),
        }
    }
}

impl Iterator for Encoder<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.metrics.clear();
        let mut points = 0;
        let snapshot = self.snapshot;
        while let Some(family) = snapshot.families.get(self.next.0) {
            let (added, has_room) = self.add_family(family, MAX_POINTS - points);
            points += added;
            if !has_room {
                break;
            }
            self.next = (self.next.0 + 1, 0);
        }
        (points > 0).then(|| self.finish(points))
    }
}

/// Encoded attributes of subjects. All points of a service share one subject, so that it is
/// encoded once per export instead of once per point. The snapshot holds the subjects, hence an
/// address stands for one subject as long as the encoder lives.
#[derive(Default)]
struct Subjects {
    bytes: Vec<u8>,
    ranges: HashMap<(usize, u32), Range<usize>>,
}

impl Subjects {
    fn encoded(&mut self, subject: &Arc<Subject>, tag: u32) -> &[u8] {
        let range = match self.ranges.entry((Arc::as_ptr(subject).addr(), tag)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let start = self.bytes.len();
                for (name, value) in &subject.labels {
                    point::attribute(&mut self.bytes, tag, name, value);
                }
                new.insert(start..self.bytes.len())
            }
        };
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

/// Name, description and unit of a metric, as the first fields of `Metric`.
fn metric_head(family: &Family) -> Vec<u8> {
    MetricHead {
        name: family.metric.name.to_owned(),
        description: family.metric.help.to_owned(),
        unit: family.metric.unit.ucum(),
        ..MetricHead::default()
    }
    .encode_to_vec()
}

/// What follows the points: temporality and monotonicity.
fn data_tail(kind: Kind) -> Vec<u8> {
    let temporality = AggregationTemporality::Cumulative.into();
    match kind {
        Kind::Gauge => Vec::new(),
        Kind::Counter => Sum {
            aggregation_temporality: temporality,
            is_monotonic: true,
            ..Sum::default()
        }
        .encode_to_vec(),
        Kind::TimeHistogram | Kind::SizeHistogram => ExponentialHistogram {
            aggregation_temporality: temporality,
            ..ExponentialHistogram::default()
        }
        .encode_to_vec(),
    }
}
