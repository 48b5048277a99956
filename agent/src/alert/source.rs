//! What rules read from and write to: a store of series.

use std::cell::RefCell;

use weir_promql::eval::{self, EvalError, Memo, Options};
use weir_promql::labels::Labels;
use weir_promql::store::{Refused, Store};
use weir_promql::value::{Point, Sample, SampleValue, Value};

use super::expression::Expression;
use super::part::{Part, PartOfStore};

/// Answers expressions.
pub trait Query {
    /// The value of an expression at a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// With what keeps it from having one.
    fn instant(&self, expr: &Expression, at_ms: i64) -> Result<Value, String>;

    /// The same of a part of the series; what else is in the answer is true, too.
    ///
    /// # Errors
    /// As [`instant`](Self::instant).
    fn part(&self, expr: &Expression, at_ms: i64, _part: &Part) -> Result<Value, String> {
        self.instant(expr, at_ms)
    }

    /// The same for an expression that is no rule's: what it selects may have to be read first.
    ///
    /// # Errors
    /// As [`instant`](Self::instant).
    fn other(&self, expr: &Expression, at_ms: i64) -> Result<Value, String> {
        self.instant(expr, at_ms)
    }
}

/// Takes samples.
pub trait Append {
    /// Adds a sample to its series.
    ///
    /// # Errors
    /// If it is too old, or there is no room.
    fn append(&mut self, labels: &Labels, at_ms: i64, value: SampleValue) -> Result<(), Refused>;
}

/// A store with the way in which it is queried, and what queries found out since it was made.
pub struct Series<'a> {
    /// The series.
    pub(super) store: &'a mut Store,
    /// How expressions are evaluated.
    pub(super) options: &'a Options,
    memo: RefCell<Memo>,
}

impl<'a> Series<'a> {
    /// A store that is changed only through what this gives, as long as it is there.
    pub fn new(store: &'a mut Store, options: &'a Options) -> Self {
        Self {
            store,
            options,
            memo: RefCell::default(),
        }
    }
}

impl Query for Series<'_> {
    fn instant(&self, expr: &Expression, at_ms: i64) -> Result<Value, String> {
        let mut memo = self.memo.borrow_mut();
        let memo = &mut memo;
        value(eval::instant_with(
            self.store,
            expr.tree(),
            at_ms,
            self.options,
            memo,
        ))
    }

    fn part(&self, expr: &Expression, at_ms: i64, part: &Part) -> Result<Value, String> {
        let store = PartOfStore {
            store: self.store,
            part,
        };
        value(eval::instant(&store, expr.tree(), at_ms, self.options))
    }
}

fn value(outcome: Result<eval::Outcome, EvalError>) -> Result<Value, String> {
    let value = outcome.map(|outcome| outcome.value);
    value.map_err(|why| match why {
        EvalError::Invalid { message, .. } => message,
        other => other.to_string(),
    })
}

impl Append for Series<'_> {
    fn append(&mut self, labels: &Labels, at_ms: i64, value: SampleValue) -> Result<(), Refused> {
        let point = Point {
            at_ms,
            start_ms: 0,
            value,
        };
        let series = self.store.append(labels, point)?;
        self.memo.get_mut().forget(series);
        Ok(())
    }
}

/// The result of a rule's expression as a vector: a number becomes one sample without labels.
///
/// # Errors
/// If it is neither.
pub fn vector(value: Value) -> Result<Vec<Sample>, String> {
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar(value) => Ok(vec![Sample::new(Labels::empty(), value)]),
        Value::String(_) | Value::Matrix(_) => {
            Err("rule result is not a vector or scalar".to_owned())
        }
    }
}
