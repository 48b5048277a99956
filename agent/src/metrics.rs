//! Every metric that Weir exports: name, unit, help, labels. The only place a metric is named.
//!
//! A [`Snapshot`] is what the exporters see: families of points, read from the kernel's maps when
//! asked. It knows nothing of wire formats; `export` knows nothing of kernels.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub mod change;
mod table;

pub use table::*;

/// Unit of a metric, by UCUM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, `s`.
    Seconds,
    /// Bytes, `By`.
    Bytes,
    /// A countable thing, written `{thing}`; no unit in the Prometheus name.
    Count(&'static str),
    /// A fraction between 0 and 1, `1`.
    Ratio,
}

impl Unit {
    /// The UCUM form that OTLP carries.
    pub fn ucum(self) -> String {
        match self {
            Self::Seconds => "s".to_owned(),
            Self::Bytes => "By".to_owned(),
            Self::Count(thing) => format!("{{{thing}}}"),
            Self::Ratio => "1".to_owned(),
        }
    }

    /// The word the Prometheus name ends with, by OpenTelemetry's mapping.
    pub fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Count(_) => None,
            Self::Ratio => Some("ratio"),
        }
    }
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; monotonic cumulative sum.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Exponential histogram at scale 3 (8 buckets an octave), for times. Classic buckets are the
    /// powers of two of a second from 2^-20 to 2^7.
    TimeHistogram,
    /// Exponential histogram at scale 0 (powers of two), for sizes. Classic buckets are the powers
    /// of two of a byte from 2^8 to 2^28.
    SizeHistogram,
}

impl Kind {
    /// Exponents of the smallest and the largest finite classic bucket bound, both inclusive.
    pub fn classic_exponents(self) -> Option<(i32, i32)> {
        match self {
            Self::Counter | Self::Gauge => None,
            Self::TimeHistogram => Some((-20, 7)),
            Self::SizeHistogram => Some((8, 28)),
        }
    }
}

/// One row of the metric table.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// OpenTelemetry name, dotted, without unit or `_total`.
    pub name: &'static str,
    /// Unit of its values.
    pub unit: Unit,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What the number means, in whole sentences; printed as HELP and in METRICS.md.
    pub help: &'static str,
    /// Label names besides those of the service.
    pub labels: &'static [&'static str],
    /// Whether points carry the labels of a service.
    pub per_service: bool,
}

impl Metric {
    /// Prometheus name without the `_total` of counters: `weir_tcp_send_duration_seconds`.
    pub fn prometheus_base(&self) -> String {
        let mut name = self.name.replace('.', "_");
        if let Some(suffix) = self.unit.suffix() {
            name.push('_');
            name.push_str(suffix);
        }
        name
    }

    /// Prometheus name as a user queries it: `weir_tcp_retransmits_total`.
    pub fn prometheus_name(&self) -> String {
        let mut name = self.prometheus_base();
        if self.kind == Kind::Counter {
            name.push_str("_total");
        }
        name
    }
}

/// The labels that say who is meant: a service and what belongs to it, or nobody for the agent's
/// own metrics. Shared by all points of that service, so exporters may cache by its address.
#[derive(Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Label name and value, sorted by name, names unique.
    pub labels: Vec<(&'static str, String)>,
}

/// A set of labels from a closed list, such as `[("kind", "rto")]`, in the order of
/// [`Metric::labels`].
pub type Labels = &'static [(&'static str, &'static str)];

/// One number or histogram of a family.
#[derive(Clone, Debug)]
pub struct Point {
    /// Who is meant.
    pub subject: Arc<Subject>,
    /// Labels of this point besides the subject's.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
}

/// The value of a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Whole number, for counters and gauges of things and bytes.
    Int(u64),
    /// Real number, for counters and gauges of seconds and ratios.
    Float(f64),
    /// Distribution.
    Histogram(Histogram),
}

/// An exponential histogram as OpenTelemetry defines it; bucket `first + k` counts values in
/// `(2^((first+k)/2^scale), 2^((first+k+1)/2^scale)]`.
///
/// Values above the largest classic bound are all in the one bucket that starts there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// 3 for times, 0 for sizes; Prometheus calls it schema.
    pub scale: i32,
    /// Upper bound, inclusive, of the zero bucket: the smallest classic bound.
    pub zero_threshold: f64,
    /// Values in `[0, zero_threshold]`.
    pub zero_count: u64,
    /// OpenTelemetry index of `counts[0]`.
    pub first: i32,
    /// Counts, dense from the first to the last bucket that is not empty; empty if none is.
    pub counts: Vec<u64>,
    /// Sum of all values in the metric's unit.
    pub sum: f64,
}

impl Histogram {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.zero_count + self.counts.iter().sum::<u64>()
    }

    /// Cumulative counts at the classic bounds `2^low ..= 2^high`, without the `+Inf` one (which
    /// is [`count`](Self::count)). Exact: each bound is a bucket's end.
    pub fn classic(&self, low: i32, high: i32) -> Vec<(f64, u64)> {
        let per_octave = 1_i32 << self.scale;
        let mut buckets = self.counts.iter().enumerate().peekable();
        let mut total = self.zero_count;
        (low..=high)
            .map(|exponent| {
                let end = exponent * per_octave;
                while let Some((_, n)) = buckets
                    .next_if(|(k, _)| self.first + i32::try_from(*k).unwrap_or(i32::MAX) < end)
                {
                    total += n;
                }
                (f64::from(exponent).exp2(), total)
            })
            .collect()
    }
}

/// All points of one metric.
#[derive(Clone, Debug)]
pub struct Family {
    /// The table row.
    pub metric: &'static Metric,
    /// Its points, each with a distinct (subject, labels).
    pub points: Vec<Point>,
}

/// All metrics at one instant.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When counting started: nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// When this was read: nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// Families in table order; those without points may be missing.
    pub families: Vec<Family>,
}

impl Snapshot {
    /// Number of points over all families.
    pub fn points(&self) -> usize {
        self.families.iter().map(|family| family.points.len()).sum()
    }
}

/// Gives the current numbers. Takes milliseconds at most; never waits for the network.
pub trait Source: Send + Sync + 'static {
    /// Reads all metrics now.
    fn snapshot(&self) -> Snapshot;
}

/// What the agent counts about its own exporters. Raised by `export`, read into the snapshot.
#[derive(Debug, Default)]
pub struct ExportCounts {
    /// Scrapes answered.
    pub scrapes: AtomicU64,
    /// Scrapes refused (bad credentials, too many at once).
    pub scrapes_refused: AtomicU64,
    /// Nanoseconds spent on answering scrapes.
    pub scrape_ns: AtomicU64,
    /// OTLP requests accepted by the receiver.
    pub otlp_sent: AtomicU64,
    /// OTLP requests that failed (each try).
    pub otlp_failed: AtomicU64,
    /// Nanoseconds spent on encoding and compressing for OTLP.
    pub otlp_ns: AtomicU64,
    /// Points accepted by the receiver.
    pub otlp_points: AtomicU64,
    /// Points given up: queue full, refused for good, or rejected in a partial success.
    pub otlp_dropped_points: AtomicU64,
    /// Requests waiting in the queue.
    pub otlp_queue: AtomicU64,
}

impl ExportCounts {
    /// Adds to one of the counts.
    pub fn add(count: &AtomicU64, n: u64) {
        count.fetch_add(n, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_mapping_of_opentelemetry() {
        assert_eq!(
            TCP_SEND_DURATION.prometheus_name(),
            "weir_tcp_send_duration_seconds"
        );
        assert_eq!(
            TCP_RETRANSMITS.prometheus_name(),
            "weir_tcp_retransmits_total"
        );
        assert_eq!(TCP_IO.prometheus_name(), "weir_tcp_io_bytes_total");
    }

    #[test]
    fn classic_buckets_are_sums_of_exponential_ones() {
        let histogram = Histogram {
            scale: 3,
            zero_threshold: (-20.0_f64).exp2(),
            zero_count: 1,
            first: -8,
            counts: vec![1, 0, 0, 0, 0, 0, 0, 2, 4],
            sum: 5.0,
        };
        let classic = histogram.classic(-2, 1);
        assert_eq!(classic, vec![(0.25, 1), (0.5, 1), (1.0, 4), (2.0, 8)]);
        assert_eq!(histogram.count(), 8);
    }

    #[test]
    fn every_metric_is_named_once_and_explained() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(
                metric.help.ends_with('.'),
                "{}: help is a sentence",
                metric.name
            );
            assert!(metric.name.starts_with("weir."), "{}", metric.name);
        }
    }
}
