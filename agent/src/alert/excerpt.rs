//! What one query selects, copied out of the rules' store: rules never wait for a query.
//!
//! What rules keep comes with its past. Everything else has one value: that of a snapshot taken for
//! the query, which stands as of the query's time if that is the present.

use weir_promql::ast::Expr;
use weir_promql::labels::{Labels, NAME};
use weir_promql::matcher::{Matcher, matches_all};
use weir_promql::store::{Need, Refused, Store, StoreLimits};
use weir_promql::value::Point;

use super::demand::selectors;
use super::feed;
use crate::metrics::Snapshot;

/// Bounds of what one query may select.
const LIMITS: StoreLimits = StoreLimits {
    series: 50_000,
    samples: 5_000_000,
    bytes: 16 << 20,
    idle_ms: i64::MAX,
};

/// What an expression selects, up to a time. A series without a past has one value, which stands for
/// that time if it is at most `present_ms` newer.
///
/// # Errors
/// If it is more than a query may select.
pub fn of(store: &Store, expr: &Expr, until_ms: i64, present_ms: i64) -> Result<Store, Refused> {
    let mut excerpt = Store::new(LIMITS);
    excerpt.set_needs(vec![Need {
        matchers: Vec::new(),
        window_ms: i64::MAX,
    }]);
    for selector in selectors(expr) {
        store.copy_to(&mut excerpt, &selector.matchers, until_ms, present_ms)?;
    }
    Ok(excerpt)
}

/// Adds the present, as of `at_ms`.
///
/// # Errors
/// As [`of`].
pub fn refresh(
    excerpt: &mut Store,
    snapshot: &Snapshot,
    target: &[(String, String)],
    expr: &Expr,
    at_ms: i64,
) -> Result<(), Refused> {
    let wanted: Vec<&[Matcher]> = selectors(expr)
        .into_iter()
        .map(|selector| &*selector.matchers)
        .collect();
    let mut failure = Ok(());
    each(snapshot, target, &wanted, |labels, start_ms, value| {
        let Some(value) = value() else { return };
        let point = Point {
            at_ms,
            start_ms,
            value,
        };
        match excerpt.append(labels, point) {
            // The rules' own last sample is as new.
            Ok(_) | Err(Refused::OutOfOrder) => {}
            Err(why) => failure = Err(why),
        }
    });
    failure
}

/// The series of a snapshot that satisfy any of the selectors.
pub fn each(
    snapshot: &Snapshot,
    target: &[(String, String)],
    wanted: &[&[Matcher]],
    mut take: impl FnMut(&Labels, i64, &mut dyn FnMut() -> Option<weir_promql::value::SampleValue>),
) {
    let may_want = |name: &str| {
        let fits = |matcher: &Matcher| matcher.name != NAME || matcher.matches(name);
        wanted.iter().any(|matchers| matchers.iter().all(fits))
    };
    feed::each(snapshot, target, may_want, |labels, start_ms, value| {
        if wanted.iter().any(|matchers| matches_all(matchers, labels)) {
            take(labels, start_ms, value);
        }
    });
}
