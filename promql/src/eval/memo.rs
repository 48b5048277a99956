//! Results of functions over ranges that several queries share: rules of one
//! group ask the same of the same series at the same time.

use super::hash::QuickMap;
use crate::storage::SeriesId;

/// Results that are remembered at most.
const MAX_RESULTS: usize = 16_384;

/// What is called, with which arguments, over which time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallKey {
    pub(super) function: String,
    /// Bits of the numbers that it is given besides.
    pub(super) scalars: Vec<u64>,
    /// The range, what is read for it, and the time of evaluation.
    pub(super) times: [i64; 5],
    pub(super) extended: (bool, bool),
    pub(super) start_timestamps: bool,
    pub(super) stats_only: bool,
}

/// A number or none, and the samples that it was made of.
pub(super) type Result = (Option<f64>, u64);

/// Results of calls on single series. It stands for one storage; whoever
/// changes a series between two queries has to say so.
#[derive(Debug, Default)]
pub struct Memo {
    calls: Vec<(CallKey, Results)>,
    count: usize,
}

/// Results of one call.
#[derive(Debug, Default)]
pub(super) struct Results {
    by_series: QuickMap<SeriesId, Result>,
    room: usize,
}

impl Memo {
    /// A series has a new sample.
    pub fn forget(&mut self, series: SeriesId) {
        for (_, results) in &mut self.calls {
            results.by_series.remove(&series);
        }
    }

    /// Takes out what is known of a call, to be given back.
    pub(super) fn take(&mut self, key: &CallKey) -> Results {
        let known = self.calls.iter().position(|(have, _)| have == key);
        let mut results = known.map_or_else(Results::default, |at| self.calls.swap_remove(at).1);
        self.count = self.count.saturating_sub(results.by_series.len());
        results.room = MAX_RESULTS.saturating_sub(self.count);
        results
    }

    pub(super) fn give_back(&mut self, key: CallKey, results: Results) {
        if !results.by_series.is_empty() {
            self.count += results.by_series.len();
            self.calls.push((key, results));
        }
    }
}

impl Results {
    pub(super) fn get(&self, series: SeriesId) -> Option<Result> {
        self.by_series.get(&series).copied()
    }

    pub(super) fn insert(&mut self, series: SeriesId, result: Result) {
        if self.by_series.len() < self.room {
            self.by_series.insert(series, result);
        }
    }
}
