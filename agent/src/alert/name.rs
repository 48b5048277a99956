//! What Prometheus accepts as the name of a metric or a label.

/// A metric name as Prometheus 3 takes it by default: any UTF-8 that is not empty.
/// `model.UTF8Validation` in prometheus/common.
pub fn is_metric(name: &str) -> bool {
    !name.is_empty()
}
