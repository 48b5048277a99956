//! Sums and means of histograms, as aggregations and functions over time need
//! them, and what is to be said about combining histograms.

use crate::annotation::Annotations;
use crate::histogram::{Combined, Histogram, IncompatibleSchemas, KahanHistogram, ResetHint};

/// Notes what happened when two histograms were combined.
pub(super) fn noted(
    result: Result<Combined, IncompatibleSchemas>,
    notes: &mut Annotations,
    metric: &str,
    operation: &str,
) -> Result<(), IncompatibleSchemas> {
    match result {
        Ok(combined) => {
            if combined.bounds_reconciled {
                notes.bounds_reconciled(operation);
            }
            Ok(())
        }
        Err(error) => {
            notes.mixed_buckets(metric);
            Err(error)
        }
    }
}

/// A histogram and the name of its metric.
pub(super) type Named<'a> = (&'a Histogram, &'a str);

/// The sum of histograms; none if they cannot be added.
pub(super) fn sum<'a>(
    histograms: impl Iterator<Item = Named<'a>>,
    notes: &mut Annotations,
) -> Option<Histogram> {
    let mut hints = Hints::default();
    let mut total: Option<KahanHistogram> = None;
    for (histogram, metric) in histograms {
        hints.see(histogram);
        match &mut total {
            None => total = Some(KahanHistogram::new(histogram.clone())),
            Some(total) => {
                let result = total.add(histogram);
                if noted(result, notes, metric, "aggregation").is_err() {
                    return None;
                }
            }
        }
    }
    hints.report(notes);
    total.map(KahanHistogram::total)
}

/// The mean of histograms: the sum divided, or taken step by step from where
/// the sum would overflow.
pub(super) fn mean<'a>(
    histograms: impl Iterator<Item = Named<'a>>,
    notes: &mut Annotations,
) -> Option<Histogram> {
    let mut hints = Hints::default();
    let mut running: Option<KahanHistogram> = None;
    let (mut count, mut incremental) = (0.0, false);
    for (histogram, metric) in histograms {
        hints.see(histogram);
        count += 1.0;
        let Some(current) = running.take() else {
            running = Some(KahanHistogram::new(histogram.clone()));
            continue;
        };
        let mut next = current.clone();
        let mut result = Ok(Combined::default());
        if !incremental {
            result = next.add(histogram);
            if result.is_ok() && next.has_overflow() {
                incremental = true;
                next = current;
                next.divide(count - 1.0);
            } else {
                noted(result, notes, metric, "aggregation").ok()?;
                running = Some(next);
                continue;
            }
        }
        next.scale((count - 1.0) / count);
        let mut part = histogram.clone();
        part.divide(count);
        result = result.and(next.add(&part));
        noted(result, notes, metric, "aggregation").ok()?;
        running = Some(next);
    }
    hints.report(notes);
    let mut running = running?;
    if !incremental {
        running.divide(count);
    }
    Some(running.total())
}

/// Which reset hints have been seen.
#[derive(Default)]
struct Hints {
    reset: bool,
    not_reset: bool,
}

impl Hints {
    fn see(&mut self, histogram: &Histogram) {
        self.reset |= histogram.hint == ResetHint::Reset;
        self.not_reset |= histogram.hint == ResetHint::NotReset;
    }

    fn report(&self, notes: &mut Annotations) {
        if self.reset && self.not_reset {
            notes.reset_collision("aggregation");
        }
    }
}
