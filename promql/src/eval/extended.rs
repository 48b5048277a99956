//! `anchored` and `smoothed` ranges: the first begins with the last point
//! before the range, the second interpolates at both ends.

use super::group::noted;
use super::over_range::Range;
use super::rate::Kind;
use crate::annotation::Annotations;
use crate::histogram::{Histogram, IncompatibleSchemas, ResetHint};
use crate::storage::{FloatPoint, HistogramPoint, Window};
use crate::value::SampleValue;

/// The change over an extended range.
pub(super) fn change(
    range: &Range<'_>,
    notes: &mut Annotations,
    kind: Kind,
) -> Option<SampleValue> {
    let window = range.window;
    if window.histograms.is_empty() {
        return float_change(range, kind).map(SampleValue::Float);
    }
    histogram_change(range, notes, kind).map(SampleValue::from)
}

/// The value of a series at a time, interpolated between its neighbours.
pub(super) fn value_at(
    window: &Window,
    at_ms: i64,
    metric: &str,
    notes: &mut Annotations,
) -> Option<SampleValue> {
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        notes.mixed_types(metric);
        return None;
    }
    if window.histograms.is_empty() {
        let points = &window.floats;
        let next = points.partition_point(|point| point.at_ms < at_ms);
        if let Some(exact) = points.get(next).filter(|point| point.at_ms == at_ms) {
            return Some(exact.value.into());
        }
        let before = points.get(next.checked_sub(1)?)?;
        let value = points
            .get(next)
            .map_or(before.value, |after| between(before, after, at_ms, false));
        return Some(value.into());
    }
    let points = &window.histograms;
    let next = points.partition_point(|point| point.at_ms < at_ms);
    if let Some(exact) = points.get(next).filter(|point| point.at_ms == at_ms) {
        return Some(SampleValue::Histogram(exact.value.clone()));
    }
    let before = points.get(next.checked_sub(1)?)?;
    let Some(after) = points.get(next) else {
        return Some(SampleValue::Histogram(before.value.clone()));
    };
    if before.value.is_custom() != after.value.is_custom() {
        notes.mixed_buckets(metric);
        return None;
    }
    // A histogram that is no gauge is a counter, whatever its name.
    let counter = after.value.hint != ResetHint::Gauge && before.value.hint != ResetHint::Gauge;
    let value = between_histograms(before, after, at_ms, counter, notes);
    reported(value, metric, notes).map(SampleValue::from)
}

/// Which points a range begins and ends with; none if it has none.
fn ends(times: &[i64], range: &Range<'_>) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let search = |test: &dyn Fn(i64) -> bool| {
        times
            .get(..last)
            .unwrap_or_default()
            .partition_point(|at| !test(*at))
    };
    let first = search(&|at| at > range.after_ms).saturating_sub(1);
    if range.smoothed {
        last = search(&|at| at >= range.until_ms);
    }
    if *times.get(last)? <= range.after_ms {
        return None;
    }
    if range.smoothed && *times.get(first)? > range.until_ms {
        return None;
    }
    Some((first, last))
}

fn between(before: &FloatPoint, after: &FloatPoint, at_ms: i64, counter: bool) -> f64 {
    let start = if counter && after.value < before.value {
        0.0
    } else {
        before.value
    };
    let passed = at_ms.saturating_sub(before.at_ms) as f64;
    let whole = after.at_ms.saturating_sub(before.at_ms) as f64;
    start + (after.value - start) * passed / whole
}

fn float_change(range: &Range<'_>, kind: Kind) -> Option<f64> {
    let points = &range.window.floats;
    let times: Vec<i64> = points.iter().map(|point| point.at_ms).collect();
    let (mut first, mut last) = ends(&times, range)?;
    let (head, tail) = (points.get(first)?, points.get(last)?);
    let mut left = head.value;
    if range.smoothed && head.at_ms < range.after_ms {
        left = between(head, points.get(first + 1)?, range.after_ms, kind.counter);
    }
    let mut right = tail.value;
    if range.smoothed && last > 0 && tail.at_ms > range.until_ms {
        right = between(points.get(last - 1)?, tail, range.until_ms, kind.counter);
    }
    let mut total = right - left;
    if kind.counter {
        // Resets at the ends are part of the interpolated values already.
        if head.at_ms <= range.after_ms {
            first += 1;
        }
        let end = if tail.at_ms >= range.until_ms {
            last
        } else {
            last + 1
        };
        last = end;
        let mut previous = left;
        for point in points.get(first..last).unwrap_or_default() {
            if point.value < previous {
                total += previous;
            }
            previous = point.value;
        }
        if right < previous {
            total += previous;
        }
    }
    Some(if kind.per_second {
        total / range.seconds()
    } else {
        total
    })
}

fn between_histograms(
    before: &HistogramPoint,
    after: &HistogramPoint,
    at_ms: i64,
    counter: bool,
    notes: &mut Annotations,
) -> Result<Histogram, IncompatibleSchemas> {
    if at_ms == before.at_ms {
        return Ok((*before.value).clone());
    }
    let mut value = (*after.value).clone();
    if at_ms == after.at_ms {
        return Ok(value);
    }
    let passed = at_ms.saturating_sub(before.at_ms) as f64;
    let fraction = passed / after.at_ms.saturating_sub(before.at_ms) as f64;
    if counter && after.value.is_reset_after(&before.value) {
        value.scale(fraction);
        return Ok(value);
    }
    if value.subtract(&before.value)?.bounds_reconciled {
        notes.bounds_reconciled("subtraction");
    }
    value.scale(fraction);
    if value.add(&before.value)?.bounds_reconciled {
        notes.bounds_reconciled("addition");
    }
    Ok(value)
}

fn reported(
    value: Result<Histogram, IncompatibleSchemas>,
    metric: &str,
    notes: &mut Annotations,
) -> Option<Histogram> {
    value.map_err(|_| notes.mixed_buckets(metric)).ok()
}

fn histogram_change(range: &Range<'_>, notes: &mut Annotations, kind: Kind) -> Option<Histogram> {
    let points = &range.window.histograms;
    let metric = range.metric();
    let times: Vec<i64> = points.iter().map(|point| point.at_ms).collect();
    let (first, last) = ends(&times, range)?;
    let inside = points.get(first..=last)?;
    let (head, tail) = (inside.first()?, inside.last()?);
    let custom = head.value.is_custom();
    if inside.iter().any(|point| point.value.is_custom() != custom) {
        notes.mixed_buckets(metric);
        return None;
    }
    if kind.counter
        && inside
            .iter()
            .any(|point| point.value.hint == ResetHint::Gauge)
    {
        notes.not_a_counter(metric);
    }
    let mut left = (*head.value).clone();
    if range.smoothed && head.at_ms < range.after_ms {
        let next = points.get(first + 1)?;
        let value = between_histograms(head, next, range.after_ms, kind.counter, notes);
        left = reported(value, metric, notes)?;
    }
    let mut right = (*tail.value).clone();
    if range.smoothed && last > 0 && tail.at_ms > range.until_ms {
        let before = points.get(last - 1)?;
        let value = between_histograms(before, tail, range.until_ms, kind.counter, notes);
        right = reported(value, metric, notes)?;
    }
    let gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    if !(kind.counter || gauge(&left) && gauge(&right)) {
        notes.not_a_gauge(metric);
    }
    let mut total = right.clone();
    noted(total.subtract(&left), notes, metric, "subtraction").ok()?;
    if kind.counter {
        for lost in before_resets(range, (first, last), &left, &right) {
            noted(total.add(lost), notes, metric, "addition").ok()?;
        }
    }
    if kind.per_second {
        total.divide(range.seconds());
    }
    total.hint = ResetHint::Gauge;
    total.compact();
    Some(total)
}

/// The histograms that were followed by a reset between the two ends.
fn before_resets<'a>(
    range: &'a Range<'_>,
    (first, last): (usize, usize),
    left: &'a Histogram,
    right: &Histogram,
) -> Vec<&'a Histogram> {
    let points = &range.window.histograms;
    let mut start = first + 1;
    let mut previous = left;
    if let (Some(head), Some(next)) = (points.get(first), points.get(first + 1)) {
        let skipped = range.smoothed && head.at_ms < range.after_ms;
        if skipped && next.value.is_reset_after(&head.value) {
            // The interpolated left end has this reset in it.
            previous = &next.value;
            start += 1;
        }
    }
    let mut found = Vec::new();
    if start > last {
        return found;
    }
    for point in points.get(start..last).unwrap_or_default() {
        if point.value.is_reset_after(previous) {
            found.push(previous);
        }
        previous = &point.value;
    }
    if right.is_reset_after(previous) {
        found.push(previous);
    }
    found
}
