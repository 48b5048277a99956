//! The state of one rule's alerts: pending, firing, resolved (`rules/alerting.go` of Prometheus).
//!
//! Pure: time is an argument, in milliseconds since 1970. Four repairs of what Prometheus does:
//! over the limit, alerts that are there stay and one more says how many were left out; a restart
//! keeps every timestamp; what goes back to pending is reported as resolved; and a clock that steps
//! back does not hold an alert up.

mod saved;
mod update;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_promql::labels::{Labels, NAME};

pub use saved::{Saved, as_map};
pub use update::Update;

use super::name;
use super::page::{Page, Pairs, Status};

/// How long a resolved alert is kept, to be said again.
pub const RESOLVED_RETENTION_MS: i64 = 15 * 60 * 1_000;

/// Longest outage over which a pending alert goes on pending.
pub const OUTAGE_TOLERANCE_MS: i64 = 60 * 60 * 1_000;

/// Where an alert is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It fired and no longer does.
    Inactive,
    /// The expression holds, but not yet for long enough.
    Pending,
    /// It fires.
    Firing,
}

impl State {
    /// As Prometheus's API and the label `alertstate` write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Alert {
    /// What makes it this alert, `alertname` included.
    #[serde(with = "saved::as_map")]
    pub labels: Labels,
    /// What is said about it, as of the last evaluation that had it.
    pub annotations: Pairs,
    /// Where it is on its way.
    pub state: State,
    /// The expression's value, as of the last evaluation that had it.
    #[serde(with = "saved::as_bits")]
    pub value: f64,
    /// Since when the expression holds.
    pub active_at_ms: i64,
    /// Since when it fires.
    pub fired_at_ms: Option<i64>,
    /// When it stopped.
    pub resolved_at_ms: Option<i64>,
    /// Since when it fires although the expression does not hold.
    pub keep_firing_since_ms: Option<i64>,
    /// When it was last sent.
    pub last_sent_at_ms: Option<i64>,
    /// Came from before a restart and has not been seen since.
    #[serde(default)]
    pub restored: bool,
    /// What was last said of it beside the rule's own annotations.
    #[serde(default, skip_serializing_if = "Pairs::is_empty")]
    pub remarks: Pairs,
}

/// An element of the expression's result, as an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Labels of the element and the rule, `alertname` included, no metric name.
    pub labels: Labels,
    /// The annotations, expanded.
    pub annotations: Pairs,
    /// The element's value.
    pub value: f64,
}

/// What a rule says about time and number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long the expression must hold.
    pub for_ms: i64,
    /// How long an alert fires on when it no longer holds.
    pub keep_firing_for_ms: i64,
    /// Most alerts; 0 for no limit.
    pub limit: usize,
    /// Whether nothing may begin to fire now.
    pub holds: bool,
}

/// When and how pages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Between evaluations of the group.
    pub interval_ms: i64,
    /// An alert that goes on is said again after this.
    pub resend_ms: i64,
}

/// Alerts that are to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// What fires or was resolved since the last time.
    pub transitions: Vec<Page>,
    /// What was said before and still holds.
    pub reminders: Vec<Page>,
}

/// All alerts of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alerts {
    by_labels: BTreeMap<Labels, Alert>,
    /// Until then a restored alert that the expression does not give is left as it is: series and
    /// windows have to come back first.
    warm_at_ms: Option<i64>,
}

impl Alerts {
    /// Every alert, resolved ones that are kept included, in order of labels.
    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.by_labels.values()
    }

    /// Pending and firing alerts, in order of labels.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.iter().filter(|alert| alert.state != State::Inactive)
    }

    /// The highest state of all alerts.
    pub fn state(&self) -> State {
        let states = self.iter().map(|alert| alert.state);
        states.max().unwrap_or(State::Inactive)
    }

    /// The series that tell about the alerts: `ALERTS` and `ALERTS_FOR_STATE`.
    pub fn samples(&self) -> Vec<(Labels, f64)> {
        self.samples_of(|_| true)
    }

    /// The same of some alerts.
    pub fn samples_of(&self, is_wanted: impl Fn(&Labels) -> bool) -> Vec<(Labels, f64)> {
        let mut samples = Vec::new();
        for alert in self.active().filter(|alert| is_wanted(&alert.labels)) {
            let since = alert.labels.with(&[(NAME, "ALERTS_FOR_STATE")]);
            let state = (name::STATE, alert.state.word());
            let labels = alert.labels.with(&[(NAME, "ALERTS"), state]);
            samples.push((labels, 1.0));
            samples.push((since, alert.active_at_ms.div_euclid(1_000) as f64));
        }
        samples
    }

    /// Makes remarks on alerts that the expression gave at this time: on `all` of them, or only on
    /// those that are new or to be sent.
    pub fn remark(
        &mut self,
        at_ms: i64,
        sending: &Sending,
        all: bool,
        mut make: impl FnMut(&Labels) -> Pairs,
    ) {
        for alert in self.by_labels.values_mut() {
            let is_wanted = all
                || alert.active_at_ms == at_ms
                || alert.is_news()
                || alert.is_to_be_repeated(at_ms, sending.resend_ms);
            if is_wanted && alert.is_given() && !update::is_over_limit(&alert.labels) {
                alert.remarks = make(&alert.labels);
            }
        }
    }

    /// The alerts that are to be sent now; they count as sent.
    pub fn take_due(&mut self, at_ms: i64, sending: &Sending, url: &str) -> Due {
        let mut due = Due::default();
        for alert in self.by_labels.values_mut() {
            let is_news = alert.is_news();
            if is_news || alert.is_to_be_repeated(at_ms, sending.resend_ms) {
                alert.last_sent_at_ms = Some(at_ms);
                let page = alert.page(at_ms, sending, url);
                if is_news {
                    &mut due.transitions
                } else {
                    &mut due.reminders
                }
                .push(page);
            }
        }
        due
    }

    /// Pages that say of every firing alert that it is resolved: the rule is gone.
    pub fn resolve_all(&mut self, at_ms: i64, sending: &Sending, url: &str) -> Vec<Page> {
        let mut pages = Vec::new();
        for alert in self.by_labels.values_mut() {
            if alert.state == State::Firing {
                alert.resolve(at_ms);
                alert.last_sent_at_ms = Some(at_ms);
                pages.push(alert.page(at_ms, sending, url));
            }
        }
        self.by_labels.clear();
        pages
    }
}

impl Alert {
    fn new(candidate: Candidate, at_ms: i64) -> Self {
        Self {
            labels: candidate.labels,
            annotations: candidate.annotations,
            state: State::Pending,
            value: candidate.value,
            active_at_ms: at_ms,
            fired_at_ms: None,
            resolved_at_ms: None,
            keep_firing_since_ms: None,
            last_sent_at_ms: None,
            restored: false,
            remarks: Pairs::new(),
        }
    }

    /// Everything that is said about it: a remark gives way to an annotation of its name.
    pub fn said(&self) -> Pairs {
        let mut said = self.remarks.clone();
        let own = self.annotations.iter();
        said.extend(own.map(|(name, text)| (name.clone(), text.clone())));
        said
    }

    /// The value of the label `alertname`.
    pub fn name(&self) -> &str {
        self.labels.get(name::ALERT)
    }

    fn resolve(&mut self, at_ms: i64) {
        self.state = State::Inactive;
        self.resolved_at_ms = Some(at_ms);
        self.keep_firing_since_ms = None;
    }

    /// Whether the expression gave it when it was last evaluated.
    fn is_given(&self) -> bool {
        self.state != State::Inactive && self.keep_firing_since_ms.is_none() && !self.restored
    }

    /// Whether it fires or is resolved and nobody was told. With the next, `needsSending` of
    /// Prometheus.
    fn is_news(&self) -> bool {
        self.state != State::Pending
            && self
                .last_sent_at_ms
                .is_none_or(|sent| self.resolved_at_ms.is_some_and(|resolved| resolved > sent))
    }

    fn is_to_be_repeated(&self, at_ms: i64, resend_ms: i64) -> bool {
        let sent = self.last_sent_at_ms;
        self.state != State::Pending
            && sent.is_some_and(|sent| sent.saturating_add(resend_ms) < at_ms)
    }

    /// The alert as it is sent at a time.
    pub fn page(&self, at_ms: i64, sending: &Sending, url: &str) -> Page {
        let stands_ms = sending.interval_ms.max(sending.resend_ms).saturating_mul(4);
        let pairs = self.labels.iter();
        Page {
            labels: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            annotations: self.said(),
            status: match self.resolved_at_ms {
                Some(_) => Status::Resolved,
                None => Status::Firing,
            },
            at_ms,
            starts_at_ms: self.fired_at_ms.unwrap_or(self.active_at_ms),
            ends_at_ms: self
                .resolved_at_ms
                .unwrap_or_else(|| at_ms.saturating_add(stands_ms)),
            generator_url: url.to_owned(),
        }
    }
}
