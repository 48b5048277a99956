//! One evaluation's step of the state machine.

use std::collections::BTreeMap;

use weir_promql::labels::{Labels, LabelsBuilder};

use super::{Alert, Alerts, Candidate, RESOLVED_RETENTION_MS, State, Terms};
use crate::alert::name;

/// The label of the alert that stands for those over the limit.
const OVER_LIMIT: &str = "weir_over_limit";

/// What an evaluation did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Alerts that were left out because of the limit.
    pub left_out: usize,
    /// Whether anything is to be stored: an alert came, went or changed its state.
    pub changed: bool,
    /// Alerts that fired and are pending again, because `for` was raised, as resolved.
    pub demoted: Vec<Alert>,
}

impl Alerts {
    /// Takes the expression's result into account.
    ///
    /// # Errors
    /// If two elements have the same labels; nothing changes then.
    pub fn update(
        &mut self,
        candidates: Vec<Candidate>,
        terms: &Terms,
        at_ms: i64,
    ) -> Result<Update, String> {
        self.update_part(candidates, terms, at_ms, |_| true)
    }

    /// The same if only a part of the result was asked for: the other alerts stay as they are.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn update_part(
        &mut self,
        candidates: Vec<Candidate>,
        terms: &Terms,
        at_ms: i64,
        was_asked: impl Fn(&Labels) -> bool,
    ) -> Result<Update, String> {
        let mut present = BTreeMap::new();
        for candidate in candidates {
            if present
                .insert(candidate.labels.clone(), candidate)
                .is_some()
            {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels"
                        .to_owned(),
                );
            }
        }
        self.follow_clock(at_ms);
        let left_out = self.limit(&mut present, terms, at_ms);
        let mut update = Update {
            left_out,
            ..Update::default()
        };
        let marks = |alert: &Alert| (alert.state, alert.active_at_ms, alert.keep_firing_since_ms);
        let cold = self.warm_at_ms.is_some_and(|warm_at| at_ms < warm_at);
        self.by_labels.retain(|labels, alert| {
            let before = marks(alert);
            let stays = match present.remove(labels) {
                Some(candidate) => {
                    alert.refresh(candidate, at_ms);
                    update.demoted.extend(alert.advance(terms, at_ms));
                    true
                }
                None if (cold && alert.restored) || !was_asked(labels) => true,
                None => alert.absent(terms, at_ms),
            };
            update.changed |= !stays || before != marks(alert);
            stays
        });
        update.changed |= !present.is_empty();
        for (labels, candidate) in present {
            let mut alert = Alert::new(candidate, at_ms);
            update.demoted.extend(alert.advance(terms, at_ms));
            self.by_labels.insert(labels, alert);
        }
        if !cold {
            self.warm_at_ms = None;
        }
        Ok(update)
    }

    /// A clock that stepped back must not keep alerts from firing, from being said again or from
    /// being forgotten: no timestamp is later than now.
    fn follow_clock(&mut self, at_ms: i64) {
        for alert in self.by_labels.values_mut() {
            alert.active_at_ms = alert.active_at_ms.min(at_ms);
            for time in [
                &mut alert.fired_at_ms,
                &mut alert.resolved_at_ms,
                &mut alert.keep_firing_since_ms,
                &mut alert.last_sent_at_ms,
            ] {
                *time = time.map(|time| time.min(at_ms));
            }
        }
    }

    /// Takes out what is over the limit and puts one alert in its place; says how many.
    fn limit(&self, present: &mut BTreeMap<Labels, Candidate>, terms: &Terms, at_ms: i64) -> usize {
        if terms.limit == 0 {
            return 0;
        }
        let stays = |alert: &&Alert| {
            !is_over_limit(&alert.labels)
                && (present.contains_key(&alert.labels) || alert.keeps_firing(terms, at_ms))
        };
        let mut room = terms
            .limit
            .saturating_sub(self.active().filter(stays).count());
        let mut left_out = 0;
        let mut first = None;
        present.retain(|labels, candidate| {
            let is_there = self.by_labels.get(labels);
            if is_there.is_some_and(|alert| alert.state != State::Inactive) {
                return true;
            }
            if room > 0 {
                room -= 1;
                return true;
            }
            left_out += 1;
            first.get_or_insert_with(|| candidate.clone());
            false
        });
        if let Some(first) = first {
            let summary = summary(&first, left_out, terms.limit);
            present.insert(summary.labels.clone(), summary);
        }
        left_out
    }
}

/// Whether an alert stands for those that are over the limit.
pub(super) fn is_over_limit(labels: &Labels) -> bool {
    !labels.get(OVER_LIMIT).is_empty()
}

/// The alert that stands for all that are over the limit.
fn summary(first: &Candidate, left_out: usize, limit: usize) -> Candidate {
    let alert = first.labels.get(name::ALERT);
    let mut labels = LabelsBuilder::default();
    for label in [name::ALERT, "severity"] {
        labels.set(label, first.labels.get(label));
    }
    labels.set(OVER_LIMIT, "true");
    let text = format!("{left_out} more alerts of {alert} than its group's limit of {limit}");
    Candidate {
        labels: labels.build(),
        annotations: [("summary".to_owned(), text)].into(),
        value: left_out as f64,
    }
}

impl Alert {
    /// The expression gives it again.
    fn refresh(&mut self, candidate: Candidate, at_ms: i64) {
        if self.state == State::Inactive {
            *self = Self::new(candidate, at_ms);
            return;
        }
        self.value = candidate.value;
        self.annotations = candidate.annotations;
        self.keep_firing_since_ms = None;
        self.restored = false;
    }

    /// From pending to firing when the time has come; and back, if `for` was raised meanwhile:
    /// what was sent is then to be taken back.
    fn advance(&mut self, terms: &Terms, at_ms: i64) -> Option<Self> {
        let held_long_enough = at_ms.saturating_sub(self.active_at_ms) >= terms.for_ms;
        if self.state == State::Pending && held_long_enough && terms.holds {
            return None;
        }
        if self.state == State::Pending && held_long_enough {
            self.state = State::Firing;
            self.fired_at_ms = Some(at_ms);
        } else if self.state == State::Firing && !held_long_enough {
            let mut was = self.clone();
            self.state = State::Pending;
            self.fired_at_ms = None;
            self.last_sent_at_ms = None;
            self.keep_firing_since_ms = None;
            if was.last_sent_at_ms.is_some() {
                was.resolve(at_ms);
                return Some(was);
            }
        }
        None
    }

    /// Whether it goes on firing if the expression does not give it.
    fn keeps_firing(&self, terms: &Terms, at_ms: i64) -> bool {
        let since = self.keep_firing_since_ms.unwrap_or(at_ms);
        self.state == State::Firing
            && terms.keep_firing_for_ms > 0
            && at_ms.saturating_sub(since) < terms.keep_firing_for_ms
    }

    /// The expression does not give it; false if it is to be forgotten.
    fn absent(&mut self, terms: &Terms, at_ms: i64) -> bool {
        if self.keeps_firing(terms, at_ms) {
            self.keep_firing_since_ms.get_or_insert(at_ms);
            return true;
        }
        match self.state {
            State::Pending => false,
            State::Firing => {
                self.resolve(at_ms);
                true
            }
            State::Inactive => self
                .resolved_at_ms
                .is_none_or(|resolved| at_ms.saturating_sub(resolved) <= RESOLVED_RETENTION_MS),
        }
    }
}
