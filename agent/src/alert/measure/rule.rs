//! What the evaluation of rules counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracing::warn;
use weir_promql::store::{Refused, StoreStats};

use super::{NS_PER_S, family, int, one};
use crate::alert::group::{Evaluation, Group};
use crate::alert::set::RuleSet;
use crate::alert::state::State;
use crate::metrics::{self, Family, Value};
use crate::seldom::Seldom;

/// Raised by the engine.
#[derive(Debug, Default)]
pub struct Rules {
    evaluations: AtomicU64,
    failures: AtomicU64,
    templates: AtomicU64,
    missed: AtomicU64,
    took_ns: AtomicU64,
    alerting: AtomicU64,
    recording: AtomicU64,
    failing: AtomicU64,
    pending: AtomicU64,
    firing: AtomicU64,
    series: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    refused_full: AtomicU64,
    refused_bad: AtomicU64,
    events_left_out: AtomicU64,
    reacted_at_once: AtomicU64,
    reacted_late: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    loaded_ms: AtomicU64,
    is_current: AtomicU64,
    refusals_said: Seldom,
    templates_said: Seldom,
}

impl Rules {
    /// After a group was evaluated.
    pub fn evaluated(&self, group: &Group, evaluation: &Evaluation) {
        self.evaluations
            .fetch_add(group.rules.len() as u64, Relaxed);
        self.failures.fetch_add(evaluation.failures, Relaxed);
        self.templates
            .fetch_add(evaluation.expansion_failures, Relaxed);
        self.took_ns.fetch_add(group.took_ns, Relaxed);
        if let Some(why) = &evaluation.expansion_error {
            let name = &group.name;
            self.templates_said
                .run(|| warn!("a template in group {name:?} cannot be expanded: {why}"));
        }
    }

    /// After rules were evaluated or loaded.
    pub fn measure(&self, set: &RuleSet, store: StoreStats) {
        let rules = || set.groups.iter().flat_map(|group| &group.rules);
        let (mut pending, mut firing) = (0, 0);
        for alert in rules().flat_map(|rule| rule.alerts.active()) {
            match alert.state {
                State::Firing => firing += 1,
                _ => pending += 1,
            }
        }
        let alerting = rules().filter(|rule| rule.is_alert()).count();
        let failing = rules().filter(|rule| rule.last_error.is_some()).count();
        self.pending.store(pending, Relaxed);
        self.firing.store(firing, Relaxed);
        self.alerting.store(alerting as u64, Relaxed);
        let recording = rules().count() - alerting;
        self.recording.store(recording as u64, Relaxed);
        self.failing.store(failing as u64, Relaxed);
        let missed = set.groups.iter().map(|group| group.missed).sum();
        self.missed.fetch_max(missed, Relaxed);
        self.series.store(store.series as u64, Relaxed);
        self.samples.store(store.samples, Relaxed);
        self.bytes.store(store.bytes as u64, Relaxed);
        self.refused_full.fetch_max(store.refused_full, Relaxed);
        self.refused_bad.fetch_max(store.refused_bad, Relaxed);
    }

    /// Samples that found no room so far.
    pub fn refused(&self) -> u64 {
        self.refused_full.load(Relaxed)
    }

    /// A sample was refused.
    pub fn refusal(&self, why: &Refused) {
        self.refusals_said
            .run(|| warn!("rules do not see all series: {why}; see alert.store_bytes"));
    }

    /// Changed points that no immediate group could be told of.
    pub fn left_out(&self, points: u64) {
        self.events_left_out.fetch_add(points, Relaxed);
    }

    /// An immediate group was evaluated because of an event.
    pub fn reacted(&self, at_once: bool) {
        let count = match at_once {
            true => &self.reacted_at_once,
            false => &self.reacted_late,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Rules of files were put to work.
    pub fn loaded(&self, at_ms: i64) {
        self.is_current.store(1, Relaxed);
        self.loaded_ms
            .store(u64::try_from(at_ms).unwrap_or(0), Relaxed);
    }

    /// Files were read again.
    pub fn reloaded(&self, worked: bool, at_ms: i64) {
        if worked {
            self.reloads.fetch_add(1, Relaxed);
            self.loaded(at_ms);
        } else {
            self.is_current.store(0, Relaxed);
            self.reloads_refused.fetch_add(1, Relaxed);
        }
    }

    /// All families, in the order of the table.
    pub(super) fn families(&self) -> Vec<Family> {
        let labelled = |key: &'static str, pairs: &[(&str, &AtomicU64)]| {
            let point = |(value, count): &(&str, &AtomicU64)| {
                (vec![(key, (*value).to_owned())], int(count))
            };
            pairs.iter().map(point).collect::<Vec<_>>()
        };
        let evaluations = [
            ("done", &self.evaluations),
            ("failed", &self.failures),
            ("template", &self.templates),
        ];
        let reactions = [
            ("at_once", &self.reacted_at_once),
            ("late", &self.reacted_late),
        ];
        let rules = [("alerting", &self.alerting), ("recording", &self.recording)];
        let alerts = [("pending", &self.pending), ("firing", &self.firing)];
        let refused = [
            ("full", &self.refused_full),
            ("bad", &self.refused_bad),
            ("event", &self.events_left_out),
        ];
        let reloads = [
            ("applied", &self.reloads),
            ("refused", &self.reloads_refused),
        ];
        let took = self.took_ns.load(Relaxed) as f64 / NS_PER_S;
        let loaded = self.loaded_ms.load(Relaxed) as f64 / 1e3;
        vec![
            family(&metrics::RULES, labelled("kind", &rules)),
            one(&metrics::RULE_FAILING, int(&self.failing)),
            family(
                &metrics::RULE_EVALUATIONS,
                labelled("outcome", &evaluations),
            ),
            one(&metrics::RULE_EVALUATION_TIME, Value::Float(took)),
            one(&metrics::RULE_MISSED, int(&self.missed)),
            family(&metrics::RULE_REACTIONS, labelled("outcome", &reactions)),
            family(&metrics::RULE_ALERTS, labelled("state", &alerts)),
            one(&metrics::RULE_SERIES, int(&self.series)),
            one(&metrics::RULE_SAMPLES, int(&self.samples)),
            one(&metrics::RULE_STORE_SIZE, int(&self.bytes)),
            family(&metrics::RULE_REFUSED, labelled("reason", &refused)),
            family(&metrics::RULE_RELOADS, labelled("outcome", &reloads)),
            one(&metrics::RULE_CURRENT, int(&self.is_current)),
            one(&metrics::RULE_LOADED, Value::Float(loaded)),
        ]
    }
}
