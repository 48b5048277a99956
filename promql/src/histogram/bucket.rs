//! Bounds of buckets and the walk over all of them in ascending order.

use std::fmt;

use super::Histogram;
use crate::number::general;

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound; belongs to the bucket below zero.
    pub lower: f64,
    /// Upper bound; belongs to the bucket above zero.
    pub upper: f64,
    /// Observations in it.
    pub count: f64,
    /// Which side of zero it lies on: -1, 0 (zero bucket) or 1.
    pub side: i8,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.side <= 0 { '[' } else { '(' };
        let close = if self.side >= 0 { ']' } else { ')' };
        let (lower, upper) = (general(self.lower), general(self.upper));
        write!(f, "{open}{lower},{upper}{close}:{}", general(self.count))
    }
}

/// Upper bound of the exponential bucket `index`: 2^(index / 2^schema), where
/// the last finite bucket ends at the largest float.
pub(super) fn exponential_bound(index: i64, schema: i32) -> f64 {
    let exponent = index as f64 * f64::from(-schema).exp2();
    if exponent == 1024.0 {
        f64::MAX
    } else {
        exponent.exp2()
    }
}

impl Histogram {
    /// Upper bound of the bucket `index`, as a positive number.
    pub(super) fn bound(&self, index: i64) -> f64 {
        if !self.is_custom() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(at) => self.custom.get(at).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }

    /// The bucket above zero (or the custom bucket) with an index.
    pub(super) fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        Bucket {
            lower: self.bound(i64::from(index) - 1),
            upper: self.bound(i64::from(index)),
            count,
            side: 1,
        }
    }

    /// The bucket below zero with an index.
    pub(super) fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        Bucket {
            lower: -self.bound(i64::from(index)),
            upper: -self.bound(i64::from(index) - 1),
            count,
            side: -1,
        }
    }

    /// The bucket around zero.
    pub(super) fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            count: self.zero_count,
            side: 0,
        }
    }

    /// All buckets in ascending order. Where one overlaps the zero bucket it
    /// is cut at the zero threshold.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut all = Vec::with_capacity(self.negative.len() + self.positive.len() + 1);
        for entry in self.negative.iter().rev() {
            let mut bucket = self.negative_bucket(*entry);
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            }
            all.push(bucket);
        }
        if self.zero_count > 0.0 {
            all.push(self.zero_bucket());
        }
        for entry in &self.positive {
            let mut bucket = self.positive_bucket(*entry);
            if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            all.push(bucket);
        }
        all
    }
}
