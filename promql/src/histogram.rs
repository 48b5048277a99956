//! Native histograms with float counts: exponential buckets (schemas -4 to 8)
//! or custom bounds (schema -53). Buckets are kept sparse, sorted by index;
//! the specification is Prometheus's native histogram document.

mod arithmetic;
mod bucket;
mod compensated;
mod layout;
mod quantile;
mod reset;
mod trim;

pub use bucket::Bucket;
pub(crate) use compensated::KahanHistogram;
pub(crate) use quantile::NanEffect;

use std::fmt;

use crate::number::general;

/// The schema of histograms whose bounds are listed.
pub const CUSTOM_SCHEMA: i32 = -53;

/// Most buckets or custom bounds that one histogram may carry on one side.
pub const MAX_BUCKETS: usize = 10_000;

/// What is known about a counter reset before this histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing is known: compare to find out.
    #[default]
    Unknown,
    /// There was a reset.
    Reset,
    /// There was none.
    NotReset,
    /// Not a counter.
    Gauge,
}

/// Two histograms cannot be combined: one is exponential, the other is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncompatibleSchemas;

/// What had to be done to combine two histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// One side says reset, the other says no reset.
    pub reset_collision: bool,
    /// Custom bounds differed and were reduced to those in common.
    pub bounds_reconciled: bool,
}

/// Buckets as (index, count), sorted by index.
pub type Buckets = Vec<(i32, f64)>;

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// What is known about a reset before it.
    pub hint: ResetHint,
    /// Resolution: 2^schema buckets per power of two; or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of all observations; the stale marker sits here.
    pub sum: f64,
    /// Buckets above zero, or all buckets of a custom histogram.
    pub positive: Buckets,
    /// Buckets below zero.
    pub negative: Buckets,
    /// Upper bounds of a custom histogram, ascending, without +Inf.
    pub custom: Vec<f64>,
    /// The store saw that this one follows a reset although the hint is
    /// [`ResetHint::Unknown`]; used where only count and sum are read.
    pub(crate) reset_seen: bool,
}

impl Histogram {
    /// Whether its bounds are listed rather than computed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Says what is wrong with a histogram from outside, if anything is.
    pub fn validate(&self) -> Result<(), &'static str> {
        if !self.is_custom() && !(-4..=8).contains(&self.schema) {
            return Err("schema is neither -53 nor between -4 and 8");
        }
        let sides = [&self.positive, &self.negative];
        if sides.iter().any(|side| side.len() > MAX_BUCKETS) || self.custom.len() > MAX_BUCKETS {
            return Err("too many buckets");
        }
        if sides
            .iter()
            .any(|side| !side.is_sorted_by(|a, b| a.0 < b.0))
        {
            return Err("buckets are not sorted by index");
        }
        if !self.zero_threshold.is_finite() || self.zero_threshold < 0.0 {
            return Err("zero threshold is negative or not a number");
        }
        if self.is_custom() {
            return self.validate_custom();
        }
        if self.custom.is_empty() {
            Ok(())
        } else {
            Err("custom bounds on an exponential schema")
        }
    }

    fn validate_custom(&self) -> Result<(), &'static str> {
        if !self.custom.is_sorted_by(|a, b| a < b) {
            return Err("custom bounds are not ascending");
        }
        if self
            .custom
            .iter()
            .any(|bound| bound.is_nan() || *bound == f64::INFINITY)
        {
            return Err("custom bounds contain NaN or +Inf");
        }
        if !self.negative.is_empty() || self.zero_count != 0.0 || self.zero_threshold != 0.0 {
            return Err("a histogram with custom bounds has no negative and no zero bucket");
        }
        let last = self.custom.len() as i32;
        if self
            .positive
            .iter()
            .any(|(index, _)| !(0..=last).contains(index))
        {
            return Err("a bucket has no bound");
        }
        Ok(())
    }

    /// Drops empty buckets.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Multiplies all counts and the sum. A negative factor makes it a gauge.
    pub fn scale(&mut self, factor: f64) {
        self.each(|value| value * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum; dividing by zero removes the buckets.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.each(|value| value / divisor);
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn each(&mut self, change: impl Fn(f64) -> f64) {
        self.zero_count = change(self.zero_count);
        self.count = change(self.count);
        self.sum = change(self.sum);
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = change(*count);
        }
    }

    /// Whether counts, bounds and sum are the same bit by bit; empty buckets
    /// and the reset hint do not count.
    pub fn same_data(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && self.custom == other.custom
            && same_buckets(&self.positive, &other.positive)
            && same_buckets(&self.negative, &other.negative)
    }

    /// Whether any figure is infinite.
    pub(crate) fn has_overflow(&self) -> bool {
        let sides = self.positive.iter().chain(&self.negative);
        self.zero_count.is_infinite()
            || self.count.is_infinite()
            || self.sum.is_infinite()
            || sides.into_iter().any(|(_, count)| count.is_infinite())
    }

    /// Bytes that it occupies on the heap.
    pub fn heap_bytes(&self) -> usize {
        let entry = size_of::<(i32, f64)>();
        size_of::<Self>()
            + (self.positive.capacity() + self.negative.capacity()) * entry
            + self.custom.capacity() * size_of::<f64>()
    }

    /// How many samples it counts for in limits (16 bytes are one sample).
    pub(crate) fn weight(&self) -> u64 {
        8 + (self.positive.len() + self.negative.len() + self.custom.len()) as u64
    }
}

fn same_buckets(a: &Buckets, b: &Buckets) -> bool {
    let filled = |side: &'_ Buckets| -> Vec<(i32, u64)> {
        let kept = side.iter().filter(|(_, count)| *count != 0.0);
        kept.map(|(index, count)| (*index, count.to_bits()))
            .collect()
    };
    filled(a) == filled(b)
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{count:{}, sum:{}",
            general(self.count),
            general(self.sum)
        )?;
        for bucket in self.buckets().iter().filter(|bucket| bucket.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}
