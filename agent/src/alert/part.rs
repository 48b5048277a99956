//! The part of a rule's result that changed series can have changed.
//!
//! Many expressions can be evaluated for some values of some labels alone: `rate(m[1m]) > 1` for
//! each series, `sum by (service) (m)` for each service. After an event only the services that it
//! happened to are looked at, however many there are. What cannot be taken apart is evaluated whole.

#[cfg(test)]
mod tests;
mod touched;

use weir_promql::ast::{AggregateOp, Expr, ExprKind, Matching, Type};
use weir_promql::labels::{Labels, NAME};
use weir_promql::matcher::{Matcher, matches_all};
use weir_promql::storage::{SeriesId, Storage, TooManySeries, Window};
use weir_promql::store::Store;
use weir_promql::value::Point;

use super::demand::selectors;
pub use touched::{Alone, Touched};
use touched::{Condition, One};

/// Functions that give each series a value of its own, by their names without `_over_time`.
const OWN: &[&str] = &[
    "abs",
    "avg",
    "ceil",
    "changes",
    "clamp",
    "clamp_max",
    "clamp_min",
    "count",
    "delta",
    "deriv",
    "exp",
    "floor",
    "idelta",
    "increase",
    "irate",
    "last",
    "ln",
    "log10",
    "log2",
    "max",
    "min",
    "predict_linear",
    "present",
    "quantile",
    "rate",
    "resets",
    "round",
    "sgn",
    "sqrt",
    "stddev",
    "stdvar",
    "sum",
];

/// Labels whose values tell parts of a result apart that do not depend on each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// All but the metric's name.
    All,
    /// These; at least one.
    Only(Vec<String>),
}

impl Keys {
    /// Those of an expression; none if it has no such parts, or nobody knows.
    pub fn of(expr: &Expr) -> Option<Self> {
        match &expr.kind {
            ExprKind::Vector(_) | ExprKind::Matrix { .. } => Some(Self::All),
            ExprKind::Subquery { expr, .. } | ExprKind::Negate(expr) | ExprKind::Paren(expr) => {
                Self::of(expr)
            }
            ExprKind::Call { function, args } => {
                let name = function.name;
                let name = name.strip_suffix("_over_time").unwrap_or(name);
                OWN.contains(&name).then(|| Self::of_sides(args.iter()))?
            }
            ExprKind::Aggregate {
                op: AggregateOp::CountValues | AggregateOp::LimitRatio | AggregateOp::Limitk,
                ..
            }
            | ExprKind::Aggregate { without: true, .. } => None,
            ExprKind::Aggregate {
                expr,
                param,
                labels,
                ..
            } => {
                let inner = Self::of_sides(param.as_deref().into_iter().chain([&**expr]))?;
                inner.and(Self::Only(labels.clone()))
            }
            ExprKind::Binary {
                left,
                right,
                matching,
                ..
            } => {
                let keys = Self::of_sides([&**left, &**right].into_iter())?;
                let is_scalar = |side: &Expr| side.value_type() == Type::Scalar;
                if is_scalar(left) || is_scalar(right) {
                    return Some(keys);
                }
                keys.and(Self::of_matching(matching)?)
            }
            ExprKind::Number(_) | ExprKind::String(_) => None,
        }
    }

    /// Of several operands; numbers must not depend on any series.
    fn of_sides<'a>(sides: impl Iterator<Item = &'a Expr>) -> Option<Self> {
        let mut keys = None;
        for side in sides {
            if matches!(side.value_type(), Type::Scalar | Type::String) {
                if !selectors(side).is_empty() {
                    return None;
                }
                continue;
            }
            let of_side = Self::of(side)?;
            keys = Some(match keys {
                None => of_side,
                Some(known) => of_side.and(known)?,
            });
        }
        keys
    }

    fn of_matching(matching: &Matching) -> Option<Self> {
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            return None;
        }
        match (matching.on, matching.labels.is_empty()) {
            (true, _) => Some(Self::Only(matching.labels.clone())),
            (false, true) => Some(Self::All),
            (false, false) => None,
        }
    }

    /// Those in both; none if that leaves nothing.
    fn and(self, other: Self) -> Option<Self> {
        let mut labels = match (self, other) {
            (Self::All, other) | (other, Self::All) => return other.some(),
            (Self::Only(labels), Self::Only(others)) => {
                let labels = labels.into_iter();
                labels
                    .filter(|label| others.contains(label))
                    .collect::<Vec<_>>()
            }
        };
        labels.dedup();
        Self::Only(labels).some()
    }

    fn some(self) -> Option<Self> {
        match &self {
            Self::Only(labels) if labels.is_empty() => None,
            _ => Some(self),
        }
    }
}

/// Whether an expression selects any metric of these names.
pub fn reads(expr: &Expr, names: &[String]) -> bool {
    let fits = |matchers: &[Matcher], name: &str| {
        let mut of_name = matchers.iter().filter(|matcher| matcher.name == NAME);
        of_name.all(|matcher| matcher.matches(name))
    };
    let mut selectors = selectors(expr).into_iter();
    selectors.any(|selector| names.iter().any(|name| fits(&selector.matchers, name)))
}

/// Values of the keys for which an expression is evaluated.
#[derive(Debug, Default, PartialEq)]
pub struct Part {
    /// Any of these.
    wanted: Vec<Condition>,
}

impl Part {
    /// What changes of these series can change in the result of an expression. None if that is not
    /// told apart by its keys once the rule has set the labels `own`.
    pub fn of<'a>(
        expr: &Expr,
        keys: &Keys,
        own: impl Iterator<Item = &'a String> + Clone,
        touched: &Touched,
    ) -> Option<Self> {
        let selectors = selectors(expr);
        let mut part = Self::default();
        for One { labels, alike, .. } in &touched.0 {
            let is_read = selectors
                .iter()
                .any(|selector| matches_all(&selector.matchers, labels));
            if !is_read {
                continue;
            }
            let equal = |name: &String| Matcher::equal(name, labels.get(name));
            let is_key = |name: &String| match keys {
                Keys::All => !labels.get(name).is_empty(),
                Keys::Only(names) => names.contains(name),
            };
            if own.clone().any(is_key) {
                return None;
            }
            let wanted = match keys {
                Keys::All => alike.clone()?,
                Keys::Only(names) => Condition::Equal {
                    matchers: names.iter().map(equal).collect(),
                    ids: None,
                },
            };
            if !part.wanted.contains(&wanted) {
                part.wanted.push(wanted);
            }
        }
        Some(part)
    }

    /// Whether nothing can have changed.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Whether an element of the result, with whatever labels it got besides, belongs to it.
    pub fn has(&self, labels: &Labels) -> bool {
        let mut wanted = self.wanted.iter();
        wanted.any(|wanted| wanted.holds(labels))
    }
}

/// The series of a store that belong to a part.
pub struct PartOfStore<'a> {
    /// All series.
    pub store: &'a Store,
    /// Which of them.
    pub part: &'a Part,
}

impl Storage for PartOfStore<'_> {
    fn select(
        &self,
        matchers: &[Matcher],
        limit: usize,
        found: &mut Vec<SeriesId>,
    ) -> Result<(), TooManySeries> {
        let mut all = Vec::with_capacity(self.part.wanted.len());
        for wanted in &self.part.wanted {
            match wanted {
                Condition::Series { id, .. } => all.push(*id),
                Condition::Equal { ids: Some(ids), .. } => all.extend_from_slice(ids),
                Condition::Equal { matchers, .. } => {
                    self.store.select(matchers, usize::MAX, &mut all)?;
                }
            }
        }
        all.retain(|id| matches_all(matchers, self.store.labels(*id)));
        all.sort_unstable();
        all.dedup();
        if all.len() > limit {
            return Err(TooManySeries);
        }
        found.extend(all);
        Ok(())
    }

    fn labels(&self, series: SeriesId) -> &Labels {
        self.store.labels(series)
    }

    fn last(&self, series: SeriesId, after_ms: i64, until_ms: i64) -> Option<Point> {
        self.store.last(series, after_ms, until_ms)
    }

    fn window(&self, series: SeriesId, after_ms: i64, until_ms: i64, window: &mut Window) {
        self.store.window(series, after_ms, until_ms, window);
    }
}
