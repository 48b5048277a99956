//! Warnings and infos that an evaluation gives beside its result, worded as
//! Prometheus words them. Each text is kept once; their number is bounded.

use std::collections::HashSet;
use std::fmt;

/// Annotations kept for one query; what comes after is dropped.
const MAX_ANNOTATIONS: usize = 100;

/// How grave an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The result is probably wrong.
    Warning,
    /// The result may be wrong.
    Info,
}

/// One remark on a query's data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// How grave it is.
    pub severity: Severity,
    /// What it says, without the severity.
    pub text: String,
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "PromQL {severity}: {}", self.text)
    }
}

/// The remarks of one query, in order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct Annotations {
    list: Vec<Annotation>,
    seen: HashSet<Annotation>,
    told: u64,
}

impl Annotations {
    /// The remarks, each once.
    pub fn iter(&self) -> impl Iterator<Item = &Annotation> {
        self.list.iter()
    }

    /// Whether there is no remark.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.add(Severity::Warning, text.into());
    }

    pub(crate) fn info(&mut self, text: impl Into<String>) {
        self.add(Severity::Info, text.into());
    }

    /// How often anything was said, the same again included.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    fn add(&mut self, severity: Severity, text: String) {
        self.told += 1;
        if self.list.len() >= MAX_ANNOTATIONS {
            return;
        }
        let annotation = Annotation { severity, text };
        if self.seen.insert(annotation.clone()) {
            self.list.push(annotation);
        }
    }

    pub(crate) fn quantile_range(&mut self, q: f64) {
        self.warn(format!(
            "quantile value should be between 0 and 1, got {}",
            crate::number::general(q)
        ));
    }

    pub(crate) fn mixed_types(&mut self, metric: &str) {
        self.warn(format!(
            "encountered a mix of histograms and floats for metric name {metric:?}"
        ));
    }

    pub(crate) fn mixed_types_in_aggregation(&mut self) {
        self.warn("encountered a mix of histograms and floats for aggregation");
    }

    pub(crate) fn mixed_buckets(&mut self, metric: &str) {
        self.warn(format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas \
             for metric name {metric:?}"
        ));
    }

    pub(crate) fn not_a_counter(&mut self, metric: &str) {
        self.warn(format!(
            "this native histogram metric is not a counter: {metric:?}"
        ));
    }

    pub(crate) fn not_a_gauge(&mut self, metric: &str) {
        self.warn(format!(
            "this native histogram metric is not a gauge: {metric:?}"
        ));
    }

    pub(crate) fn ignored_in_range(&mut self, metric: &str) {
        self.info(format!(
            "ignored histograms in a range containing both floats and histograms \
             for metric name {metric:?}"
        ));
    }

    pub(crate) fn ignored_in_aggregation(&mut self, aggregation: &str) {
        self.info(format!("ignored histogram in {aggregation} aggregation"));
    }

    pub(crate) fn reset_collision(&mut self, operation: &str) {
        self.warn(format!(
            "conflicting counter resets during histogram {operation}"
        ));
    }

    pub(crate) fn bounds_reconciled(&mut self, operation: &str) {
        self.info(format!(
            "mismatched custom buckets were reconciled during {operation}"
        ));
    }

    pub(crate) fn incompatible_types(&mut self, left: &str, op: &str, right: &str) {
        self.info(format!(
            "incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}"
        ));
    }
}

/// The words " for metric name …", or nothing for a sample without a name.
pub(crate) fn for_metric(metric: &str) -> String {
    if metric.is_empty() {
        String::new()
    } else {
        format!(" for metric name {metric:?}")
    }
}
