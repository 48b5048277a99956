//! Bounds of a store, what it holds, and why it refuses a sample.

use thiserror::Error;

use crate::storage::SeriesId;

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Series at one time.
    pub series: usize,
    /// Samples kept for windows.
    pub samples: u64,
    /// Bytes of series, labels and samples, as counted by the store.
    pub bytes: usize,
    /// A series without a new sample for longer than this is removed by
    /// [`Store::expire`], in milliseconds.
    pub idle_ms: i64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            series: 100_000,
            samples: 10_000_000,
            bytes: 64 << 20,
            idle_ms: 10 * 60 * 1000,
        }
    }
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// The series limit is reached and the series is new.
    #[error("limit of {0} series reached")]
    Series(usize),
    /// The sample limit is reached.
    #[error("limit of {0} samples reached")]
    Samples(u64),
    /// The limit in bytes is reached.
    #[error("limit of {0} bytes reached")]
    Bytes(usize),
    /// The sample is not newer than the series' last one.
    #[error("sample is not newer than the last one of its series")]
    OutOfOrder,
    /// The histogram's buckets contradict each other.
    #[error("invalid histogram: {0}")]
    Histogram(&'static str),
}

/// What a store holds and what it refused since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Series held.
    pub series: usize,
    /// Samples held in windows, last values not counted.
    pub samples: u64,
    /// Bytes held, as counted by the store.
    pub bytes: usize,
    /// Samples refused because a limit was reached.
    pub refused_full: u64,
    /// Samples refused because they were late or invalid.
    pub refused_bad: u64,
}

impl StoreStats {
    pub(super) fn apply(&mut self, before: (usize, u64), after: (usize, u64)) {
        self.bytes = (self.bytes + after.0).saturating_sub(before.0);
        self.samples = (self.samples + after.1).saturating_sub(before.1);
    }

    pub(super) fn count(&mut self, result: &Result<SeriesId, Refused>) {
        match result {
            Ok(_) => {}
            Err(Refused::OutOfOrder | Refused::Histogram(_)) => self.refused_bad += 1,
            Err(_) => self.refused_full += 1,
        }
    }
}
