//! The trim operators `</` and `>/`: keep the observations on one side of a
//! value, splitting the bucket that the value falls into.

use super::quantile::exponential_share;
use super::{Bucket, Histogram};

/// What a trim leaves of a bucket: its count and a value that stands for it.
struct Kept {
    count: f64,
    midpoint: f64,
}

impl Histogram {
    /// What is left of the observations below (or above) a limit.
    pub(crate) fn trim(&self, limit: f64, keep_below: bool) -> Self {
        let mut left = self.clone();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let (mut any_positive, mut any_negative) = (false, false);
        for at in 0..left.positive.len() {
            let bucket = self.positive_bucket(self.positive[at]);
            any_positive |= bucket.count != 0.0;
            let kept = self.keep(&bucket, limit, keep_below);
            take(
                &mut left.positive[at].1,
                kept,
                (&mut count, &mut sum, &mut changed),
            );
        }
        for at in 0..left.negative.len() {
            let bucket = self.negative_bucket(self.negative[at]);
            any_negative |= bucket.count != 0.0;
            let kept = self.keep(&bucket, limit, keep_below);
            take(
                &mut left.negative[at].1,
                kept,
                (&mut count, &mut sum, &mut changed),
            );
        }
        if self.zero_count > 0.0 {
            let mut zero = self.zero_bucket();
            if any_positive && !any_negative {
                zero.lower = 0.0;
            }
            if any_negative && !any_positive {
                zero.upper = 0.0;
            }
            let kept = keep_zero(&zero, limit, keep_below);
            take(
                &mut left.zero_count,
                kept,
                (&mut count, &mut sum, &mut changed),
            );
        }
        if changed {
            left.count = count;
            left.sum = sum;
            left.compact();
        }
        left
    }

    fn keep(&self, bucket: &Bucket, limit: f64, keep_below: bool) -> Kept {
        let whole = if keep_below {
            bucket.upper <= limit
        } else {
            bucket.lower >= limit
        };
        let part = if keep_below {
            bucket.lower < limit
        } else {
            bucket.upper > limit
        };
        if whole {
            return Kept {
                count: bucket.count,
                midpoint: self.midpoint(bucket.lower, bucket.upper, bucket.side),
            };
        }
        if !part {
            return Kept {
                count: 0.0,
                midpoint: 0.0,
            };
        }
        if bucket.lower == f64::NEG_INFINITY {
            return keep_of_lowest(bucket, limit, keep_below);
        }
        if bucket.upper == f64::INFINITY {
            return keep_of_highest(bucket, limit, keep_below);
        }
        let below = bucket.count * self.share_below(bucket, limit);
        if keep_below {
            let midpoint = self.midpoint(bucket.lower, limit, bucket.side);
            return Kept {
                count: below,
                midpoint,
            };
        }
        let midpoint = self.midpoint(limit, bucket.upper, bucket.side);
        Kept {
            count: bucket.count - below,
            midpoint,
        }
    }

    fn share_below(&self, bucket: &Bucket, limit: f64) -> f64 {
        if self.is_custom() {
            (limit - bucket.lower) / (bucket.upper - bucket.lower)
        } else {
            exponential_share(bucket, limit)
        }
    }

    /// A value that stands for all between two bounds: the arithmetic mean for
    /// custom bounds, the geometric mean for exponential ones.
    fn midpoint(&self, lower: f64, upper: f64, side: i8) -> f64 {
        match (lower.is_infinite(), upper.is_infinite()) {
            (true, true) => 0.0,
            (true, false) if upper > 0.0 => upper / 2.0,
            (true, false) => upper,
            (false, true) => lower,
            (false, false) if self.is_custom() => (lower + upper) / 2.0,
            (false, false) => (lower * upper).abs().sqrt() * f64::from(side),
        }
    }
}

fn take(slot: &mut f64, kept: Kept, (count, sum, changed): (&mut f64, &mut f64, &mut bool)) {
    if *slot == 0.0 {
        return;
    }
    *count += kept.count;
    *sum += kept.midpoint * kept.count;
    if *slot != kept.count {
        *slot = kept.count;
        *changed = true;
    }
}

/// Part of a bucket without a lower bound. Above zero it is taken to begin at
/// zero; else how its values lie is not known and it is dropped.
fn keep_of_lowest(bucket: &Bucket, limit: f64, keep_below: bool) -> Kept {
    let finite = bucket.upper > 0.0 && bucket.upper != f64::INFINITY;
    if keep_below {
        if limit > 0.0 && finite {
            let count = bucket.count * limit / bucket.upper;
            return Kept {
                count,
                midpoint: limit / 2.0,
            };
        }
        if bucket.upper <= 0.0 {
            return Kept {
                count: bucket.count,
                midpoint: limit,
            };
        }
    } else if limit >= 0.0 && finite {
        let count = bucket.count * (1.0 - limit / bucket.upper);
        return Kept {
            count,
            midpoint: (limit + bucket.upper) / 2.0,
        };
    }
    Kept {
        count: 0.0,
        midpoint: 0.0,
    }
}

/// Part of a bucket without an upper bound: dropped when what is above the
/// limit goes, kept when what is below goes.
fn keep_of_highest(bucket: &Bucket, limit: f64, keep_below: bool) -> Kept {
    if !keep_below && limit >= bucket.lower {
        return Kept {
            count: bucket.count,
            midpoint: limit,
        };
    }
    Kept {
        count: 0.0,
        midpoint: 0.0,
    }
}

fn keep_zero(zero: &Bucket, limit: f64, keep_below: bool) -> Kept {
    let middle = |a: f64, b: f64| f64::midpoint(a, b);
    let whole = Kept {
        count: zero.count,
        midpoint: middle(zero.lower, zero.upper),
    };
    let none = Kept {
        count: 0.0,
        midpoint: 0.0,
    };
    let width = zero.upper - zero.lower;
    if limit <= zero.lower {
        return if keep_below { none } else { whole };
    }
    if limit >= zero.upper {
        return if keep_below { whole } else { none };
    }
    let (share, midpoint) = if keep_below {
        ((limit - zero.lower) / width, middle(zero.lower, limit))
    } else {
        ((zero.upper - limit) / width, middle(limit, zero.upper))
    };
    Kept {
        count: zero.count * share,
        midpoint,
    }
}
