//! The two text formats: Prometheus 0.0.4 and OpenMetrics 1.0.0, with classic histograms.
//!
//! Our own encoder because that of prometheus-client writes OpenMetrics only, whose counters and
//! end mark are wrong in 0.0.4.

use crate::metrics::{Family, Histogram, Kind, Metric, Point, Value};

/// The last line of an OpenMetrics answer.
pub(super) const END_OF_OPENMETRICS: &str = "# EOF\n";

/// Writes the points of one family.
pub(super) struct Encoder {
    /// Name in the samples of a counter or gauge; the start of those of a histogram.
    name: String,
    /// Classic bounds as `le` shows them; empty unless a histogram.
    bounds: Vec<String>,
    exponents: (i32, i32),
    /// Labels of the point at hand, kept for its allocation.
    labels: String,
}

impl Encoder {
    /// Starts a family and writes its head.
    pub(super) fn start(family: &Family, openmetrics: bool, out: &mut String) -> Self {
        let metric = family.metric;
        write_head(metric, openmetrics, out);
        let exponents = metric.kind.classic_exponents().unwrap_or((0, -1));
        Self {
            name: metric.prometheus_name(),
            bounds: (exponents.0..=exponents.1)
                .map(|exponent| bound(f64::from(exponent).exp2()))
                .collect(),
            exponents,
            labels: String::new(),
        }
    }

    /// Writes one point: a line, or for a histogram its buckets, sum and count.
    pub(super) fn write(&mut self, point: &Point, out: &mut String) {
        self.labels.clear();
        let labels = point
            .subject
            .labels
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        for (name, value) in labels.chain(point.labels.iter().copied()) {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(name);
            self.labels.push_str("=\"");
            escape(value, true, &mut self.labels);
            self.labels.push('"');
        }
        match &point.value {
            Value::Int(value) => self.write_sample("", None, Number::Int(*value), out),
            Value::Float(value) => self.write_sample("", None, Number::Float(*value), out),
            Value::Histogram(histogram) => self.write_histogram(histogram, out),
        }
    }

    fn write_histogram(&self, histogram: &Histogram, out: &mut String) {
        let buckets = histogram.classic(self.exponents.0, self.exponents.1);
        for (bound, (_, count)) in self.bounds.iter().zip(buckets) {
            self.write_sample("_bucket", Some(bound), Number::Int(count), out);
        }
        let count = Number::Int(histogram.count());
        self.write_sample("_bucket", Some("+Inf"), count, out);
        self.write_sample("_sum", None, Number::Float(histogram.sum), out);
        self.write_sample("_count", None, count, out);
    }

    fn write_sample(&self, suffix: &str, le: Option<&str>, value: Number, out: &mut String) {
        out.push_str(&self.name);
        out.push_str(suffix);
        if le.is_some() || !self.labels.is_empty() {
            out.push('{');
            out.push_str(&self.labels);
            if let Some(le) = le {
                out.push_str(if self.labels.is_empty() {
                    "le=\""
                } else {
                    ",le=\""
                });
                out.push_str(le);
                out.push('"');
            }
            out.push('}');
        }
        out.push(' ');
        value.write(out);
        out.push('\n');
    }
}

fn write_head(metric: &Metric, openmetrics: bool, out: &mut String) {
    // OpenMetrics names the family, 0.0.4 the samples: they differ for counters.
    let name = if openmetrics {
        metric.prometheus_base()
    } else {
        metric.prometheus_name()
    };
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::TimeHistogram | Kind::SizeHistogram => "histogram",
    };
    out.push_str(&format!("# HELP {name} "));
    escape(metric.help, openmetrics, out);
    out.push_str(&format!("\n# TYPE {name} {kind}\n"));
    if let (true, Some(unit)) = (openmetrics, metric.unit.suffix()) {
        out.push_str(&format!("# UNIT {name} {unit}\n"));
    }
}

/// Appends `text` with backslashes, line feeds and, if asked, quotes escaped.
fn escape(text: &str, quotes: bool, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find(|c| c == '\\' || c == '\n' || (quotes && c == '"')) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

#[derive(Clone, Copy)]
enum Number {
    Int(u64),
    Float(f64),
}

impl Number {
    fn write(self, out: &mut String) {
        match self {
            Self::Int(value) => out.push_str(itoa::Buffer::new().format(value)),
            Self::Float(value) if value.is_nan() => out.push_str("NaN"),
            Self::Float(f64::INFINITY) => out.push_str("+Inf"),
            Self::Float(f64::NEG_INFINITY) => out.push_str("-Inf"),
            Self::Float(value) => out.push_str(zmij::Buffer::new().format_finite(value)),
        }
    }
}

/// A bucket's bound as Prometheus itself names it when it reads protobuf, so that a series keeps
/// its `le` whichever format it was scraped in: by Go's `%g`, with a decimal point at least.
pub(crate) fn bound(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}
