//! Functions on single numbers, and quantiles of a list of them.

use super::{Eval, Evaluated};
use crate::ast::{Expr, Span};
use crate::value::Sample;

pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => f64::to_radians,
        "deg" => f64::to_degrees,
        "sgn" => |value| match value {
            value if value < 0.0 => -1.0,
            value if value > 0.0 => 1.0,
            value => value,
        },
        _ => return None,
    })
}

/// The larger number; NaN if either is (Go's `math.Max`).
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The smaller number; NaN if either is (Go's `math.Min`).
pub(super) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

/// The quantile of a list, which is sorted by it; NaN sorts lowest.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let at = |index: usize| {
        values
            .get(index.min(values.len() - 1))
            .copied()
            .unwrap_or(f64::NAN)
    };
    at(lower as usize) * (1.0 - weight) + at(lower as usize + 1) * weight
}

impl Eval<'_> {
    /// `clamp`, `clamp_min`, `clamp_max` and `round`: numbers with parameters.
    pub(super) fn bounded_math(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        if name == "round" {
            let nearest = match args.get(1) {
                Some(arg) => self.scalar(arg, at_ms)?,
                None => 1.0,
            };
            // The inverse loses less than the fraction itself, such as 0.1.
            let inverse = 1.0 / nearest;
            return self.map_floats(span, args, at_ms, |value| {
                (value * inverse + 0.5).floor() / inverse
            });
        }
        let first = self.scalar_arg(span, args, 1, at_ms)?;
        let (low, high) = match name {
            "clamp_min" => (first, f64::INFINITY),
            "clamp_max" => (f64::NEG_INFINITY, first),
            _ => (first, self.scalar_arg(span, args, 2, at_ms)?),
        };
        if high < low {
            return Ok(Vec::new());
        }
        self.map_floats(span, args, at_ms, |value| max(low, min(high, value)))
    }
}
