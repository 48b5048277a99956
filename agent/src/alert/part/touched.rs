//! Series that changed, and what of a rule's result they can have changed.

use std::sync::Arc;

use weir_promql::ast::Expr;
use weir_promql::labels::{Labels, NAME};
use weir_promql::matcher::{MatchOp, Matcher, matches_all};
use weir_promql::storage::{SeriesId, Storage as _};
use weir_promql::store::Store;

use super::{Keys, Part};
use crate::alert::demand::selectors;
use crate::alert::name;

/// Series that changed, looked up once for all rules that are evaluated because of them.
#[derive(Debug)]
pub struct Touched(pub(super) Vec<One>);

#[derive(Debug)]
pub(super) struct One {
    pub(super) labels: Labels,
    id: Option<SeriesId>,
    /// Whatever has its labels, if a rule looks at that.
    pub(super) alike: Option<Condition>,
}

impl Touched {
    /// These, which are in the store, there under these numbers when they were last looked at;
    /// `alike`: with what else has their labels.
    pub fn new(series: &[(Labels, Option<SeriesId>)], store: &Store, alike: bool) -> Self {
        let one = |(labels, id): &(Labels, Option<SeriesId>)| One {
            id: store.find_again(*id, labels),
            alike: alike.then(|| Condition::alike(labels, store)),
            labels: labels.clone(),
        };
        Self(series.iter().map(one).collect())
    }
}

/// What belongs to a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    /// Series with these labels.
    Equal {
        matchers: Arc<[Matcher]>,
        /// Those of the store, if they were looked up.
        ids: Option<Arc<[SeriesId]>>,
    },
    /// One series, and results that have its labels and none but those of `own` besides.
    Series {
        id: SeriesId,
        labels: Labels,
        own: Arc<[String]>,
    },
}

impl Condition {
    fn alike(labels: &Labels, store: &Store) -> Self {
        let pairs = labels.iter().filter(|(name, _)| *name != NAME);
        let matchers: Arc<[_]> = pairs
            .map(|(name, value)| Matcher::equal(name, value))
            .collect();
        let mut ids = Vec::new();
        // Without a limit it does not fail.
        let _ = store.select(&matchers, usize::MAX, &mut ids);
        Self::Equal {
            matchers,
            ids: Some(ids.into()),
        }
    }

    /// Whether labels of a result, or of a series about an alert, belong to it.
    pub(super) fn holds(&self, labels: &Labels) -> bool {
        match self {
            Self::Equal { matchers, .. } => matches_all(matchers, labels),
            Self::Series {
                labels: series,
                own,
                ..
            } => {
                let series = series.iter().filter(|(name, _)| *name != NAME);
                let is_own = |name: &str| name == NAME || own.iter().any(|own| own == name);
                let labels = labels.iter().filter(|(name, _)| !is_own(name));
                series.eq(labels)
            }
        }
    }
}

/// An expression over the series of one metric, each for itself: `rate(m[1m]) > 1`. Then a series
/// that changed is all that has to be looked at, and found without any look at others.
#[derive(Debug)]
pub struct Alone {
    /// Of its only selector.
    matchers: Vec<Matcher>,
    /// Labels that its alerts get besides.
    own: Arc<[String]>,
}

impl Alone {
    /// If an expression with these keys is one; `own` are the labels that its rule sets.
    pub fn of<'a>(expr: &Expr, keys: &Keys, own: impl Iterator<Item = &'a String>) -> Option<Self> {
        let selectors = selectors(expr);
        let ([selector], Keys::All) = (selectors.as_slice(), keys) else {
            return None;
        };
        let mut matchers = selector.matchers.iter();
        let is_name = |matcher: &Matcher| matcher.name == NAME && matcher.op == MatchOp::Equal;
        let own = own.map(String::as_str).chain([name::ALERT, name::STATE]);
        matchers.any(is_name).then(|| Self {
            matchers: selector.matchers.clone(),
            own: own.map(str::to_owned).collect(),
        })
    }

    /// As [`Part::of`].
    pub fn part(&self, touched: &Touched) -> Option<Part> {
        let mut part = Part::default();
        let read = touched.0.iter();
        for one in read.filter(|one| matches_all(&self.matchers, &one.labels)) {
            if self.own.iter().any(|name| !one.labels.get(name).is_empty()) {
                return None;
            }
            part.wanted.push(Condition::Series {
                id: one.id?,
                labels: one.labels.clone(),
                own: Arc::clone(&self.own),
            });
        }
        Some(part)
    }
}
