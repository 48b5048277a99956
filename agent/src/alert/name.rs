//! What Prometheus 3 accepts as a name. By default names are any UTF-8 (`model.UTF8Validation` in
//! prometheus/common); Prometheus 2 had the narrower `[a-zA-Z_:][a-zA-Z0-9_:]*`.

/// The label that carries a metric's name.
pub const METRIC: &str = "__name__";
/// The label that carries an alert's name.
pub const ALERT: &str = "alertname";
/// The label that carries an alert's state, in the series that tell about alerts.
pub const STATE: &str = "alertstate";

/// Whether a rule may record into a metric of this name.
pub fn is_metric(name: &str) -> bool {
    !name.is_empty()
}

/// Whether a rule may set a label of this name.
pub fn is_label(name: &str) -> bool {
    !name.is_empty() && name != METRIC
}
