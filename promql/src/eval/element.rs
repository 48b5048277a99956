//! Operators between two elements: numbers, histograms, or one of each.

use crate::annotation::Annotations;
use crate::ast::BinaryOp;
use crate::histogram::{Combined, Histogram, IncompatibleSchemas, ResetHint};
use crate::value::SampleValue;

/// What an operator makes of two elements.
pub(super) struct Result {
    pub(super) value: SampleValue,
    /// False if a comparison does not hold.
    pub(super) keep: bool,
}

impl Result {
    fn kept(value: impl Into<SampleValue>) -> Option<Self> {
        Some(Self {
            value: value.into(),
            keep: true,
        })
    }
}

/// `-value`
pub(super) fn negate(value: &SampleValue) -> SampleValue {
    match value {
        SampleValue::Float(value) => (-value).into(),
        SampleValue::Histogram(histogram) => {
            let mut negated = (**histogram).clone();
            negated.scale(-1.0);
            negated.into()
        }
    }
}

/// The operator on numbers; a comparison yields whether it holds.
pub(super) fn scalar(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::from(u8::from(holds(op, a, b))),
    }
}

fn holds(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Greater => a > b,
        BinaryOp::Less => a < b,
        BinaryOp::GreaterEqual => a >= b,
        BinaryOp::LessEqual => a <= b,
        _ => false,
    }
}

/// The operator on elements; none, with a remark, if it does not take them.
pub(super) fn apply(
    op: BinaryOp,
    left: &SampleValue,
    right: &SampleValue,
    notes: &mut Annotations,
) -> Option<Result> {
    use SampleValue::{Float, Histogram};
    match (left, right) {
        (Float(a), Float(b)) if op.is_comparison() => Some(Result {
            value: Float(*a),
            keep: holds(op, *a, *b),
        }),
        (Float(a), Float(b)) if op.changes_metric() => Result::kept(scalar(op, *a, *b)),
        (Float(factor), Histogram(h)) | (Histogram(h), Float(factor)) if op == BinaryOp::Mul => {
            scaled(h, |h| h.scale(*factor))
        }
        (Histogram(h), Float(divisor)) if op == BinaryOp::Div => scaled(h, |h| h.divide(*divisor)),
        (Histogram(h), Float(limit)) if op == BinaryOp::TrimUpper => {
            Result::kept(h.trim(*limit, true))
        }
        (Histogram(h), Float(limit)) if op == BinaryOp::TrimLower => {
            Result::kept(h.trim(*limit, false))
        }
        (Histogram(a), Histogram(b)) if op == BinaryOp::Equal => Some(Result {
            value: left.clone(),
            keep: a.same_data(b),
        }),
        (Histogram(a), Histogram(b)) if op == BinaryOp::NotEqual => Some(Result {
            value: left.clone(),
            keep: !a.same_data(b),
        }),
        (Histogram(a), Histogram(b)) if matches!(op, BinaryOp::Add | BinaryOp::Sub) => {
            combined(op, a, b, notes)
        }
        _ => {
            notes.incompatible_types(word(left), op.symbol(), word(right));
            None
        }
    }
}

fn word(value: &SampleValue) -> &'static str {
    match value {
        SampleValue::Float(_) => "float",
        SampleValue::Histogram(_) => "histogram",
    }
}

fn scaled(histogram: &Histogram, change: impl FnOnce(&mut Histogram)) -> Option<Result> {
    let mut own = histogram.clone();
    change(&mut own);
    own.compact();
    Result::kept(own)
}

fn combined(
    op: BinaryOp,
    left: &Histogram,
    right: &Histogram,
    notes: &mut Annotations,
) -> Option<Result> {
    let mut own = left.clone();
    let subtract = op == BinaryOp::Sub;
    let result = if subtract {
        own.subtract(right)
    } else {
        own.add(right)
    };
    let operation = if subtract { "subtraction" } else { "addition" };
    match result {
        Ok(Combined {
            reset_collision,
            bounds_reconciled,
        }) => {
            if reset_collision {
                notes.reset_collision(operation);
            }
            if bounds_reconciled {
                notes.bounds_reconciled(operation);
            }
        }
        Err(IncompatibleSchemas) => {
            let symbol = op.symbol();
            notes.warn(format!(
                "incompatible bucket layout encountered for binary operator {symbol}"
            ));
            return None;
        }
    }
    if subtract {
        own.hint = ResetHint::Gauge;
    }
    own.compact();
    Result::kept(own)
}
