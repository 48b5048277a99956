//! Classic histograms: quantiles and fractions over `le` buckets.

use crate::annotation::{Annotations, for_metric};
use crate::labels::{BUCKET, Labels};
use crate::number::parse_bound;
use crate::value::Sample;

/// Counts of neighbouring buckets that differ by less, relatively, are equal.
const TOLERANCE: f64 = 1e-12;

/// A cumulative bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassicBucket {
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// The buckets of one classic histogram.
pub(super) struct Classic {
    /// All labels but the bucket's bound.
    pub(super) labels: Labels,
    pub(super) buckets: Vec<ClassicBucket>,
}

/// Collects buckets to histograms; numbers without a bound get a remark.
pub(super) fn collect(vector: &[Sample], notes: &mut Annotations) -> Vec<Classic> {
    let mut found: Vec<Classic> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for sample in vector {
        let Some(count) = sample.value.float() else {
            continue;
        };
        let bound = sample.labels.get(BUCKET);
        let Some(upper) = parse_bound(bound) else {
            notes.warn(format!(
                "bucket label \"le\" is missing or has a malformed value of {bound:?}{}",
                for_metric(sample.labels.name())
            ));
            continue;
        };
        let labels = sample.labels.without(&[BUCKET.to_owned()]);
        let at = *known.entry(labels.clone()).or_insert_with(|| {
            found.push(Classic {
                labels,
                buckets: Vec::new(),
            });
            found.len() - 1
        });
        found[at].buckets.push(ClassicBucket { upper, count });
    }
    for classic in &mut found {
        classic.buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
        classic.buckets.dedup_by(|next, kept| {
            let same = next.upper == kept.upper;
            if same {
                kept.count += next.count;
            }
            same
        });
    }
    found
}

/// Whether the highest bucket takes everything.
fn is_whole(buckets: &[ClassicBucket]) -> bool {
    buckets
        .last()
        .is_some_and(|last| last.upper == f64::INFINITY)
}

/// The quantile, and whether falling counts had to be lifted for it.
pub(super) fn quantile(q: f64, buckets: &mut [ClassicBucket]) -> (f64, bool) {
    if q.is_nan() || !(0.0..=1.0).contains(&q) {
        let value = if q < 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
        return (if q.is_nan() { q } else { value }, false);
    }
    if !is_whole(buckets) {
        return (f64::NAN, false);
    }
    let forced = lift(buckets);
    let (Some(last), Some(second)) = (buckets.len().checked_sub(1), buckets.len().checked_sub(2))
    else {
        return (f64::NAN, false);
    };
    let all = buckets[last].count;
    if all == 0.0 {
        return (f64::NAN, false);
    }
    let rank = q * all;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank || bucket.count.is_nan());
    if at == last {
        return (buckets[second].upper, forced);
    }
    let bucket = buckets[at];
    if at == 0 && bucket.upper <= 0.0 {
        return (bucket.upper, forced);
    }
    let (start, before) = match at.checked_sub(1) {
        Some(below) => (buckets[below].upper, buckets[below].count),
        None => (0.0, 0.0),
    };
    let share = (rank - before) / (bucket.count - before);
    (start + (bucket.upper - start) * share, forced)
}

/// Makes counts rise from bucket to bucket. Differences that only rounding can
/// explain are levelled silently.
fn lift(buckets: &mut [ClassicBucket]) -> bool {
    let mut forced = false;
    let mut previous = buckets.first().map_or(0.0, |bucket| bucket.count);
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count == previous {
            continue;
        }
        if nearly(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            bucket.count = previous;
            forced = true;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

/// Prometheus's `almost.Equal`.
fn nearly(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The share of observations between two values.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &[ClassicBucket]) -> f64 {
    let all = buckets.last().map_or(0.0, |bucket| bucket.count);
    if !is_whole(buckets) || all == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let below = |value: f64| rank_of(value, buckets).unwrap_or(all).min(all);
    (below(upper) - below(lower)) / all
}

/// Observations below a value; none if it lies above all buckets.
fn rank_of(value: f64, buckets: &[ClassicBucket]) -> Option<f64> {
    let first = buckets.first().map_or(0.0, |bucket| bucket.upper);
    let mut lower = if first <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let mut rank = 0.0;
    for bucket in buckets {
        if lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            if lower == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            let share = (value - lower) / (bucket.upper - lower);
            return Some(rank + (bucket.count - rank) * share);
        }
        rank = bucket.count;
        lower = bucket.upper;
    }
    None
}
