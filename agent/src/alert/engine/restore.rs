//! What survives: a restart, and a clock that is set.

use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Inner, LOOKBACK_MS, Outcome};
use crate::alert::log::{Change, Log};
use crate::alert::page::{Page, Pairs, Status};
use crate::alert::set::SavedRule;
use crate::alert::state::{Alerts, State};

/// Key of the time at which the agent was last known to run.
const BEAT: &str = "weir";
/// How often it is written while an alert is pending: so much of its `for` a crash may cost.
const BEAT_EVERY_MS: i64 = 10_000;

#[derive(Deserialize, Serialize)]
struct Beat {
    at_ms: i64,
}

impl Inner {
    /// Takes over what a former run left in the log. Gives back what is to be forgotten, and that
    /// alerts are resolved whose rules are gone.
    pub(super) fn restore(&mut self, log: &Log, now_ms: i64) -> Change {
        let mut change = Change::default();
        let mut saved = Vec::new();
        let mut beat_ms = i64::MIN;
        for (key, bytes) in log.states() {
            if key == BEAT {
                let beat = serde_json::from_slice::<Beat>(&bytes);
                beat_ms = beat.map_or(i64::MIN, |beat| beat.at_ms);
                continue;
            }
            match SavedRule::from_bytes(&bytes) {
                Some(rule) if self.set.has(&rule) => saved.push(rule),
                _ => change.states.push((key, None)),
            }
        }
        for rule in &mut saved {
            // What was saved at a change held until the last sign of life.
            rule.state.at_ms = rule.state.at_ms.max(beat_ms.min(now_ms));
        }
        let rules = saved.len();
        self.set.restore(saved, now_ms, LOOKBACK_MS);
        let external = Pairs::clone(&self.settings.external.labels);
        let is_held = |page: &Page| {
            let rules = self.set.groups.iter().flat_map(|group| &group.rules);
            let mut alerts = rules.flat_map(|rule| rule.alerts.iter());
            alerts.any(|alert| alert.state == State::Firing && is_of(page, alert, &external))
        };
        let orphans = log.firing().into_iter().filter(|page| !is_held(page));
        change.pages = orphans.map(|page| resolved(page, now_ms)).collect();
        if rules > 0 {
            let orphans = change.pages.len();
            info!(rules, orphans, "took over the state of alerts");
        }
        change
    }

    /// The wall clock was set, or the machine slept: as after a restart, windows begin anew, and
    /// alerts stay as they are until these are full again.
    pub(super) fn step(&mut self, now_ms: i64, by_ms: i64) {
        info!(
            seconds = by_ms / 1_000,
            "the clock was set: windows of rules begin anew"
        );
        let saved = self.set.save(now_ms.saturating_sub(by_ms));
        for group in &mut self.set.groups {
            for rule in &mut group.rules {
                rule.alerts = Alerts::default();
            }
        }
        self.set.restore(saved, now_ms, LOOKBACK_MS);
        self.store.clear();
        self.feed.shift(by_ms);
        self.newest_ms = i64::MIN;
        self.beat_ms = i64::MIN;
        for immediate in self.immediate.values_mut() {
            immediate.shift(by_ms);
        }
        self.is_blank = !self.immediate.is_empty();
    }

    /// Lets the log know at times that the agent runs, while that matters.
    pub(super) fn beat(&mut self, now_ms: i64, outcome: &mut Outcome) {
        let mut rules = self.set.groups.iter().flat_map(|group| &group.rules);
        let is_pending = |alerts: &Alerts| alerts.iter().any(|alert| alert.state == State::Pending);
        if now_ms < self.beat_ms.saturating_add(BEAT_EVERY_MS)
            || !rules.any(|rule| is_pending(&rule.alerts))
        {
            return;
        }
        self.beat_ms = now_ms;
        let beat = serde_json::to_vec(&Beat { at_ms: now_ms }).ok();
        outcome.change.states.push((BEAT.to_owned(), beat));
    }
}

fn is_of(page: &Page, alert: &crate::alert::state::Alert, external: &Pairs) -> bool {
    let mut own = 0;
    let has_all = alert.labels.iter().all(|(name, value)| {
        own += 1;
        page.labels.get(name).is_some_and(|has| has == value)
    });
    let added = external
        .keys()
        .filter(|name| alert.labels.get(name).is_empty());
    has_all && page.labels.len() == own + added.count()
}

fn resolved(page: Page, now_ms: i64) -> Page {
    Page {
        status: Status::Resolved,
        at_ms: now_ms,
        ends_at_ms: now_ms,
        ..page
    }
}
