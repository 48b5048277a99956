//! Finding counter resets between two histograms.

use super::layout::{common_bounds, map_bounds, reduce};
use super::{Buckets, Histogram, ResetHint};

impl Histogram {
    /// Whether this one cannot follow `previous` without a counter reset. Hints
    /// decide first; else any figure but the sum that went down is a reset.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.is_custom() && (!previous.is_custom() || self.custom != previous.custom) {
            return !previous.is_custom() || self.custom_fell(previous);
        }
        if self.schema > previous.schema {
            return true;
        }
        if self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_for(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let before = |side: &Buckets| -> Buckets {
            let reduced = reduce(side, previous.schema.abs_diff(self.schema));
            let bound = |index: i32| self.bound(i64::from(index));
            let outside =
                |(index, _): &(i32, f64)| self.is_custom() || bound(*index) > self.zero_threshold;
            reduced.into_iter().filter(outside).collect()
        };
        fell(&self.positive, &before(&previous.positive))
            || fell(&self.negative, &before(&previous.negative))
    }

    fn custom_fell(&self, previous: &Self) -> bool {
        let bounds = common_bounds(&self.custom, &previous.custom);
        let now = map_bounds(&self.positive, &self.custom, &bounds);
        let before = map_bounds(&previous.positive, &previous.custom, &bounds);
        fell(&now, &before)
    }
}

/// Whether a populated bucket is missing now or has fewer observations.
fn fell(now: &Buckets, before: &Buckets) -> bool {
    before.iter().any(|(index, count)| {
        let found = now.binary_search_by_key(index, |(have, _)| *have);
        match found.ok().and_then(|at| now.get(at)) {
            Some((_, current)) => current < count,
            None => *count != 0.0,
        }
    })
}
