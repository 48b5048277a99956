//! What a store still has room for.

use super::history::History;
use super::{Refused, Store};
use crate::storage::SeriesId;

/// The list of series grows by one part in so many: they are many, and seldom new.
const GROWTH: usize = 8;
/// It grows at least by so many.
const FEWEST: usize = 64;

impl Store {
    /// Whether one more series has room.
    pub(super) fn check_series(&self) -> Result<(), Refused> {
        if self.by_labels.len() >= self.limits.series {
            return Err(Refused::Series(self.limits.series));
        }
        self.check_room()
    }

    /// Whether one more sample of a series has room. If there is none, a series that keeps no past
    /// replaces its value all the same, and one that does gives up what its window has left behind:
    /// a full store goes on with fewer samples and does not stand still.
    pub(super) fn make_room(&mut self, series: SeriesId, at_ms: i64) -> Result<(), Refused> {
        let Err(why) = self.check_room() else {
            return Ok(());
        };
        let slot = self.entries.get_mut(series.0 as usize);
        let entry = slot.and_then(Option::as_mut).ok_or(why)?;
        let before = entry.size();
        let until_ms = at_ms.saturating_sub(entry.keep_ms);
        match &mut entry.history {
            None => return Ok(()),
            Some(history) if entry.last.at_ms <= until_ms => **history = History::default(),
            Some(history) => history.drop_until(until_ms),
        }
        self.stats.apply(before, entry.size());
        self.check_room()
    }

    fn check_room(&self) -> Result<(), Refused> {
        if self.stats.samples >= self.limits.samples {
            return Err(Refused::Samples(self.limits.samples));
        }
        if self.stats().bytes >= self.limits.bytes {
            return Err(Refused::Bytes(self.limits.bytes));
        }
        Ok(())
    }

    /// Makes place for one more entry.
    pub(super) fn reserve_entry(&mut self) {
        let held = self.entries.len();
        if held == self.entries.capacity() {
            self.entries.reserve_exact((held / GROWTH).max(FEWEST));
        }
    }
}
