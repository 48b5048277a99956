//! Series in memory, bounded in number, samples and bytes. Of every series the
//! last value is kept; a window of the past only where an expression needs it.

mod chunk;
mod copy;
mod demand;
mod history;
mod index;
mod limit;
mod room;

use std::sync::Arc;

use hashbrown::HashTable;

use crate::histogram::{Histogram, ResetHint};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::storage::{SeriesId, Storage, TooManySeries, Window};
use crate::value::{Point, SampleValue};

pub use demand::{Need, Unbounded, needs};
pub use limit::{Refused, StoreLimits, StoreStats};

use demand::Windows;
use history::History;
use index::{Candidates, Index};

#[derive(Clone)]
struct Entry {
    labels: Labels,
    last: Point,
    keep_ms: i64,
    history: Option<Box<History>>,
}

/// Series in memory.
pub struct Store {
    limits: StoreLimits,
    windows: Windows,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Numbers of entries, found by the hash of their labels.
    by_labels: HashTable<u32>,
    index: Index,
    stats: StoreStats,
}

impl Store {
    /// An empty store.
    pub fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            windows: Windows::default(),
            entries: Vec::new(),
            free: Vec::new(),
            by_labels: HashTable::new(),
            index: Index::default(),
            stats: StoreStats::default(),
        }
    }

    /// What the store holds and has refused.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            bytes: self.stats.bytes + self.index.heap_bytes(),
            ..self.stats
        }
    }

    /// Removes all series; limits and needs stay.
    pub fn clear(&mut self) {
        *self = Self {
            windows: std::mem::take(&mut self.windows),
            ..Self::new(self.limits)
        };
    }

    /// Changes the bounds for what comes; what is held and over them stays.
    pub fn set_limits(&mut self, limits: StoreLimits) {
        self.limits = limits;
    }

    /// Decides which series keep a past and how long. Windows grow from now
    /// on; what is no longer needed is dropped at once.
    pub fn set_needs(&mut self, needs: Vec<Need>) {
        self.windows = Windows::new(needs);
        for entry in self.entries.iter_mut().flatten() {
            let keep_ms = self.windows.of(&entry.labels);
            let before = entry.size();
            entry.keep_ms = keep_ms;
            if keep_ms == 0 {
                entry.history = None;
            } else if entry.history.is_none() {
                let mut history = Box::<History>::default();
                history.push(&entry.last);
                entry.history = Some(history);
            }
            self.stats.apply(before, entry.size());
        }
    }

    /// Adds a sample to its series, which is made if it is new.
    pub fn append(&mut self, labels: &Labels, point: Point) -> Result<SeriesId, Refused> {
        let result = match self.find(labels) {
            Some(series) => self.append_to(series, point),
            None => self.insert(labels, point),
        };
        self.stats.count(&result);
        result
    }

    /// Like [`Store::append`], which has named the series before; saves the
    /// search. Slots are used again, so the labels decide if the name still holds.
    pub fn append_again(
        &mut self,
        series: SeriesId,
        labels: &Labels,
        point: Point,
    ) -> Result<SeriesId, Refused> {
        let holds = self
            .entry(series)
            .is_some_and(|entry| entry.labels == *labels);
        if !holds {
            return self.append(labels, point);
        }
        let result = self.append_to(series, point);
        self.stats.count(&result);
        result
    }

    /// Removes series that have been silent for too long; says how many.
    pub fn expire(&mut self, now_ms: i64) -> usize {
        let oldest = now_ms.saturating_sub(self.limits.idle_ms);
        let gone = |entry: &Option<Entry>| {
            entry
                .as_ref()
                .is_some_and(|entry| entry.last.at_ms < oldest)
        };
        let ids: Vec<u32> = (0u32..)
            .zip(&self.entries)
            .filter_map(|(id, entry)| gone(entry).then_some(id))
            .collect();
        for id in &ids {
            self.remove(*id);
        }
        ids.len()
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.by_labels.is_empty()
    }

    fn insert(&mut self, labels: &Labels, mut point: Point) -> Result<SeriesId, Refused> {
        prepare(&mut point.value, None)?;
        self.check_series()?;
        let keep_ms = self.windows.of(labels);
        let history = (keep_ms > 0).then(|| {
            let mut history = Box::<History>::default();
            history.push(&point);
            history
        });
        let entry = Entry {
            labels: labels.clone(),
            last: point,
            keep_ms,
            history,
        };
        Ok(self.place(entry))
    }

    fn place(&mut self, entry: Entry) -> SeriesId {
        self.stats.apply((0, 0), entry.size());
        let labels = entry.labels.clone();
        let id = self.free.pop().unwrap_or(self.entries.len() as u32);
        match self.entries.get_mut(id as usize) {
            Some(slot) => *slot = Some(entry),
            None => {
                self.reserve_entry();
                self.entries.push(Some(entry));
            }
        }
        self.index.insert(id, &labels);
        let entries = &self.entries;
        let hash_of = |id: &u32| {
            let entry = entries.get(*id as usize).and_then(Option::as_ref);
            entry.map_or(0, |entry| entry.labels.hash64())
        };
        self.by_labels.insert_unique(labels.hash64(), id, hash_of);
        self.stats.series = self.by_labels.len();
        SeriesId(id)
    }

    fn append_to(&mut self, series: SeriesId, mut point: Point) -> Result<SeriesId, Refused> {
        self.make_room(series, point.at_ms)?;
        let slot = self
            .entries
            .get_mut(series.0 as usize)
            .and_then(Option::as_mut);
        let entry = slot.ok_or(Refused::OutOfOrder)?;
        if point.at_ms <= entry.last.at_ms {
            return Err(Refused::OutOfOrder);
        }
        prepare(&mut point.value, Some(&entry.last.value))?;
        let before = entry.size();
        if let Some(history) = &mut entry.history {
            history.push(&point);
            history.drop_until(point.at_ms.saturating_sub(entry.keep_ms));
        }
        entry.last = point;
        self.stats.apply(before, entry.size());
        Ok(series)
    }

    fn remove(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        let place = self
            .by_labels
            .find_entry(entry.labels.hash64(), |have| *have == id);
        if let Ok(place) = place {
            place.remove();
        }
        self.stats.apply(entry.size(), (0, 0));
        self.index.remove(id, &entry.labels);
        self.free.push(id);
        self.stats.series = self.by_labels.len();
    }

    /// The number of a series that is held; quicker if it is still the one that it was.
    pub fn find_again(&self, was: Option<SeriesId>, labels: &Labels) -> Option<SeriesId> {
        let entry = was.and_then(|id| self.entry(id));
        match entry.is_some_and(|entry| entry.labels == *labels) {
            true => was,
            false => self.find(labels),
        }
    }

    fn find(&self, labels: &Labels) -> Option<SeriesId> {
        let is_same = |id: &u32| {
            let entry = self.entry(SeriesId(*id));
            entry.is_some_and(|entry| entry.labels == *labels)
        };
        let found = self.by_labels.find(labels.hash64(), is_same);
        found.map(|id| SeriesId(*id))
    }

    fn entry(&self, series: SeriesId) -> Option<&Entry> {
        self.entries.get(series.0 as usize).and_then(Option::as_ref)
    }
}

impl Entry {
    /// Bytes and kept samples.
    fn size(&self) -> (usize, u64) {
        let history = self.history.as_ref();
        let last = self
            .last
            .value
            .histogram()
            .map_or(0, |value| value.heap_bytes());
        let map = 2 * size_of::<u32>();
        let own = size_of::<Option<Self>>() + self.labels.heap_bytes() + map + last;
        let kept = history.map_or(0, |history| history.heap_bytes());
        (own + kept, history.map_or(0, |history| history.len()))
    }
}

/// Checks a histogram and notes what is known about resets, as Prometheus
/// reads it back from a chunk: a reset itself is not told, only its absence.
fn prepare(value: &mut SampleValue, previous: Option<&SampleValue>) -> Result<(), Refused> {
    let SampleValue::Histogram(shared) = value else {
        return Ok(());
    };
    shared.validate().map_err(Refused::Histogram)?;
    let before = previous.and_then(SampleValue::histogram);
    let before = before.filter(|before| !crate::value::is_stale(before.sum));
    let histogram = Arc::make_mut(shared);
    histogram.reset_seen = before.is_some_and(|before| histogram.is_reset_after(before));
    if histogram.hint == ResetHint::Gauge {
        return Ok(());
    }
    let continues = before.is_some_and(|before| {
        before.hint != ResetHint::Gauge
            && histogram.hint != ResetHint::Reset
            && before.schema == histogram.schema
            && before.zero_threshold == histogram.zero_threshold
            && before.custom == histogram.custom
            && !follows_reset(histogram, before)
    });
    histogram.hint = if continues {
        ResetHint::NotReset
    } else {
        ResetHint::Unknown
    };
    Ok(())
}

fn follows_reset(histogram: &Histogram, before: &Histogram) -> bool {
    let unhinted = Histogram {
        hint: ResetHint::Unknown,
        ..histogram.clone()
    };
    unhinted.is_reset_after(before)
}

impl Storage for Store {
    fn select(
        &self,
        matchers: &[Matcher],
        limit: usize,
        found: &mut Vec<SeriesId>,
    ) -> Result<(), TooManySeries> {
        let room = found.len().saturating_add(limit);
        let mut take = |id: u32, open: &[usize]| {
            let Some(entry) = self.entry(SeriesId(id)) else {
                return Ok(());
            };
            let holds = |at: &usize| {
                let matcher = &matchers[*at];
                matcher.matches(entry.labels.get(&matcher.name))
            };
            if open.iter().all(holds) {
                if found.len() >= room {
                    return Err(TooManySeries);
                }
                found.push(SeriesId(id));
            }
            Ok(())
        };
        match self.index.candidates(matchers) {
            Some(Candidates { ids, open }) => ids.into_iter().try_for_each(|id| take(id, &open)),
            None => {
                let open: Vec<usize> = (0..matchers.len()).collect();
                (0..self.entries.len() as u32).try_for_each(|id| take(id, &open))
            }
        }
    }

    fn labels(&self, series: SeriesId) -> &Labels {
        static EMPTY: std::sync::OnceLock<Labels> = std::sync::OnceLock::new();
        let found = self.entry(series).map(|entry| &entry.labels);
        found.unwrap_or_else(|| EMPTY.get_or_init(Labels::empty))
    }

    fn last(&self, series: SeriesId, after_ms: i64, until_ms: i64) -> Option<Point> {
        let entry = self.entry(series)?;
        if entry.last.at_ms <= until_ms {
            return (entry.last.at_ms > after_ms).then(|| entry.last.clone());
        }
        entry.history.as_ref()?.last(after_ms, until_ms)
    }

    fn window(&self, series: SeriesId, after_ms: i64, until_ms: i64, window: &mut Window) {
        let Some(entry) = self.entry(series) else {
            return;
        };
        match &entry.history {
            Some(history) => history.window(after_ms, until_ms, window),
            None if entry.last.at_ms > after_ms && entry.last.at_ms <= until_ms => {
                window.push(entry.last.clone());
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
