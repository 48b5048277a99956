//! Quantiles and fractions of a native histogram: exponential interpolation
//! within exponential buckets, linear within custom ones and the zero bucket.

use super::{Bucket, Histogram};

/// What observations of NaN did to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// The quantile lies among them, so it is NaN.
    Result,
    /// The quantile is too high.
    Skew,
    /// They belong to no fraction.
    Excluded,
}

impl Histogram {
    /// The value below which the share `q` of all observations lies.
    pub(crate) fn quantile(&self, q: f64) -> (f64, Option<NanEffect>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // NaN observations sit in no bucket, so ranks count from below then.
        let forward = self.sum.is_nan() || q < 0.5;
        let mut buckets = self.buckets();
        let mut rank = q * self.count;
        if !forward {
            buckets.reverse();
            rank = (1.0 - q) * self.count;
        }
        let Some((at, mut count)) = reach(&buckets, rank) else {
            let nan = self.sum.is_nan().then_some(NanEffect::Result);
            return (if nan.is_some() { f64::NAN } else { 0.0 }, nan);
        };
        let mut bucket = buckets[at];
        if let Some(edge) = self.close_bucket(&mut bucket) {
            return (edge, None);
        }
        count = count.min(self.count);
        if count < rank {
            let nan = self.sum.is_nan();
            return if nan {
                (f64::NAN, Some(NanEffect::Result))
            } else {
                (bucket.upper, None)
            };
        }
        let within = if forward {
            rank - (count - bucket.count)
        } else {
            count - rank
        };
        let effect = self.skew(count, buckets.get(at + 1..).unwrap_or_default());
        (self.interpolate(&bucket, within / bucket.count), effect)
    }

    /// Gives a bucket that is open to one side the bound to interpolate from,
    /// or the edge that is the answer itself.
    fn close_bucket(&self, bucket: &mut Bucket) -> Option<f64> {
        if !self.is_custom() {
            if bucket.lower < 0.0 && bucket.upper > 0.0 {
                self.one_sided(bucket);
            }
            return None;
        }
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return Some(bucket.upper);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return Some(bucket.lower);
        }
        None
    }

    /// A histogram with buckets on one side only has its zero bucket there too.
    fn one_sided(&self, bucket: &mut Bucket) {
        if self.negative.is_empty() && !self.positive.is_empty() {
            bucket.lower = 0.0;
        } else if self.positive.is_empty() && !self.negative.is_empty() {
            bucket.upper = 0.0;
        }
    }

    fn skew(&self, count: f64, above: &[Bucket]) -> Option<NanEffect> {
        let total = count + above.iter().map(|bucket| bucket.count).sum::<f64>();
        (self.sum.is_nan() && total < self.count).then_some(NanEffect::Skew)
    }

    fn interpolate(&self, bucket: &Bucket, fraction: f64) -> f64 {
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            return (lower + (upper - lower) * fraction).exp2();
        }
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }

    /// The share of observations between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<NanEffect>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let buckets = self.buckets();
        let (mut count, mut effect) = (self.count, None);
        if self.sum.is_nan() {
            count = buckets.iter().map(|bucket| bucket.count).sum();
            effect = (count < self.count).then_some(NanEffect::Excluded);
        }
        let below = |value: f64| self.rank_of(&buckets, value).unwrap_or(count).min(count);
        ((below(upper) - below(lower)) / self.count, effect)
    }

    /// Observations below a value; none if it lies above all buckets.
    fn rank_of(&self, buckets: &[Bucket], value: f64) -> Option<f64> {
        let mut rank = 0.0;
        for bucket in buckets {
            let mut bucket = *bucket;
            let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if zero {
                self.one_sided(&mut bucket);
            }
            if bucket.lower >= value {
                return Some(rank);
            }
            if bucket.upper > value {
                return Some(if self.is_custom() || zero {
                    linear_rank(rank, &bucket, value)
                } else {
                    rank + bucket.count * exponential_share(&bucket, value)
                });
            }
            rank += bucket.count;
        }
        None
    }
}

/// The first bucket at which the running count reaches a rank, with the count;
/// the last one if none does.
fn reach(buckets: &[Bucket], rank: f64) -> Option<(usize, f64)> {
    let mut count = 0.0;
    for (at, bucket) in buckets.iter().enumerate() {
        if bucket.count == 0.0 {
            continue;
        }
        count += bucket.count;
        if count >= rank {
            return Some((at, count));
        }
    }
    buckets.len().checked_sub(1).map(|last| (last, count))
}

fn linear_rank(rank: f64, bucket: &Bucket, value: f64) -> f64 {
    if bucket.lower == f64::NEG_INFINITY {
        return bucket.count;
    }
    rank + bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower)
}

/// The share of an exponential bucket that lies below a value within it.
pub(super) fn exponential_share(bucket: &Bucket, value: f64) -> f64 {
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let at = value.abs().log2();
    if value > 0.0 {
        (at - lower) / (upper - lower)
    } else {
        1.0 - (at - upper) / (lower - upper)
    }
}
