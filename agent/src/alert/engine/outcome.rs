//! What evaluations changed, on its way to the log.

use crate::alert::group::{Evaluation, Group};
use crate::alert::log::{Change, Log};
use crate::alert::page::{Page, Pairs};
use crate::alert::set::SavedRule;

/// What came of one or more evaluations.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) change: Change,
    reminders: Vec<Page>,
}

impl Outcome {
    /// Adds what a group's evaluation brought.
    pub(super) fn add(&mut self, group: &Group, evaluation: Evaluation, at_ms: i64) {
        self.change.pages.extend(evaluation.transitions);
        self.reminders.extend(evaluation.reminders);
        for place in evaluation.changed {
            let saved = SavedRule::new(group, &group.rules[place], at_ms);
            self.change.states.push((saved.key(), saved.to_bytes()));
        }
    }

    /// Hands everything to the log, in memory; says whether there is something to be written.
    pub(super) fn hand_over(mut self, log: &Log, external: &Pairs) -> bool {
        for page in self.change.pages.iter_mut().chain(&mut self.reminders) {
            carry(page, external);
        }
        let changes = !self.change.pages.is_empty() || !self.change.states.is_empty();
        if changes {
            log.take(self.change);
        }
        log.refresh(self.reminders);
        changes
    }
}

/// Gives a page the external labels, unless it has one of that name.
pub(super) fn carry(page: &mut Page, external: &Pairs) {
    for (name, value) in external {
        let own = page.labels.entry(name.clone()).or_default();
        if own.is_empty() {
            own.clone_from(value);
        }
    }
}
