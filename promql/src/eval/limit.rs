//! How queries are evaluated and bounded, and why they fail.

use std::time::Instant;

use thiserror::Error;

use crate::ast::Span;

/// How queries are evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a value counts after its time, in milliseconds.
    pub lookback_ms: i64,
    /// Steps of subqueries that name none, in milliseconds.
    pub subquery_step_ms: i64,
    /// Names are dropped when the query ends, not at the function that calls
    /// for it (Prometheus's feature `promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// Start times of counters tell resets and births (Prometheus's feature
    /// `use-start-timestamps`).
    pub start_timestamps: bool,
    /// The labels `__type__` and `__unit__` are looked at.
    pub type_and_unit: bool,
    /// Bounds of one query.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            delayed_name_removal: false,
            start_timestamps: true,
            type_and_unit: false,
            limits: Limits::default(),
        }
    }
}

/// Bounds of one query.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples touched, counted at every step again; a histogram counts for
    /// its size. Bounds time as well as memory.
    pub samples: u64,
    /// Series that one selector may match.
    pub series: usize,
    /// Steps of a range query or of one subquery.
    pub steps: u64,
    /// When a query gives up; looked at whenever it has touched samples.
    pub deadline: Option<Instant>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            samples: 50_000_000,
            series: 100_000,
            steps: 11_000,
            deadline: None,
        }
    }
}

/// Why a query has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EvalError {
    /// The bound on samples.
    #[error("query touches more than {0} samples")]
    Samples(u64),
    /// The bound on time.
    #[error("query takes too long")]
    Time,
    /// The bound on series.
    #[error("{span}: selector matches more than {limit} series")]
    Series {
        /// Where the selector stands.
        span: Span,
        /// The bound.
        limit: usize,
    },
    /// The bound on steps.
    #[error("{span}: more than {limit} steps")]
    Steps {
        /// Where the subquery stands.
        span: Span,
        /// The bound.
        limit: u64,
    },
    /// The data or an argument does not allow the operation.
    #[error("{span}: {message}")]
    Invalid {
        /// Where it failed.
        span: Span,
        /// Why.
        message: String,
    },
}
