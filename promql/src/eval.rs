//! Evaluates expressions step by step: at every step a tree yields a number, a
//! text or a vector. What a query may touch is bounded; no data and no
//! expression makes it panic.

mod aggregate;
mod binary;
mod call;
mod classic;
mod clock;
mod element;
mod extended;
mod group;
mod hash;
mod info;
mod instant_rate;
mod label;
mod limit;
mod math;
mod memo;
mod native;
mod over_range;
mod over_time;
mod rate;
mod regression;
mod selector;
mod set;
mod sort;
mod subquery;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

pub use limit::{EvalError, Limits, Options};
pub use memo::Memo;

use hash::QuickSet;

use crate::annotation::Annotations;
use crate::ast::{Expr, ExprKind, Span, Type};
use crate::labels::Labels;
use crate::storage::{SeriesId, Storage, Window};
use crate::value::{Point, Sample, Series, Value};

/// The answer to a query.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The result.
    pub value: Value,
    /// What is to be said about it.
    pub annotations: Annotations,
    /// Samples touched.
    pub samples: u64,
}

/// The times at which a query is evaluated, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct TimeRange {
    /// First step.
    pub start_ms: i64,
    /// Last possible step.
    pub end_ms: i64,
    /// Distance of steps; positive.
    pub step_ms: i64,
}

/// Evaluates an expression at one time.
pub fn instant(
    storage: &dyn Storage,
    expr: &Expr,
    at_ms: i64,
    options: &Options,
) -> Result<Outcome, EvalError> {
    instantly(storage, expr, at_ms, options, None)
}

/// Like [`instant`], and shares work with other queries over the same storage.
pub fn instant_with(
    storage: &dyn Storage,
    expr: &Expr,
    at_ms: i64,
    options: &Options,
    memo: &mut Memo,
) -> Result<Outcome, EvalError> {
    instantly(storage, expr, at_ms, options, Some(memo))
}

fn instantly(
    storage: &dyn Storage,
    expr: &Expr,
    at_ms: i64,
    options: &Options,
    memo: Option<&mut Memo>,
) -> Result<Outcome, EvalError> {
    let range = TimeRange {
        start_ms: at_ms,
        end_ms: at_ms,
        step_ms: 0,
    };
    let mut eval = Eval::new(storage, options, range);
    eval.memo = memo;
    let value = match eval.top(expr, at_ms)? {
        Data::Scalar(value) => Value::Scalar(value),
        Data::String(text) => Value::String(text),
        Data::Vector(vector) => Value::Vector(vector),
        Data::Matrix(matrix) => Value::Matrix(matrix),
    };
    Ok(eval.outcome(value))
}

/// Evaluates an expression at every step of a range.
pub fn range(
    storage: &dyn Storage,
    expr: &Expr,
    range: TimeRange,
    options: &Options,
) -> Result<Outcome, EvalError> {
    let invalid = |message: &str| EvalError::Invalid {
        span: expr.span,
        message: message.into(),
    };
    if !matches!(expr.value_type(), Type::Scalar | Type::Vector) {
        return Err(invalid(
            "invalid expression type for range query, must be Scalar or instant Vector",
        ));
    }
    if range.step_ms <= 0 {
        return Err(invalid("step of a range query must be positive"));
    }
    let mut eval = Eval::new(storage, options, range);
    eval.check_steps(expr.span, range.start_ms, range.end_ms, range.step_ms)?;
    let mut columns = Columns::default();
    let mut at_ms = range.start_ms;
    while at_ms <= range.end_ms {
        let vector = match eval.top(expr, at_ms)? {
            Data::Scalar(value) => vec![Sample::new(Labels::empty(), value)],
            Data::Vector(vector) => vector,
            Data::String(_) | Data::Matrix(_) => Vec::new(),
        };
        columns.push(at_ms, vector);
        match at_ms.checked_add(range.step_ms) {
            Some(next) => at_ms = next,
            None => break,
        }
    }
    Ok(eval.outcome(Value::Matrix(columns.series())))
}

/// Collects vectors of successive steps into series.
#[derive(Default)]
struct Columns {
    series: Vec<Series>,
    known: HashMap<Labels, usize>,
}

impl Columns {
    fn push(&mut self, at_ms: i64, vector: Vec<Sample>) {
        for sample in vector {
            let point = Point {
                at_ms,
                start_ms: 0,
                value: sample.value,
            };
            match self.known.get(&sample.labels) {
                Some(at) => self.series[*at].points.push(point),
                None => {
                    self.known.insert(sample.labels.clone(), self.series.len());
                    self.series.push(Series {
                        labels: sample.labels,
                        points: vec![point],
                    });
                }
            }
        }
    }

    fn series(mut self) -> Vec<Series> {
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.series
    }
}

/// What a tree yields at one step.
enum Data {
    Scalar(f64),
    String(String),
    Vector(Vec<Sample>),
    Matrix(Vec<Series>),
}

type Evaluated<T> = Result<T, EvalError>;

/// The state of one query.
struct Eval<'a> {
    storage: &'a dyn Storage,
    options: &'a Options,
    range: TimeRange,
    notes: Annotations,
    samples: u64,
    /// Series by the selector's number: selected once for all steps.
    selected: Vec<Option<Rc<[SeriesId]>>>,
    /// Results of subqueries' steps, by their number and time.
    steps: subquery::Memo,
    regexes: HashMap<String, regex::Regex>,
    /// Memory that is used again from series to series.
    window: Window,
    /// What other queries found out.
    memo: Option<&'a mut Memo>,
    /// Whoever called a function over ranges does not read names: they may stay.
    names_unread: bool,
}

impl<'a> Eval<'a> {
    fn new(storage: &'a dyn Storage, options: &'a Options, range: TimeRange) -> Self {
        Self {
            storage,
            options,
            range,
            notes: Annotations::default(),
            samples: 0,
            selected: Vec::new(),
            steps: subquery::Memo::default(),
            regexes: HashMap::new(),
            window: Window::default(),
            memo: None,
            names_unread: false,
        }
    }

    fn outcome(self, value: Value) -> Outcome {
        Outcome {
            value,
            annotations: self.notes,
            samples: self.samples,
        }
    }

    /// Evaluates the whole tree at one step.
    fn top(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Data> {
        let mut data = self.eval(expr, at_ms)?;
        match &mut data {
            Data::Vector(vector) => self.drop_names(vector, expr.span)?,
            Data::Matrix(matrix) => matrix.sort_by(|a, b| a.labels.cmp(&b.labels)),
            Data::Scalar(_) | Data::String(_) => {}
        }
        Ok(data)
    }

    fn drop_names(&self, vector: &mut [Sample], span: Span) -> Evaluated<()> {
        let mut dropped = false;
        for sample in vector.iter_mut().filter(|sample| sample.drop_name) {
            sample.labels = sample.labels.without_metadata();
            sample.drop_name = false;
            dropped = true;
        }
        if dropped {
            self.check_unique(vector, span)
        } else {
            Ok(())
        }
    }

    fn check_unique(&self, vector: &[Sample], span: Span) -> Evaluated<()> {
        if vector.len() < 2 {
            return Ok(());
        }
        let mut seen = QuickSet::with_capacity_and_hasher(vector.len(), Default::default());
        if vector.iter().all(|sample| seen.insert(&sample.labels)) {
            return Ok(());
        }
        Err(invalid(
            span,
            "vector cannot contain metrics with the same labelset",
        ))
    }

    fn eval(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Data> {
        match &expr.kind {
            ExprKind::Number(value) => Ok(Data::Scalar(*value)),
            ExprKind::String(text) => Ok(Data::String(text.clone())),
            ExprKind::Paren(inner) => self.eval(inner, at_ms),
            ExprKind::Vector(selector) => self
                .instant_selector(selector, expr.span, at_ms)
                .map(Data::Vector),
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => {
                self.plain_matrix(expr, at_ms).map(Data::Matrix)
            }
            ExprKind::Call { function, args } => self.call(expr.span, function.name, args, at_ms),
            ExprKind::Aggregate { .. } => self.aggregate(expr, at_ms).map(Data::Vector),
            ExprKind::Binary { .. } => self.binary(expr, at_ms),
            ExprKind::Negate(inner) => self.negate(inner, at_ms),
        }
    }

    fn negate(&mut self, inner: &Expr, at_ms: i64) -> Evaluated<Data> {
        match self.eval(inner, at_ms)? {
            Data::Scalar(value) => Ok(Data::Scalar(-value)),
            Data::Vector(mut vector) => {
                for sample in &mut vector {
                    sample.value = element::negate(&sample.value);
                    self.forget_name(sample);
                }
                self.unique_unless_delayed(&vector, inner.span)?;
                Ok(Data::Vector(vector))
            }
            other => Ok(other),
        }
    }

    fn vector(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Vec<Sample>> {
        match self.eval(expr, at_ms)? {
            Data::Vector(vector) => Ok(vector),
            _ => Err(invalid(expr.span, "expected an instant vector")),
        }
    }

    fn scalar(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<f64> {
        match self.eval(expr, at_ms)? {
            Data::Scalar(value) => Ok(value),
            _ => Err(invalid(expr.span, "expected a scalar")),
        }
    }

    /// Marks a sample as no longer being what its name says.
    fn forget_name(&self, sample: &mut Sample) {
        if self.options.delayed_name_removal {
            sample.drop_name = true;
        } else {
            sample.labels = sample.labels.without_metadata();
        }
    }

    fn unique_unless_delayed(&self, vector: &[Sample], span: Span) -> Evaluated<()> {
        if self.options.delayed_name_removal {
            Ok(())
        } else {
            self.check_unique(vector, span)
        }
    }

    /// Counts samples against the limit.
    fn spend(&mut self, samples: u64) -> Evaluated<()> {
        self.samples = self.samples.saturating_add(samples);
        let limit = self.options.limits.samples;
        if self.samples > limit {
            return Err(EvalError::Samples(limit));
        }
        match self.options.limits.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(EvalError::Time),
            _ => Ok(()),
        }
    }

    fn check_steps(&self, span: Span, start_ms: i64, end_ms: i64, step_ms: i64) -> Evaluated<()> {
        let limit = self.options.limits.steps;
        let span_ms = end_ms.saturating_sub(start_ms).max(0);
        if (span_ms / step_ms.max(1)) as u64 >= limit {
            return Err(EvalError::Steps { span, limit });
        }
        Ok(())
    }
}

fn invalid(span: Span, message: impl Into<String>) -> EvalError {
    EvalError::Invalid {
        span,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
