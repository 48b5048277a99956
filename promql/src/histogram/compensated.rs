//! Sums of histograms with Neumaier's compensation in every figure, so that
//! large values that cancel out leave the small ones intact.

use super::arithmetic::merge;
use super::{Buckets, Combined, Histogram, IncompatibleSchemas};
use crate::number::Kahan;

/// A running sum and what rounding has lost so far, in the same layout.
#[derive(Clone, Debug)]
pub(crate) struct KahanHistogram {
    pub(crate) sum: Histogram,
    lost: Histogram,
}

impl KahanHistogram {
    pub(crate) fn new(first: Histogram) -> Self {
        let lost = Histogram {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom: first.custom.clone(),
            ..Histogram::default()
        };
        Self { sum: first, lost }
    }

    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Combined, IncompatibleSchemas> {
        let reset_collision = self.sum.merge_hint(other);
        let aligned = self.sum.align(other)?;
        self.follow_layout();
        let lost = &mut self.lost;
        let sum = &mut self.sum;
        for (total, part, value) in [
            (
                &mut sum.zero_count,
                &mut lost.zero_count,
                aligned.zero_count,
            ),
            (&mut sum.count, &mut lost.count, other.count),
            (&mut sum.sum, &mut lost.sum, other.sum),
        ] {
            let next = Kahan {
                sum: *total,
                c: *part,
            }
            .add(value);
            (*total, *part) = (next.sum, next.c);
        }
        (sum.positive, lost.positive) = add_side(&sum.positive, &lost.positive, &aligned.positive);
        (sum.negative, lost.negative) = add_side(&sum.negative, &lost.negative, &aligned.negative);
        Ok(Combined {
            reset_collision,
            bounds_reconciled: aligned.bounds_reconciled,
        })
    }

    /// Brings what was lost to the layout that the sum has now.
    fn follow_layout(&mut self) {
        if self.sum.is_custom() {
            if self.lost.custom != self.sum.custom {
                self.lost.reduce_bounds(&self.sum.custom.clone());
            }
            return;
        }
        if self.lost.zero_threshold < self.sum.zero_threshold {
            let (count, _) = self.lost.zero_count_for(self.sum.zero_threshold);
            self.lost.widen_zero(count, self.sum.zero_threshold);
        }
        self.lost.reduce_to(self.sum.schema);
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        self.sum.scale(factor);
        self.lost.scale(factor);
    }

    pub(crate) fn divide(&mut self, divisor: f64) {
        self.sum.divide(divisor);
        self.lost.divide(divisor);
    }

    /// Whether the sum has left the range of floats.
    pub(crate) fn has_overflow(&self) -> bool {
        self.sum.has_overflow()
    }

    /// The sum with what was lost put back.
    pub(crate) fn total(self) -> Histogram {
        let Self { mut sum, lost } = self;
        sum.zero_count += lost.zero_count;
        sum.count += lost.count;
        sum.sum += lost.sum;
        sum.positive = merge(&sum.positive, &lost.positive, |a, b| a + b);
        sum.negative = merge(&sum.negative, &lost.negative, |a, b| a + b);
        sum
    }
}

fn add_side(sum: &Buckets, lost: &Buckets, other: &Buckets) -> (Buckets, Buckets) {
    // All three are brought to the same indices first, so they can be zipped.
    let zero = |_: f64, _: f64| 0.0;
    let all = merge(&merge(sum, lost, zero), other, zero);
    let fill = |side: &Buckets| merge(&all, side, |_, count| count);
    let steps = fill(sum).into_iter().zip(fill(lost)).zip(fill(other));
    steps
        .map(|(((index, total), (_, part)), (_, value))| {
            let next = Kahan {
                sum: total,
                c: part,
            }
            .add(value);
            ((index, next.sum), (index, next.c))
        })
        .unzip()
}
