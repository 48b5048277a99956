//! Trends: least squares (`deriv`, `predict_linear`) and double exponential
//! smoothing.

use super::over_range::{Range, RangeFunction};
use crate::annotation::Annotations;
use crate::number::Kahan;
use crate::storage::FloatPoint;
use crate::value::SampleValue;

type Outcome = Result<Option<SampleValue>, String>;

pub(super) fn find(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "deriv" => |range, notes| {
            let line = points(range, notes).map(|points| fit(points, points[0].at_ms));
            Ok(line.map(|line| line.slope.into()))
        },
        "predict_linear" => |range, notes| {
            let ahead = range.scalars.first().copied().unwrap_or(f64::NAN);
            let line = points(range, notes).map(|points| fit(points, range.at_ms));
            Ok(line.map(|line| (line.slope * ahead + line.intercept).into()))
        },
        "double_exponential_smoothing" => smooth,
        _ => return None,
    })
}

/// The numbers of a range if there are two or more.
fn points<'a>(range: &'a Range<'_>, notes: &mut Annotations) -> Option<&'a [FloatPoint]> {
    let points = &range.window.floats;
    if !points.is_empty() && !range.window.histograms.is_empty() {
        notes.ignored_in_range(range.metric());
    }
    (points.len() >= 2).then_some(points)
}

struct Line {
    slope: f64,
    intercept: f64,
}

/// The line of least squares; the intercept is its value at `zero_ms`.
fn fit(points: &[FloatPoint], zero_ms: i64) -> Line {
    let first = points.first().map_or(f64::NAN, |point| point.value);
    if points.iter().all(|point| point.value == first) {
        let value = if first.is_infinite() { f64::NAN } else { first };
        let slope = if first.is_infinite() { f64::NAN } else { 0.0 };
        return Line {
            slope,
            intercept: value,
        };
    }
    let n = points.len() as f64;
    let mut sums = [Kahan::default(); 4];
    for point in points {
        let (x, y) = (
            point.at_ms.saturating_sub(zero_ms) as f64 / 1000.0,
            point.value,
        );
        for (sum, value) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            *sum = sum.add(value);
        }
    }
    let [x, y, xy, xx] = sums.map(|sum| sum.sum + sum.c);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Line {
        slope,
        intercept: y / n - slope * x / n,
    }
}

/// Holt's smoothing of level and trend; both factors between 0 and 1.
fn smooth(range: &Range<'_>, notes: &mut Annotations) -> Outcome {
    let [level, trend] = range.scalars else {
        return Err("expected smoothing and trend factor".to_owned());
    };
    for (name, factor) in [("smoothing", level), ("trend", trend)] {
        if *factor <= 0.0 || *factor >= 1.0 {
            let mark = if name == "smoothing" { "sf" } else { "tf" };
            return Err(format!(
                "invalid {name} factor. Expected: 0 < {mark} < 1, got: {factor:.6}"
            ));
        }
    }
    let Some(points) = points(range, notes) else {
        return Ok(None);
    };
    let (mut before, mut smoothed) = (0.0, points[0].value);
    let mut slope = points[1].value - points[0].value;
    for (at, point) in points.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = level * point.value + (1.0 - level) * (smoothed + slope);
        (before, smoothed) = (smoothed, next);
    }
    Ok(Some(smoothed.into()))
}
