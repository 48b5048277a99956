//! The YAML of promtool's unit tests of rules; unknown keys are refused.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::alert::duration;
use crate::alert::file::{Problem, schema};

/// A file of tests.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) rule_files: Option<Vec<String>>,
    #[serde(default, deserialize_with = "span")]
    pub(super) evaluation_interval: i64,
    #[serde(default)]
    pub(super) group_eval_order: Option<Vec<String>>,
    #[serde(default)]
    pub(super) tests: Option<Vec<Test>>,
    #[serde(default)]
    pub(super) fuzzy_compare: bool,
}

/// A test: series, and what the rules make of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "span")]
    pub(super) interval: i64,
    #[serde(default)]
    pub(super) input_series: Option<Vec<Series>>,
    #[serde(default)]
    pub(super) alert_rule_test: Option<Vec<AlertTest>>,
    #[serde(default)]
    pub(super) promql_expr_test: Option<Vec<QueryTest>>,
    #[serde(default)]
    pub(super) external_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) external_url: Option<String>,
    #[serde(default, deserialize_with = "time")]
    pub(super) start_timestamp: i64,
}

/// A series with its values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Series {
    #[serde(default)]
    pub(super) series: String,
    #[serde(default)]
    pub(super) values: String,
}

/// The alerts of one name that fire at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertTest {
    #[serde(default, deserialize_with = "span")]
    pub(super) eval_time: i64,
    #[serde(default)]
    pub(super) alertname: String,
    #[serde(default)]
    pub(super) exp_alerts: Option<Vec<Option<Alert>>>,
}

/// An alert.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alert {
    #[serde(default)]
    pub(super) exp_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) exp_annotations: Option<BTreeMap<String, String>>,
}

/// The result of an expression at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryTest {
    #[serde(default)]
    pub(super) expr: String,
    #[serde(default, deserialize_with = "span")]
    pub(super) eval_time: i64,
    #[serde(default)]
    pub(super) exp_samples: Option<Vec<Sample>>,
}

/// An element of a result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sample {
    #[serde(default)]
    pub(super) labels: String,
    #[serde(default)]
    pub(super) value: f64,
    #[serde(default)]
    pub(super) histogram: String,
}

/// Reads a file.
///
/// # Errors
/// With the place and what is wrong there.
pub(super) fn read(text: &str) -> Result<File, Problem> {
    let mut bytes = text.as_bytes();
    let mut documents = serde_saphyr::read_with_options(&mut bytes, schema::options());
    let first = documents.next().transpose();
    let file: Result<Option<File>, _> = first.map_err(|why| schema::problem(&why));
    Ok(file?.unwrap_or_default())
}

/// A duration in milliseconds.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map_or(Ok(0), |text| {
        duration::parse(&text).map_err(D::Error::custom)
    })
}

/// Seconds since 1970, or a time as RFC 3339 has it; in milliseconds since 1970.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(0);
    };
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.abs() < 1e15
    {
        return Ok((seconds * 1_000.0).round() as i64);
    }
    let wrong = || D::Error::custom(format!("cannot parse {text:?} to a valid timestamp"));
    DateTime::parse_from_rfc3339(&text)
        .map(|time| time.timestamp_millis())
        .map_err(|_| wrong())
}
