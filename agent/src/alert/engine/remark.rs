//! What the engine knows of an alert beside its rule: the causes, and what was not seen.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use weir_promql::labels::Labels;

use super::LOOKBACK_MS;
use crate::alert::cause;
use crate::alert::feed::Feed;
use crate::alert::loss::{self, INCOMPLETE};
use crate::alert::page::Pairs;
use crate::alert::rule::{self, Rule};
use crate::metrics::Family;

/// Labels by which services are told apart.
const SERVICE: [&str; 5] = ["service", "namespace", "pod", "container", "peer_group"];
/// Evidence is taken from no less and no more than this of the past.
const EVIDENCE_MS: (i64, i64) = (60_000, 600_000);

/// Windows and labels of services with what is said of them.
type Told = HashMap<(i64, [String; SERVICE.len()]), Pairs>;

/// Remarks on the alerts of one evaluation.
pub(super) struct Known<'a> {
    feed: &'a Feed,
    /// What an event changed and the ledger does not know yet.
    news: Cell<&'a [Family]>,
    /// Labels of rules that wait for completeness.
    demanded: &'a Pairs,
    at_ms: i64,
    told: RefCell<Told>,
    /// By the rules' addresses.
    missed: RefCell<HashMap<usize, Option<String>>>,
}

impl<'a> Known<'a> {
    pub(super) fn new(feed: &'a Feed, news: &'a [Family], demanded: &'a Pairs, at_ms: i64) -> Self {
        Self {
            feed,
            news: Cell::new(news),
            demanded,
            at_ms,
            told: RefCell::default(),
            missed: RefCell::default(),
        }
    }

    fn losses(&self, rule: &Rule) -> Option<String> {
        let missed = || {
            let since_ms = self.at_ms.saturating_sub(window(rule).max(EVIDENCE_MS.0));
            self.feed.losses().told(rule.inputs.as_deref(), since_ms)
        };
        let mut known = self.missed.borrow_mut();
        let key = Arc::as_ptr(&rule.written).addr();
        known.entry(key).or_insert_with(missed).clone()
    }
}

/// A rule that reads what another recorded has no window of its own: it is that of a value.
fn window(rule: &Rule) -> i64 {
    match rule.window_ms {
        0 => LOOKBACK_MS,
        window_ms => window_ms,
    }
}

impl rule::Remarks for Known<'_> {
    fn annotations(&self, rule: &Rule, alert: &Labels) -> Pairs {
        let mut pairs = Pairs::new();
        if is_about_services(rule, alert) {
            let window_ms = window(rule).clamp(EVIDENCE_MS.0, EVIDENCE_MS.1);
            match self.news.take() {
                [] => {}
                news => self.feed.count(news),
            }
            let key = (window_ms, SERVICE.map(|name| alert.get(name).to_owned()));
            let mut told = self.told.borrow_mut();
            let said = told
                .entry(key)
                .or_insert_with(|| cause::annotations(&self.feed.ledger(), alert, window_ms));
            pairs.clone_from(said);
        }
        if let Some(said) = self.losses(rule) {
            pairs.insert(INCOMPLETE.to_owned(), said);
        }
        pairs
    }

    fn holds(&self, rule: &Rule) -> bool {
        let labels = &rule.written.labels;
        let mut demanded = self.demanded.iter();
        !self.demanded.is_empty()
            && demanded.all(|(name, value)| labels.get(name) == Some(value))
            && self.losses(rule).is_some()
    }
}

fn is_about_services(rule: &Rule, alert: &Labels) -> bool {
    let names = rule.inputs.as_deref();
    !alert.get("service").is_empty()
        || names.is_none_or(|names| names.iter().any(|name| !loss::is_about_agent(name)))
}
