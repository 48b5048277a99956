//! Adding and subtracting histograms of different layouts.

use super::layout::{common_bounds, map_bounds, reduce};
use super::{Buckets, Combined, Histogram, IncompatibleSchemas, ResetHint};

/// What the other histogram looks like in the receiver's layout.
pub(super) struct Aligned {
    pub(super) zero_count: f64,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
    pub(super) bounds_reconciled: bool,
}

impl Histogram {
    /// Adds another histogram. Resolution, zero bucket and custom bounds go
    /// down to what both have.
    pub fn add(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, 1.0)
    }

    /// Subtracts another histogram, else like [`Histogram::add`].
    pub fn subtract(&mut self, other: &Self) -> Result<Combined, IncompatibleSchemas> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Self, sign: f64) -> Result<Combined, IncompatibleSchemas> {
        let reset_collision = self.merge_hint(other);
        let aligned = self.align(other)?;
        self.zero_count += sign * aligned.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        self.positive = merge(&self.positive, &aligned.positive, |a, b| a + sign * b);
        self.negative = merge(&self.negative, &aligned.negative, |a, b| a + sign * b);
        Ok(Combined {
            reset_collision,
            bounds_reconciled: aligned.bounds_reconciled,
        })
    }

    /// Changes the receiver's layout as needed and maps the other onto it.
    pub(super) fn align(&mut self, other: &Self) -> Result<Aligned, IncompatibleSchemas> {
        if self.is_custom() != other.is_custom() {
            return Err(IncompatibleSchemas);
        }
        if self.is_custom() {
            return Ok(self.align_custom(other));
        }
        let zero_count = self.reconcile_zero(other);
        let (mut positive, mut negative) = (other.positive.clone(), other.negative.clone());
        if other.schema > self.schema {
            let steps = other.schema.abs_diff(self.schema);
            positive = reduce(&positive, steps);
            negative = reduce(&negative, steps);
        } else {
            self.reduce_to(other.schema);
        }
        let outside = |(index, _): &(i32, f64)| self.bound(i64::from(*index)) > self.zero_threshold;
        positive.retain(outside);
        negative.retain(outside);
        Ok(Aligned {
            zero_count,
            positive,
            negative,
            bounds_reconciled: false,
        })
    }

    fn align_custom(&mut self, other: &Self) -> Aligned {
        let bounds_reconciled = self.custom != other.custom;
        let mut positive = other.positive.clone();
        if bounds_reconciled {
            let bounds = common_bounds(&self.custom, &other.custom);
            positive = map_bounds(&positive, &other.custom, &bounds);
            self.reduce_bounds(&bounds);
        }
        Aligned {
            zero_count: 0.0,
            positive,
            negative: Vec::new(),
            bounds_reconciled,
        }
    }

    /// Takes over what the hints of both say; true if they contradict.
    pub(super) fn merge_hint(&mut self, other: &Self) -> bool {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let (merged, collision) = match (self.hint, other.hint) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            (Reset | NotReset, _) => (Unknown, true),
        };
        self.hint = merged;
        collision
    }
}

/// Joins two sorted lists of buckets; what is missing counts as zero.
pub(super) fn merge(a: &Buckets, b: &Buckets, join: impl Fn(f64, f64) -> f64) -> Buckets {
    let mut joined = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (None, None) => return joined,
            (Some((index, _)), None) | (None, Some((index, _))) => *index,
            (Some((left, _)), Some((right, _))) => *left.min(right),
        };
        let left = a
            .next_if(|(index, _)| *index == next)
            .map_or(0.0, |(_, count)| *count);
        let right = b
            .next_if(|(index, _)| *index == next)
            .map_or(0.0, |(_, count)| *count);
        joined.push((next, join(left, right)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
        Histogram {
            schema: super::super::CUSTOM_SCHEMA,
            count: counts.iter().sum(),
            positive: counts
                .iter()
                .enumerate()
                .map(|(at, count)| (at as i32, *count))
                .collect(),
            custom: bounds.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn adding_takes_the_lower_resolution_and_the_wider_zero_bucket() {
        let mut fine = Histogram {
            schema: 1,
            count: 5.0,
            zero_count: 1.0,
            zero_threshold: 0.5,
            positive: vec![(-1, 1.0), (2, 3.0)],
            ..Histogram::default()
        };
        let coarse = Histogram {
            schema: 0,
            count: 2.0,
            zero_count: 1.0,
            zero_threshold: 1.0,
            positive: vec![(1, 1.0)],
            ..Histogram::default()
        };
        fine.add(&coarse).unwrap();
        assert_eq!((fine.schema, fine.zero_threshold), (0, 1.0));
        assert_eq!((fine.zero_count, fine.count), (3.0, 7.0));
        assert_eq!(fine.positive, [(1, 4.0)]);
    }

    #[test]
    fn custom_bounds_are_reduced_to_those_in_common() {
        let mut a = custom(&[1.0, 2.0, 3.0], &[1.0, 1.0, 1.0, 1.0]);
        let b = custom(&[2.0, 4.0], &[5.0, 6.0, 7.0]);
        assert!(a.add(&b).unwrap().bounds_reconciled);
        assert_eq!(a.custom, [2.0]);
        assert_eq!(a.positive, [(0, 7.0), (1, 15.0)]);
        assert_eq!(a.add(&Histogram::default()), Err(IncompatibleSchemas));
    }
}
