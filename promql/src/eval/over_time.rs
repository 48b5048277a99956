//! Functions that fold the range of one series into a value: sums, extremes,
//! counts, times, quantiles.

use super::over_range::{Range, RangeFunction};
use super::rate::restarted;
use super::{group, math};
use crate::annotation::Annotations;
use crate::histogram::Histogram;
use crate::number::{Kahan, Mean};
use crate::storage::FloatPoint;
use crate::value::SampleValue;

type Outcome = Result<Option<SampleValue>, String>;

pub(super) fn find(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "avg_over_time" => avg,
        "sum_over_time" => sum,
        "count_over_time" => |range, _| {
            let window = range.window;
            let count = window.floats.len() + window.histograms.len();
            Ok(Some((count as f64).into()))
        },
        "present_over_time" | "absent_over_time" => |_, _| Ok(Some(1.0.into())),
        "first_over_time" => |range, _| Ok(edge(range, true).map(|(value, _)| value)),
        "last_over_time" => |range, _| Ok(edge(range, false).map(|(value, _)| value)),
        "ts_of_first_over_time" => |range, _| Ok(edge(range, true).map(|(_, at)| seconds(at))),
        "ts_of_last_over_time" => |range, _| Ok(edge(range, false).map(|(_, at)| seconds(at))),
        "max_over_time" => |range, notes| Ok(extreme(range, notes, |new, best| new > best, false)),
        "min_over_time" => |range, notes| Ok(extreme(range, notes, |new, best| new < best, false)),
        "ts_of_max_over_time" => {
            |range, notes| Ok(extreme(range, notes, |new, best| new >= best, true))
        }
        "ts_of_min_over_time" => {
            |range, notes| Ok(extreme(range, notes, |new, best| new <= best, true))
        }
        "stdvar_over_time" => |range, notes| Ok(variance(range, notes).map(SampleValue::Float)),
        "stddev_over_time" => {
            |range, notes| Ok(variance(range, notes).map(|value| value.sqrt().into()))
        }
        "mad_over_time" => mad,
        "quantile_over_time" => quantile,
        "resets" => |range, _| Ok(count_pairs(range, is_reset)),
        "changes" => |range, _| Ok(count_pairs(range, is_change)),
        _ => return None,
    })
}

fn seconds(at_ms: i64) -> SampleValue {
    (at_ms as f64 / 1000.0).into()
}

/// The numbers of a range; none if there are none. Says if it had to leave
/// out histograms.
fn floats<'a>(range: &'a Range<'_>, notes: &mut Annotations) -> Option<&'a [FloatPoint]> {
    if range.window.floats.is_empty() {
        return None;
    }
    if !range.window.histograms.is_empty() {
        notes.ignored_in_range(range.metric());
    }
    Some(&range.window.floats)
}

fn mixed(range: &Range<'_>, notes: &mut Annotations) -> bool {
    let window = range.window;
    let mixed = !window.floats.is_empty() && !window.histograms.is_empty();
    if mixed {
        notes.mixed_types(range.metric());
    }
    mixed
}

fn named<'a>(range: &'a Range<'_>) -> impl Iterator<Item = (&'a Histogram, &'a str)> {
    let metric = range.metric();
    range
        .window
        .histograms
        .iter()
        .map(move |point| (&*point.value, metric))
}

fn sum(range: &Range<'_>, notes: &mut Annotations) -> Outcome {
    if mixed(range, notes) {
        return Ok(None);
    }
    if range.window.floats.is_empty() {
        return Ok(group::sum(named(range), notes).map(SampleValue::from));
    }
    let add = |sum: Kahan, point: &FloatPoint| sum.add(point.value);
    let total = range.window.floats.iter().fold(Kahan::default(), add);
    Ok(Some(total.total().into()))
}

fn avg(range: &Range<'_>, notes: &mut Annotations) -> Outcome {
    if mixed(range, notes) {
        return Ok(None);
    }
    let Some((first, rest)) = range.window.floats.split_first() else {
        return Ok(group::mean(named(range), notes).map(SampleValue::from));
    };
    let mut mean = Mean::new(first.value);
    rest.iter().for_each(|point| mean.add(point.value));
    Ok(Some(mean.value().into()))
}

/// The first or last point of either type.
fn edge(range: &Range<'_>, first: bool) -> Option<(SampleValue, i64)> {
    let (floats, histograms) = (&range.window.floats, &range.window.histograms);
    let float = if first { floats.first() } else { floats.last() };
    let histogram = if first {
        histograms.first()
    } else {
        histograms.last()
    };
    let float = float.map(|point| (SampleValue::Float(point.value), point.at_ms));
    let histogram =
        histogram.map(|point| (SampleValue::Histogram(point.value.clone()), point.at_ms));
    match (float, histogram) {
        (Some(a), Some(b)) => Some(if (a.1 < b.1) == first && a.1 != b.1 {
            a
        } else {
            b
        }),
        (a, b) => a.or(b),
    }
}

fn extreme(
    range: &Range<'_>,
    notes: &mut Annotations,
    better: impl Fn(f64, f64) -> bool,
    time: bool,
) -> Option<SampleValue> {
    let points = floats(range, notes)?;
    let mut best = *points.first()?;
    for point in points {
        if better(point.value, best.value) || best.value.is_nan() {
            best = *point;
        }
    }
    Some(if time {
        seconds(best.at_ms)
    } else {
        best.value.into()
    })
}

/// Welford's variance of the population, compensated.
fn variance(range: &Range<'_>, notes: &mut Annotations) -> Option<f64> {
    let points = floats(range, notes)?;
    let (mut count, mut mean, mut total) = (0.0, Kahan::default(), Kahan::default());
    for point in points {
        count += 1.0;
        let delta = point.value - (mean.sum + mean.c);
        mean = mean.add(delta / count);
        total = total.add(delta * (point.value - (mean.sum + mean.c)));
    }
    Some((total.sum + total.c) / count)
}

fn mad(range: &Range<'_>, notes: &mut Annotations) -> Outcome {
    let Some(points) = floats(range, notes) else {
        return Ok(None);
    };
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    if values.iter().any(|value| value.is_nan()) {
        return Ok(Some(f64::NAN.into()));
    }
    let median = math::quantile(0.5, &mut values);
    values
        .iter_mut()
        .for_each(|value| *value = (*value - median).abs());
    Ok(Some(math::quantile(0.5, &mut values).into()))
}

fn quantile(range: &Range<'_>, notes: &mut Annotations) -> Outcome {
    let q = range.scalars.first().copied().unwrap_or(f64::NAN);
    if range.window.floats.is_empty() {
        return Ok(None);
    }
    if !(0.0..=1.0).contains(&q) {
        notes.quantile_range(q);
    }
    let Some(points) = floats(range, notes) else {
        return Ok(None);
    };
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    Ok(Some(math::quantile(q, &mut values).into()))
}

/// A value with its start time and time.
struct Step<'a> {
    value: Result<f64, &'a Histogram>,
    times: (i64, i64),
    start_timestamps: bool,
}

/// Counts neighbours for which a test holds. An anchored range begins with the
/// last point before it.
fn count_pairs(range: &Range<'_>, test: fn(&Step<'_>, &Step<'_>) -> bool) -> Option<SampleValue> {
    let window = range.window;
    let start_timestamps = range.start_timestamps;
    let floats = window.floats.iter().map(|point| Step {
        value: Ok(point.value),
        times: (point.start_ms, point.at_ms),
        start_timestamps,
    });
    let histograms = window.histograms.iter().map(|point| Step {
        value: Err(&*point.value),
        times: (point.start_ms, point.at_ms),
        start_timestamps,
    });
    let mut steps: Vec<Step<'_>> = floats.chain(histograms).collect();
    steps.sort_by_key(|step| step.times.1);
    if range.anchored {
        let inside = steps.partition_point(|step| step.times.1 <= range.after_ms);
        if inside == steps.len() {
            return None;
        }
        steps.drain(..inside.saturating_sub(1));
    }
    if steps.is_empty() {
        return None;
    }
    let count = steps
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if test(a, b)))
        .count();
    Some((count as f64).into())
}

fn is_reset(previous: &Step<'_>, current: &Step<'_>) -> bool {
    let restart = current.start_timestamps && restarted(previous.times, current.times);
    match (previous.value, current.value) {
        (Ok(before), Ok(now)) => now < before || restart,
        (Err(before), Err(now)) => restart || now.is_reset_after(before),
        _ => true,
    }
}

fn is_change(previous: &Step<'_>, current: &Step<'_>) -> bool {
    match (previous.value, current.value) {
        (Ok(before), Ok(now)) => before != now && !(before.is_nan() && now.is_nan()),
        (Err(before), Err(now)) => !now.same_data(before),
        _ => true,
    }
}
