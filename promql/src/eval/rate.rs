//! `rate`, `increase`, `delta`: the change over a range, extrapolated to its
//! ends. Counters go back to zero when their value falls or their start time
//! says so.

use super::extended;
use super::group::noted;
use super::over_range::{Range, RangeFunction};
use crate::annotation::Annotations;
use crate::histogram::{Histogram, ResetHint};
use crate::storage::HistogramPoint;
use crate::value::SampleValue;

pub(super) fn find(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => |range, notes| {
            Ok(change(
                range,
                notes,
                Kind {
                    counter: true,
                    per_second: true,
                },
            ))
        },
        "increase" => |range, notes| {
            Ok(change(
                range,
                notes,
                Kind {
                    counter: true,
                    per_second: false,
                },
            ))
        },
        "delta" => |range, notes| {
            Ok(change(
                range,
                notes,
                Kind {
                    counter: false,
                    per_second: false,
                },
            ))
        },
        _ => return None,
    })
}

/// What kind of change is asked for.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) counter: bool,
    pub(super) per_second: bool,
}

/// Whether the start time says that the counter began anew since `previous`.
pub(super) fn restarted(previous: (i64, i64), current: (i64, i64)) -> bool {
    let ((before_start, before_at), (start, at)) = (previous, current);
    if start == 0 || start >= at || start < before_at {
        return false;
    }
    if start > before_at {
        return true;
    }
    // It begins where the last point lies: so do deltas, and so do counters
    // whose start is not known; the point before tells which it is.
    before_start <= before_at && before_start != 0 && before_start != before_at
}

fn overlaps(previous: (i64, i64), start: i64) -> bool {
    start != 0 && start < previous.1 && start != previous.0
}

fn change(range: &Range<'_>, notes: &mut Annotations, kind: Kind) -> Option<SampleValue> {
    let window = range.window;
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        notes.mixed_types(range.metric());
        return None;
    }
    if range.anchored || range.smoothed {
        return extended::change(range, notes, kind);
    }
    if window.floats.is_empty() {
        return histogram_change(range, notes, kind);
    }
    let points = &window.floats;
    let (first, last) = (points.first()?, points.last()?);
    let mut total = last.value - first.value;
    if kind.counter {
        total += resets_total(range, notes);
    }
    let spread = Spread::new(range, points.len(), (first.at_ms, last.at_ms));
    let (factor, from_start) = spread.factor(kind, first.start_ms, || {
        (total > 0.0 && first.value >= 0.0).then(|| first.value / total)
    })?;
    if from_start {
        total += first.value;
    }
    Some((total * factor).into())
}

/// What was counted before resets.
fn resets_total(range: &Range<'_>, notes: &mut Annotations) -> f64 {
    let mut total = 0.0;
    for pair in range.window.floats.windows(2) {
        let [previous, current] = pair else { continue };
        let before = (previous.start_ms, previous.at_ms);
        let times = range
            .start_timestamps
            .then_some((current.start_ms, current.at_ms));
        if times.is_some_and(|(start, _)| overlaps(before, start)) {
            warn_overlap(range, notes);
        }
        let restart = times.is_some_and(|times| restarted(before, times));
        if current.value < previous.value || restart {
            total += previous.value;
        }
    }
    total
}

fn warn_overlap(range: &Range<'_>, notes: &mut Annotations) {
    notes.warn(format!(
        "sample has start time that overlaps with previous sample timestamp for metric {:?}",
        range.metric()
    ));
}

/// How the points lie in the range.
struct Spread {
    to_start: f64,
    to_end: f64,
    sampled: f64,
    average: f64,
    seconds: f64,
    single: bool,
    bounds: (i64, i64),
    last_ms: i64,
    first_ms: i64,
    start_timestamps: bool,
}

impl Spread {
    fn new(range: &Range<'_>, points: usize, (first_ms, last_ms): (i64, i64)) -> Self {
        let seconds = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1000.0;
        let sampled = seconds(first_ms, last_ms);
        let gaps = points.saturating_sub(1);
        Self {
            to_start: seconds(range.after_ms, first_ms),
            to_end: seconds(last_ms, range.until_ms),
            sampled,
            average: if gaps > 0 { sampled / gaps as f64 } else { 0.0 },
            seconds: range.seconds(),
            single: gaps == 0,
            bounds: (range.after_ms, range.until_ms),
            last_ms,
            first_ms,
            start_timestamps: range.start_timestamps,
        }
    }

    /// By how much the change between the points stands for that of the range;
    /// true if the counter was born within it, so that the first value counts.
    /// None if one point alone tells nothing.
    ///
    /// Ends are extrapolated all the way if the next point would be expected
    /// no further than 1.1 average gaps away, else by half a gap; and never
    /// below a counter's zero.
    fn factor(
        mut self,
        kind: Kind,
        start_ms: i64,
        zero: impl FnOnce() -> Option<f64>,
    ) -> Option<(f64, bool)> {
        let threshold = self.average * 1.1;
        let born = kind.counter
            && self.start_timestamps
            && start_ms != 0
            && start_ms > self.bounds.0
            && start_ms < self.first_ms;
        if born {
            self.to_start = 0.0;
            self.sampled = self.last_ms.saturating_sub(start_ms) as f64 / 1000.0;
        } else if self.single {
            return None;
        } else {
            if self.to_start >= threshold {
                self.to_start = self.average / 2.0;
            }
            if let Some(share) = zero().filter(|_| kind.counter) {
                self.to_start = self.to_start.min(self.sampled * share);
            }
        }
        if self.to_end >= threshold {
            self.to_end = self.average / 2.0;
        }
        let mut factor = 1.0;
        if self.sampled != 0.0 {
            factor = (self.sampled + self.to_start + self.to_end) / self.sampled;
        }
        if kind.per_second {
            factor /= self.seconds;
        }
        Some((factor, born))
    }
}

fn histogram_change(range: &Range<'_>, notes: &mut Annotations, kind: Kind) -> Option<SampleValue> {
    let points = &range.window.histograms;
    let (first, last) = (points.first()?, points.last()?);
    let mut total = None;
    if points.len() > 1 {
        total = Some(histogram_total(range, notes, kind.counter)?);
    }
    let count = total.as_ref().map_or(0.0, |total| total.count);
    let spread = Spread::new(range, points.len(), (first.at_ms, last.at_ms));
    let (factor, from_start) = spread.factor(kind, first.start_ms, || {
        (count > 0.0 && first.value.count >= 0.0).then(|| first.value.count / count)
    })?;
    let mut total = match total {
        Some(mut total) => {
            if from_start {
                noted(total.add(&first.value), notes, range.metric(), "addition").ok()?;
            }
            total
        }
        None if from_start => (*first.value).clone(),
        None => return None,
    };
    total.scale(factor);
    Some(total.into())
}

/// The change between the first and the last histogram, resets put back.
fn histogram_total(range: &Range<'_>, notes: &mut Annotations, counter: bool) -> Option<Histogram> {
    let points = &range.window.histograms;
    let metric = range.metric();
    let (first, last) = (points.first()?, points.last()?);
    let second = points.get(1)?;
    let restart = |previous: &HistogramPoint, current: &HistogramPoint| {
        range.start_timestamps
            && restarted(
                (previous.start_ms, previous.at_ms),
                (current.start_ms, current.at_ms),
            )
    };
    doubt_hints(range, notes, counter);
    // After a reset the layout of the first one does not matter any more.
    let mut base = (*first.value).clone();
    if counter && (restart(first, second) || second.value.is_reset_after(&first.value)) {
        base = Histogram {
            schema: second.value.schema,
            custom: second.value.custom.clone(),
            ..Histogram::default()
        };
    }
    let custom = base.is_custom();
    let inner = if counter {
        points.get(1..).unwrap_or_default()
    } else {
        std::slice::from_ref(last)
    };
    if inner.iter().any(|point| point.value.is_custom() != custom) {
        notes.mixed_buckets(metric);
        return None;
    }
    let mut total = (*last.value).clone();
    let schema = inner
        .iter()
        .map(|point| point.value.schema)
        .min()
        .unwrap_or(base.schema);
    total.reduce_to(schema.min(base.schema));
    noted(total.subtract(&base), notes, metric, "subtraction").ok()?;
    if counter {
        let mut previous = &base;
        for pair in points.windows(2) {
            let [before, current] = pair else { continue };
            if range.start_timestamps && overlaps((before.start_ms, before.at_ms), current.start_ms)
            {
                warn_overlap(range, notes);
            }
            if restart(before, current) || current.value.is_reset_after(previous) {
                noted(total.add(previous), notes, metric, "addition").ok()?;
            }
            previous = &current.value;
        }
    }
    total.hint = ResetHint::Gauge;
    total.compact();
    Some(total)
}

/// Says so if the hints do not suit what is computed.
fn doubt_hints(range: &Range<'_>, notes: &mut Annotations, counter: bool) {
    let mut hints = range.window.histograms.iter().map(|point| point.value.hint);
    if counter {
        if hints.any(|hint| hint == ResetHint::Gauge) {
            notes.not_a_counter(range.metric());
        }
        return;
    }
    let ends = [hints.next(), hints.next_back()];
    if ends
        .into_iter()
        .flatten()
        .any(|hint| hint != ResetHint::Gauge)
    {
        notes.not_a_gauge(range.metric());
    }
}
