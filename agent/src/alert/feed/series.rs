//! The series of a point, named as `/metrics` shows them, and the native histogram besides.

use std::sync::Arc;

use weir_promql::histogram::Histogram as Native;
use weir_promql::labels::{BUCKET, Labels, LabelsBuilder, NAME};
use weir_promql::value::SampleValue;

use crate::export::prometheus::bound;
use crate::metrics::{Histogram, Kind, Metric, Point, Value};

/// What of a point a series holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The number.
    Plain,
    /// A classic bucket, by its place; the last is `+Inf`.
    Bucket(usize),
    /// Sum of a histogram.
    Sum,
    /// Count of a histogram.
    Count,
    /// The native histogram.
    Native,
}

/// The series that the points of a metric have.
#[derive(Debug)]
pub(super) struct Shape {
    /// Name, part and `le`.
    pub(super) forms: Vec<(Arc<str>, Part, String)>,
}

impl Shape {
    /// All forms whose name is wanted.
    pub(super) fn new(metric: &Metric, wants: impl Fn(&str) -> bool) -> Self {
        let name = metric.prometheus_name();
        let mut forms = Vec::new();
        let mut add = |name: &str, parts: Vec<(Part, String)>| {
            if wants(name) {
                let name: Arc<str> = name.into();
                let named = parts.into_iter();
                forms.extend(named.map(|(part, le)| (Arc::clone(&name), part, le)));
            }
        };
        let Some((low, high)) = metric.kind.classic_exponents() else {
            add(&name, vec![(Part::Plain, String::new())]);
            return Self { forms };
        };
        let bounds = (low..=high).map(|exponent| bound(f64::from(exponent).exp2()));
        let buckets = bounds.chain(["+Inf".to_owned()]).enumerate();
        add(
            &format!("{name}_bucket"),
            buckets.map(|(at, le)| (Part::Bucket(at), le)).collect(),
        );
        add(&format!("{name}_sum"), vec![(Part::Sum, String::new())]);
        add(&format!("{name}_count"), vec![(Part::Count, String::new())]);
        add(&name, vec![(Part::Native, String::new())]);
        Self { forms }
    }
}

/// Labels of a point's series; `target` are those that a scrape would add, which do not replace the
/// point's own.
pub(super) fn labels(name: &str, le: &str, point: &Point, target: &[(String, String)]) -> Labels {
    let mut labels = LabelsBuilder::default();
    for (name, value) in target {
        labels.set(name, value);
    }
    for (name, value) in &point.subject.labels {
        labels.set(name, value);
    }
    for (name, value) in point.labels {
        labels.set(name, value);
    }
    labels.set(BUCKET, le);
    labels.set(NAME, name);
    labels.build()
}

/// A point's value, with what is computed from it once for all its series.
pub(super) struct Reading<'a> {
    value: &'a Value,
    kind: Kind,
    classic: Option<Vec<(f64, u64)>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(metric: &Metric, value: &'a Value) -> Self {
        Self {
            value,
            kind: metric.kind,
            classic: None,
        }
    }

    /// The value of a part; none if the point has no such part.
    pub(super) fn part(&mut self, part: Part) -> Option<SampleValue> {
        let histogram = match (self.value, part) {
            (Value::Int(value), Part::Plain) => return Some((*value as f64).into()),
            (Value::Float(value), Part::Plain) => return Some((*value).into()),
            (Value::Histogram(histogram), _) => histogram,
            _ => return None,
        };
        match part {
            Part::Plain => None,
            Part::Sum => Some(histogram.sum.into()),
            Part::Count => Some((histogram.count() as f64).into()),
            Part::Native => Some(native(histogram).into()),
            Part::Bucket(at) => {
                let (low, high) = self.kind.classic_exponents()?;
                let classic = self
                    .classic
                    .get_or_insert_with(|| histogram.classic(low, high));
                let below = classic.get(at).map(|(_, count)| *count);
                Some((below.unwrap_or_else(|| histogram.count()) as f64).into())
            }
        }
    }
}

/// Prometheus names a bucket by its upper bound, OpenTelemetry by its lower one: hence `+ 1`.
fn native(histogram: &Histogram) -> Native {
    let counts = histogram.counts.iter().zip(histogram.first..);
    let filled = counts.filter(|(count, _)| **count > 0);
    let mut native = Native::default();
    native.schema = histogram.scale;
    native.zero_threshold = histogram.zero_threshold;
    native.zero_count = histogram.zero_count as f64;
    native.count = histogram.count() as f64;
    native.sum = histogram.sum;
    native.positive = filled
        .map(|(count, index)| (index.saturating_add(1), *count as f64))
        .collect();
    native
}
