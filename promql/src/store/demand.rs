//! What an expression needs of the past: per selector, its range, offset and
//! lookback, and those of the subqueries around it.

use std::collections::HashMap;

use thiserror::Error;

use crate::ast::{At, Expr, ExprKind, Offset, Selector, Span};
use crate::labels::{Labels, NAME};
use crate::matcher::{Matcher, matches_all};

/// Series to keep a window of.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// How far back, in milliseconds; 0 if the last value is enough.
    pub window_ms: i64,
}

/// A selector whose window cannot be told before the query runs.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{what} at {span} needs data of a time that no window covers")]
pub struct Unbounded {
    /// The modifier.
    pub what: &'static str,
    /// Where it stands.
    pub span: Span,
}

/// The needs of an expression evaluated again and again at the present time.
///
/// `lookback_ms` is the evaluator's; `delay_ms` is how long before the newest
/// sample it is evaluated (Prometheus `query_offset`). A selector without a
/// range, offset, delay or subquery needs the last value only. Fails for `@`
/// with a fixed time and for durations that depend on the query's range.
pub fn needs(expr: &Expr, lookback_ms: i64, delay_ms: i64) -> Result<Vec<Need>, Unbounded> {
    let mut walk = Walk {
        lookback_ms,
        found: Vec::new(),
    };
    walk.visit(expr, delay_ms.max(0))?;
    Ok(walk.found)
}

struct Walk {
    lookback_ms: i64,
    found: Vec<Need>,
}

impl Walk {
    /// `back_ms` is how far before the present the expression is evaluated.
    fn visit(&mut self, expr: &Expr, back_ms: i64) -> Result<(), Unbounded> {
        match &expr.kind {
            ExprKind::Vector(selector) => {
                let back_ms = back_ms.saturating_add(offset_ms(&selector.offset, expr.span)?);
                let smoothed = if selector.smoothed {
                    self.lookback_ms
                } else {
                    0
                };
                let window = if back_ms + smoothed > 0 {
                    self.lookback_ms
                } else {
                    0
                };
                self.add(selector, back_ms.saturating_add(window), expr.span)
            }
            ExprKind::Matrix { selector, range } => {
                let extra = if selector.anchored || selector.smoothed {
                    self.lookback_ms
                } else {
                    0
                };
                let back_ms = back_ms.saturating_add(offset_ms(&selector.offset, expr.span)?);
                let range = fixed(range.constant_ms(), expr.span)?;
                let window = back_ms.saturating_add(range).saturating_add(extra);
                self.add(selector, window, expr.span)
            }
            ExprKind::Subquery {
                expr: inner,
                range,
                offset,
                ..
            } => {
                let span = expr.span;
                reject_fixed(offset, span)?;
                let range = fixed(range.constant_ms(), span)?;
                let back_ms = back_ms.saturating_add(offset_ms(offset, span)?);
                self.visit(inner, back_ms.saturating_add(range))
            }
            _ => expr
                .children()
                .try_for_each(|child| self.visit(child, back_ms)),
        }
    }

    fn add(&mut self, selector: &Selector, window_ms: i64, span: Span) -> Result<(), Unbounded> {
        reject_fixed(&selector.offset, span)?;
        let window_ms = window_ms.max(0);
        let matchers = selector.matchers.clone();
        match self.found.iter_mut().find(|need| need.matchers == matchers) {
            Some(need) => need.window_ms = need.window_ms.max(window_ms),
            None => self.found.push(Need {
                matchers,
                window_ms,
            }),
        }
        Ok(())
    }
}

fn reject_fixed(offset: &Offset, span: Span) -> Result<(), Unbounded> {
    match offset.at {
        Some(At::Time(_)) => Err(Unbounded {
            what: "@ with a fixed time",
            span,
        }),
        // At the present, the range of the query begins and ends now.
        Some(At::Start | At::End) | None => Ok(()),
    }
}

fn offset_ms(offset: &Offset, span: Span) -> Result<i64, Unbounded> {
    let Some(duration) = &offset.offset else {
        return Ok(0);
    };
    Ok(fixed(duration.constant_ms(), span)?.max(0))
}

fn fixed(ms: Option<i64>, span: Span) -> Result<i64, Unbounded> {
    ms.ok_or(Unbounded {
        what: "a duration that depends on the query",
        span,
    })
}

/// Needs by the metrics that they name, so that a series is compared with few.
#[derive(Default)]
pub(super) struct Windows {
    all: Vec<Need>,
    by_name: HashMap<String, Vec<usize>>,
    nameless: Vec<usize>,
}

impl Windows {
    pub(super) fn new(all: Vec<Need>) -> Self {
        let mut windows = Self::default();
        for (at, need) in all.iter().enumerate() {
            let mut of_name = need.matchers.iter().filter(|matcher| matcher.name == NAME);
            match of_name.find_map(Matcher::candidates) {
                Some(names) => {
                    for name in names {
                        windows.by_name.entry(name.clone()).or_default().push(at);
                    }
                }
                None => windows.nameless.push(at),
            }
        }
        Self { all, ..windows }
    }

    /// The longest window that any need asks for, in milliseconds.
    pub(super) fn of(&self, labels: &Labels) -> i64 {
        let named = self.by_name.get(labels.name());
        let near = named.into_iter().flatten().chain(&self.nameless);
        let needs = near.filter_map(|at| self.all.get(*at));
        let matching = needs.filter(|need| matches_all(&need.matchers, labels));
        matching.map(|need| need.window_ms).max().unwrap_or(0)
    }
}
