//! Rules and alerts as `/api/v1/rules` and `/api/v1/alerts` tell them.

use serde::{Serialize, Serializer};

use super::number::exponential;
use crate::alert::page::{Pairs, rfc3339};

/// A group of rules. Times are milliseconds since the Unix epoch, lengths of time are seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// In order.
    pub rules: Vec<Rule>,
    /// Seconds between evaluations.
    pub interval: f64,
    /// Most alerts or series of a rule; 0: any number.
    pub limit: u64,
    /// Seconds that the last evaluation took.
    pub evaluation_time: f64,
    /// When that was.
    #[serde(serialize_with = "time")]
    pub last_evaluation: i64,
}

/// A rule and how it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The alert's name, or the series' that is recorded.
    pub name: String,
    /// PromQL.
    pub query: String,
    /// Those of the rule itself.
    pub labels: Pairs,
    /// How the last evaluation ended.
    pub health: Health,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// Seconds that the last evaluation took.
    pub evaluation_time: f64,
    /// When that was.
    #[serde(serialize_with = "time")]
    pub last_evaluation: i64,
    /// What it makes.
    #[serde(flatten)]
    pub kind: RuleKind,
}

/// What a rule makes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(
    tag = "type",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub enum RuleKind {
    /// Alerts.
    Alerting {
        /// The most urgent of its alerts' states.
        state: AlertState,
        /// Seconds of `for`.
        duration: f64,
        /// Seconds of `keep_firing_for`.
        keep_firing_for: f64,
        /// Templates.
        annotations: Pairs,
        /// Those that are pending or firing.
        alerts: Vec<ActiveAlert>,
    },
    /// Series.
    Recording {},
}

/// An alert that is pending or firing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveAlert {
    /// What makes it this alert.
    pub labels: Pairs,
    /// What is said about it.
    pub annotations: Pairs,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when its expression holds.
    #[serde(serialize_with = "time")]
    pub active_at: i64,
    /// Since when it fires although its expression does not hold any more.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_time")]
    pub keep_firing_since: Option<i64>,
    /// The expression's last value.
    #[serde(serialize_with = "value")]
    pub value: f64,
}

/// State of an alert or of a rule as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Not evaluated yet.
    Unknown,
    /// Its expression does not hold.
    Inactive,
    /// It does, but not for long enough.
    Pending,
    /// It does.
    Firing,
}

/// How an evaluation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// There was none.
    Unknown,
    /// Well.
    Ok,
    /// With an error.
    Err,
}

impl Rule {
    /// The alerts of an alerting rule.
    pub fn alerts(&self) -> &[ActiveAlert] {
        match &self.kind {
            RuleKind::Alerting { alerts, .. } => alerts,
            RuleKind::Recording {} => &[],
        }
    }
}

fn time<S: Serializer>(unix_ms: &i64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*unix_ms))
}

fn maybe_time<S: Serializer>(unix_ms: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(unix_ms.unwrap_or_default()))
}

fn value<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&exponential(*value))
}
