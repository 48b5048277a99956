//! What a tree must satisfy beyond its grammar: types, argument counts,
//! matchers that leave something out, modifiers where they make sense.

use super::{Function, ParseError};
use crate::ast::{AggregateOp, BinaryOp, Cardinality, Expr, ExprKind, Matching, Selector, Type};

/// Checks an expression and all below it.
pub(super) fn check(expr: &Expr) -> Result<(), ParseError> {
    let fail = |message: String| Err(ParseError::new(expr.span, message));
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            if selects_all(selector) {
                let message = "vector selector must contain at least one non-empty matcher";
                return fail(message.to_owned());
            }
            Ok(())
        }
        ExprKind::Paren(inner) => check(inner),
        ExprKind::Negate(inner) => {
            check(inner)?;
            check_sign(inner)
        }
        ExprKind::Subquery { expr: inner, .. } => {
            check(inner)?;
            match inner.value_type() {
                Type::Vector => Ok(()),
                other => fail(format!(
                    "subquery is only allowed on instant vector, got {} instead",
                    other.word()
                )),
            }
        }
        ExprKind::Call { function, args } => check_call(expr, function, args),
        ExprKind::Aggregate {
            op,
            expr: inner,
            param,
            ..
        } => {
            check(inner)?;
            expect_type(inner, Type::Vector, "aggregation expression")?;
            check_param(*op, param.as_deref())
        }
        ExprKind::Binary {
            op,
            left,
            right,
            return_bool,
            matching,
        } => {
            check(left)?;
            check(right)?;
            check_binary(
                expr,
                *op,
                (left.value_type(), right.value_type()),
                *return_bool,
                matching,
            )
        }
    }
}

/// Signs stand before numbers and vectors only.
pub(super) fn check_sign(inner: &Expr) -> Result<(), ParseError> {
    match inner.value_type() {
        Type::Scalar | Type::Vector => Ok(()),
        other => Err(ParseError::new(
            inner.span,
            format!(
                "unary expression only allowed on expressions of type scalar or instant vector, \
                 got {:?}",
                other.word()
            ),
        )),
    }
}

fn selects_all(selector: &Selector) -> bool {
    selector.matchers.iter().all(|matcher| matcher.matches(""))
}

fn check_call(expr: &Expr, function: &Function, args: &[Expr]) -> Result<(), ParseError> {
    let name = function.name;
    let fail = |message: String| Err(ParseError::new(expr.span, message));
    let (wanted, have) = (function.args.len(), args.len());
    let fewest = match function.optional {
        0 => wanted,
        optional => wanted - usize::from(optional.unsigned_abs()),
    };
    if have < fewest {
        let least = if function.optional == 0 {
            ""
        } else {
            "at least "
        };
        return fail(format!(
            "expected {least}{fewest} argument(s) in call to {name:?}, got {have}"
        ));
    }
    if function.optional >= 0 && have > wanted {
        let most = if function.optional == 0 {
            ""
        } else {
            "at most "
        };
        return fail(format!(
            "expected {most}{wanted} argument(s) in call to {name:?}, got {have}"
        ));
    }
    for (at, arg) in args.iter().enumerate() {
        let last = function.args.last().copied();
        let Some(wanted) = function.args.get(at).copied().or(last) else {
            return fail(format!("expected no arguments in call to {name:?}"));
        };
        expect_type(arg, wanted, &format!("call to function {name:?}"))?;
        if name == "info" && at == 1 {
            check_info_labels(arg)?;
        } else {
            check(arg)?;
        }
    }
    Ok(())
}

/// The second argument of `info` names labels, not series.
fn check_info_labels(arg: &Expr) -> Result<(), ParseError> {
    let ExprKind::Vector(selector) = &arg.kind else {
        return Err(ParseError::new(
            arg.span,
            "expected label selectors as second argument",
        ));
    };
    if selector.offset != crate::ast::Offset::default() || selector.smoothed {
        return Err(ParseError::new(
            arg.span,
            "expected label selectors without modifiers",
        ));
    }
    Ok(())
}

fn expect_type(expr: &Expr, wanted: Type, place: &str) -> Result<(), ParseError> {
    let have = expr.value_type();
    if have == wanted {
        return Ok(());
    }
    let message = format!(
        "expected type {} in {place}, got {}",
        wanted.word(),
        have.word()
    );
    Err(ParseError::new(expr.span, message))
}

fn check_param(op: AggregateOp, param: Option<&Expr>) -> Result<(), ParseError> {
    match (op.param(), param) {
        (Some(wanted), Some(param)) => {
            check(param)?;
            expect_type(param, wanted, "aggregation parameter")
        }
        _ => Ok(()),
    }
}

fn check_binary(
    expr: &Expr,
    op: BinaryOp,
    (left, right): (Type, Type),
    return_bool: bool,
    matching: &Matching,
) -> Result<(), ParseError> {
    let fail = |message: String| Err(ParseError::new(expr.span, message));
    let plain = |side: Type| matches!(side, Type::Scalar | Type::Vector);
    if !plain(left) || !plain(right) {
        return fail("binary expression must contain only scalar and instant vector types".into());
    }
    let vectors = left == Type::Vector && right == Type::Vector;
    let scalars = left == Type::Scalar && right == Type::Scalar;
    if return_bool && !op.is_comparison() {
        return fail("bool modifier can only be used on comparison operators".into());
    }
    if op.is_comparison() && scalars && !return_bool {
        return fail("comparisons between scalars must use BOOL modifier".into());
    }
    if op.is_set() && !vectors {
        return fail(format!(
            "set operator {:?} not allowed in binary scalar expression",
            op.symbol()
        ));
    }
    if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) && scalars {
        return fail(format!(
            "operator {:?} not allowed between scalars",
            op.symbol()
        ));
    }
    let fill = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !vectors && (!matching.labels.is_empty() || matching.on || fill) {
        return fail("vector matching only allowed between instant vectors".into());
    }
    if op.is_set() && matching.cardinality != Cardinality::OneToOne {
        return fail(format!(
            "no grouping allowed for {:?} operation",
            op.symbol()
        ));
    }
    if op.is_set() && fill {
        return fail(format!(
            "filling in missing series not allowed for {:?} operation",
            op.symbol()
        ));
    }
    check_on(expr, matching)
}

fn check_on(expr: &Expr, matching: &Matching) -> Result<(), ParseError> {
    let fail = |message: String| Err(ParseError::new(expr.span, message));
    if matching.on {
        let twice = matching
            .labels
            .iter()
            .find(|label| matching.include.contains(label));
        if let Some(label) = twice {
            return fail(format!(
                "label {label:?} must not occur in ON and GROUP clause at once"
            ));
        }
    }
    Ok(())
}

/// Notes for every selector whether only counts and sums of histograms are
/// looked at: the nearest call around it that reads histograms decides.
pub(super) fn mark_stats_only(expr: &mut Expr) {
    mark(expr, false);
}

fn mark(expr: &mut Expr, stats_only: bool) {
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            selector.stats_only = stats_only;
        }
        ExprKind::Negate(inner) | ExprKind::Paren(inner) => mark(inner, stats_only),
        ExprKind::Subquery { expr: inner, .. } => mark(inner, false),
        ExprKind::Aggregate {
            expr: inner, param, ..
        } => {
            mark(inner, stats_only);
            if let Some(param) = param {
                mark(param, false);
            }
        }
        ExprKind::Binary {
            op, left, right, ..
        } => {
            let trims = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
            mark(left, stats_only && !trims);
            mark(right, stats_only && !trims);
        }
        ExprKind::Call { function, args } => {
            let stats_only = match function.name {
                "histogram_count" | "histogram_sum" | "histogram_avg" => true,
                name if name.starts_with("histogram_") => false,
                _ => stats_only,
            };
            for arg in args {
                mark(arg, stats_only);
            }
        }
    }
}
