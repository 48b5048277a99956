//! What an event's evaluation leaves undone so that its pages go out first: series that tell about
//! alerts, and the counts that later pages are explained by. It is done before anything else looks.

use super::Inner;
use crate::alert::group::{Evaluation, Unwritten};
use crate::alert::source::Series;
use crate::metrics::Family;

/// What is to be done.
#[derive(Default)]
pub(super) struct Unsettled {
    /// Groups' places, and which of their alerts' series are to be written.
    unwritten: Vec<(usize, Vec<Unwritten>)>,
    /// Points that the ledger does not know yet.
    uncounted: Vec<Family>,
}

impl Unsettled {
    /// Takes over what a group's evaluation left.
    pub(super) fn add(&mut self, place: usize, evaluation: &mut Evaluation) {
        if !evaluation.unwritten.is_empty() {
            let unwritten = std::mem::take(&mut evaluation.unwritten);
            self.unwritten.push((place, unwritten));
        }
    }

    /// Points to be counted.
    pub(super) fn count(&mut self, families: &[Family]) {
        self.uncounted.extend_from_slice(families);
    }
}

impl Inner {
    /// Does what was left undone.
    pub(super) fn settle(&mut self) {
        if !self.unsettled.uncounted.is_empty() {
            self.feed.count(&self.unsettled.uncounted);
            self.unsettled.uncounted.clear();
        }
        self.settle_groups();
    }

    /// Writes the series that tell about alerts.
    pub(super) fn settle_groups(&mut self) {
        let mut source = Series::new(&mut self.store, &self.options);
        for (place, unwritten) in self.unsettled.unwritten.drain(..) {
            if let Some(group) = self.set.groups.get_mut(place) {
                // Refusals are kept with the rules, and counted by the store.
                group.settle(&mut source, unwritten, &mut Evaluation::default());
            }
        }
    }
}
