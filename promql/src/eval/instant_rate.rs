//! `irate` and `idelta`: the change between the last two points.

use super::group::noted;
use super::over_range::{Range, RangeFunction};
use super::rate::restarted;
use crate::annotation::Annotations;
use crate::histogram::{Histogram, ResetHint};
use crate::storage::{FloatPoint, HistogramPoint};
use crate::value::SampleValue;

type Outcome = Result<Option<SampleValue>, String>;

pub(super) fn find(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "irate" => |range, notes| instant(range, notes, true),
        "idelta" => |range, notes| instant(range, notes, false),
        _ => return None,
    })
}

/// A point of either type.
enum Either<'a> {
    Float(&'a FloatPoint),
    Histogram(&'a HistogramPoint),
}

impl Either<'_> {
    fn at_ms(&self) -> i64 {
        match self {
            Self::Float(point) => point.at_ms,
            Self::Histogram(point) => point.at_ms,
        }
    }

    fn times(&self) -> (i64, i64) {
        match self {
            Self::Float(point) => (point.start_ms, point.at_ms),
            Self::Histogram(point) => (point.start_ms, point.at_ms),
        }
    }
}

fn instant(range: &Range<'_>, notes: &mut Annotations, counter: bool) -> Outcome {
    let window = range.window;
    let floats = window.floats.iter().rev().take(2).map(Either::Float);
    let histograms = window
        .histograms
        .iter()
        .rev()
        .take(2)
        .map(Either::Histogram);
    let mut last: Vec<Either<'_>> = floats.chain(histograms).collect();
    last.sort_by_key(Either::at_ms);
    let (Some(current), Some(previous)) = (last.pop(), last.pop()) else {
        return Ok(None);
    };
    let seconds = (current.at_ms() - previous.at_ms()) as f64 / 1000.0;
    if seconds == 0.0 {
        return Ok(None);
    }
    let restart = range.start_timestamps && restarted(previous.times(), current.times());
    match (previous, current) {
        (Either::Float(previous), Either::Float(current)) => {
            let reset = counter && (current.value < previous.value || restart);
            let mut change = current.value;
            if !reset {
                change -= previous.value;
            }
            Ok(Some(
                (if counter { change / seconds } else { change }).into(),
            ))
        }
        (Either::Histogram(previous), Either::Histogram(current)) => {
            let pair = (&*previous.value, &*current.value);
            let change = instant_histogram(range, notes, pair, (counter, restart));
            Ok(change.map(|mut change| {
                if counter {
                    change.divide(seconds);
                }
                change.into()
            }))
        }
        _ => {
            notes.mixed_types(range.metric());
            Ok(None)
        }
    }
}

fn instant_histogram(
    range: &Range<'_>,
    notes: &mut Annotations,
    (previous, current): (&Histogram, &Histogram),
    (counter, restart): (bool, bool),
) -> Option<Histogram> {
    let gauge = |histogram: &Histogram| histogram.hint == ResetHint::Gauge;
    if counter && (gauge(previous) || gauge(current)) {
        notes.not_a_counter(range.metric());
    }
    if !(counter || gauge(previous) && gauge(current)) {
        notes.not_a_gauge(range.metric());
    }
    let mut change = current.clone();
    if !counter || !(restart || current.is_reset_after(previous)) {
        noted(
            change.subtract(previous),
            notes,
            range.metric(),
            "subtraction",
        )
        .ok()?;
    }
    change.hint = ResetHint::Gauge;
    change.compact();
    Some(change)
}
