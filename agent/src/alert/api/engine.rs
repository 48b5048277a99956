//! What the API asks of the rest of the agent. Calls block; the API gives them a thread.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::alert::Group;
use super::answer::Failure;
use super::value::Value;
use crate::alert::page::Pairs;

/// An expression and its bound.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// PromQL.
    pub text: &'a str,
    /// When the answer comes too late to be of use: evaluation should give up with
    /// [`Kind::Timeout`](super::Kind::Timeout).
    pub deadline: Instant,
    /// `lookback_delta` in milliseconds, if asked for.
    pub lookback_ms: Option<i64>,
}

/// From when to when, in steps. Milliseconds; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Since the Unix epoch.
    pub start_ms: i64,
    /// Since the Unix epoch, not before the start.
    pub end_ms: i64,
    /// At least 1.
    pub step_ms: i64,
}

/// A value and what is to be said about it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What may make it wrong.
    pub warnings: Vec<String>,
    /// What may surprise.
    pub infos: Vec<String>,
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// `counter`, `gauge`, `histogram` or `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the number means.
    pub help: String,
    /// Its unit, or nothing.
    pub unit: String,
}

/// Answers queries; shared by all requests.
pub trait Engine: Send + Sync + 'static {
    /// The value of an expression at an instant, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// If it cannot be parsed or evaluated, or would touch too much.
    fn instant(&self, query: Query<'_>, at_ms: i64) -> Result<Answer, Failure>;

    /// The value of an expression over time: a matrix.
    ///
    /// # Errors
    /// As [`instant`](Self::instant).
    fn range(&self, query: Query<'_>, span: Span) -> Result<Answer, Failure>;

    /// The labels of the series that match one of the selectors and have a sample between the two
    /// times, in milliseconds since the Unix epoch; without a selector those of all. At most
    /// `limit`, if that is not 0.
    ///
    /// # Errors
    /// If a selector cannot be parsed, or if there are more than the engine tells.
    fn series(
        &self,
        selectors: &[String],
        between_ms: (i64, i64),
        limit: usize,
    ) -> Result<Vec<Pairs>, Failure>;

    /// What metrics are, by name.
    fn metadata(&self) -> BTreeMap<String, Vec<Metadata>>;

    /// The rules in their groups, with their state.
    fn groups(&self) -> Vec<Group>;
}
