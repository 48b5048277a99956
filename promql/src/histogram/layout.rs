//! Bringing two histograms to one layout: resolution, zero bucket, bounds.

use super::{Buckets, Histogram};

/// Index of a bucket after the resolution went down by `steps`.
fn coarser(index: i32, steps: u32) -> i32 {
    let shifted = (i64::from(index) - 1) >> steps.min(62);
    (shifted + 1) as i32
}

/// Merges buckets to a resolution lower by `steps`.
pub(super) fn reduce(buckets: &Buckets, steps: u32) -> Buckets {
    let mut merged: Buckets = Vec::with_capacity(buckets.len());
    for (index, count) in buckets {
        let index = coarser(*index, steps);
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, *count)),
        }
    }
    merged
}

/// The bounds that both lists have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let in_b = |bound: &&f64| b.binary_search_by(|have| have.total_cmp(bound)).is_ok();
    a.iter().filter(in_b).copied().collect()
}

/// Maps custom buckets onto fewer bounds.
pub(super) fn map_bounds(buckets: &Buckets, from: &[f64], to: &[f64]) -> Buckets {
    let mut mapped: Buckets = Vec::with_capacity(buckets.len());
    for (index, count) in buckets {
        let bound = usize::try_from(*index).ok().and_then(|at| from.get(at));
        let target = bound.map_or(to.len(), |bound| to.partition_point(|have| have < bound));
        let target = target as i32;
        match mapped.last_mut() {
            Some((last, sum)) if *last == target => *sum += count,
            _ => mapped.push((target, *count)),
        }
    }
    mapped
}

impl Histogram {
    /// Lowers the resolution to a schema; does nothing for a finer one.
    pub(crate) fn reduce_to(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let steps = self.schema.abs_diff(schema);
        self.positive = reduce(&self.positive, steps);
        self.negative = reduce(&self.negative, steps);
        self.schema = schema;
    }

    /// Maps custom buckets onto the bounds in common.
    pub(super) fn reduce_bounds(&mut self, bounds: &[f64]) {
        self.positive = map_bounds(&self.positive, &self.custom, bounds);
        self.positive.retain(|(_, count)| *count != 0.0);
        self.custom = bounds.to_vec();
    }

    /// The zero count for a wider zero bucket. A threshold inside a populated
    /// bucket moves up to that bucket's end.
    pub(super) fn zero_count_for(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        if threshold <= self.zero_threshold {
            return (self.zero_count, self.zero_threshold);
        }
        // Each round moves the threshold to a higher bound, of which there
        // are no more than buckets.
        for _ in 0..=self.negative.len() {
            let mut count = self.zero_count;
            for entry in &self.positive {
                let bucket = self.positive_bucket(*entry);
                if bucket.lower >= threshold {
                    break;
                }
                count += bucket.count;
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            match self.negative_overlap(threshold, &mut count) {
                Some(wider) => threshold = wider,
                None => return (count, threshold),
            }
        }
        (self.zero_count, threshold)
    }

    /// Adds what lies below zero within the threshold; gives the bound of a
    /// populated bucket that the threshold cuts.
    fn negative_overlap(&self, threshold: f64, count: &mut f64) -> Option<f64> {
        for entry in &self.negative {
            let bucket = self.negative_bucket(*entry);
            if bucket.upper <= -threshold {
                break;
            }
            *count += bucket.count;
            if bucket.lower < -threshold {
                return (bucket.count != 0.0).then_some(-bucket.lower);
            }
        }
        None
    }

    /// Widens the zero bucket and drops the buckets that fall into it.
    pub(super) fn widen_zero(&mut self, zero_count: f64, threshold: f64) {
        self.zero_count = zero_count;
        self.zero_threshold = threshold;
        let inside = |bound: f64| bound < threshold;
        let lower = |index: i32| self.bound(i64::from(index) - 1);
        let positive = self
            .positive
            .iter()
            .filter(|(index, _)| !inside(lower(*index)));
        let positive: Buckets = positive.copied().collect();
        let negative = self
            .negative
            .iter()
            .filter(|(index, _)| !inside(lower(*index)));
        self.negative = negative.copied().collect();
        self.positive = positive;
        self.compact();
    }

    /// Finds a zero bucket that suits both; returns the other's zero count.
    pub(super) fn reconcile_zero(&mut self, other: &Self) -> f64 {
        let (mut count, mut threshold) = (other.zero_count, other.zero_threshold);
        // Thresholds only grow, each time to a bucket's bound.
        let rounds = self.positive.len() + self.negative.len();
        let rounds = rounds + other.positive.len() + other.negative.len() + 2;
        for _ in 0..rounds {
            if threshold == self.zero_threshold {
                break;
            }
            if self.zero_threshold > threshold {
                (count, threshold) = other.zero_count_for(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                let (own, wider) = self.zero_count_for(threshold);
                self.widen_zero(own, wider);
            }
        }
        count
    }
}
