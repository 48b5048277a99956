//! Text to tree: PromQL as of Prometheus 3.14, experimental syntax included.
//! Errors say what and where. Depth and length are bounded, so that no text
//! can exhaust the stack.

mod check;
mod cursor;
mod duration;
mod expr;
mod function;
mod lex;
mod matching;
mod selector;

use thiserror::Error;

use crate::ast::{Expr, Span};
use crate::labels::Labels;

pub use function::{Function, functions};

/// Longest expression, in bytes.
pub const MAX_TEXT: usize = 100_000;

/// Deepest nesting of an expression.
pub const MAX_DEPTH: usize = 100;

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{span}: parse error: {message}")]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
        }
    }
}

/// Parses and checks an expression.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = expr::Parser::new(text)?;
    let mut expr = parser.whole_expression()?;
    check::check(&expr)?;
    check::mark_stats_only(&mut expr);
    Ok(expr)
}

/// Parses the labels of one series, such as `name{a="b"}`.
pub fn parse_labels(text: &str) -> Result<Labels, ParseError> {
    let mut parser = expr::Parser::new(text)?;
    let labels = parser.series_labels()?;
    parser.expect_end()?;
    Ok(labels)
}

/// Parses a duration such as `1h30m` or a number of seconds, in milliseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let seconds = lex::duration_seconds(digits).or_else(|| lex::number(digits))?;
    let ms = (seconds * 1000.0).round();
    let signed = if digits.len() == text.len() { ms } else { -ms };
    (signed.abs() < (1i64 << 60) as f64).then_some(signed as i64)
}

#[cfg(test)]
mod tests;
