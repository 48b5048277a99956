//! Classic histograms as native ones with custom buckets, as `load_with_nhcb`
//! wants them beside the classic series.

use std::collections::BTreeMap;

use crate::histogram::{CUSTOM_SCHEMA, Histogram};
use crate::labels::{BUCKET, Labels, LabelsBuilder, NAME};
use crate::number::parse_bound;
use crate::value::Point;

/// What the classic series say of one histogram at one time.
#[derive(Default)]
struct Parts {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms that a set of series describes.
pub(super) fn convert(series: &[(Labels, Vec<Point>)]) -> Vec<(Labels, Vec<(i64, Histogram)>)> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Parts>> = BTreeMap::new();
    for (labels, points) in series {
        let Some((base, role)) = role(labels) else {
            continue;
        };
        let times = found.entry(base).or_default();
        for point in points {
            let Some(value) = point.value.float() else {
                continue;
            };
            let parts = times.entry(point.at_ms).or_default();
            match role {
                Role::Bucket(bound) => parts.buckets.push((bound, value)),
                Role::Count => parts.count = Some(value),
                Role::Sum => parts.sum = value,
            }
        }
    }
    let native = |(labels, times): (Labels, BTreeMap<i64, Parts>)| {
        let points: Vec<_> = times
            .into_iter()
            .filter_map(|(at, parts)| Some((at, build(parts)?)))
            .collect();
        (!points.is_empty()).then_some((labels, points))
    };
    found.into_iter().filter_map(native).collect()
}

#[derive(Clone, Copy)]
enum Role {
    Bucket(f64),
    Count,
    Sum,
}

/// The native series that a classic one belongs to, and what it tells of it.
fn role(labels: &Labels) -> Option<(Labels, Role)> {
    let name = labels.name();
    let bound = parse_bound(labels.get(BUCKET));
    let (base, role) = if let (Some(base), Some(bound)) = (name.strip_suffix("_bucket"), bound) {
        (base, Role::Bucket(bound))
    } else if let Some(base) = name.strip_suffix("_count") {
        (base, Role::Count)
    } else {
        (name.strip_suffix("_sum")?, Role::Sum)
    };
    let mut builder = LabelsBuilder::from(labels);
    builder.set(NAME, base);
    builder.set(BUCKET, "");
    Some((builder.build(), role))
}

fn build(mut parts: Parts) -> Option<Histogram> {
    parts.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    parts.buckets.dedup_by(|next, kept| next.0 == kept.0);
    let last = parts.buckets.last().map(|(_, count)| *count);
    let count = parts.count.or(last)?;
    let finite = parts.buckets.iter().filter(|(bound, _)| bound.is_finite());
    let finite: Vec<(f64, f64)> = finite.copied().collect();
    let mut below = 0.0;
    let mut positive = Vec::new();
    let all = finite.iter().map(|(_, count)| *count).chain([count]);
    for (index, cumulative) in (0i32..).zip(all) {
        positive.push((index, cumulative - below));
        below = cumulative;
    }
    let mut histogram = Histogram {
        schema: CUSTOM_SCHEMA,
        count,
        sum: parts.sum,
        positive,
        custom: finite.iter().map(|(bound, _)| *bound).collect(),
        ..Histogram::default()
    };
    histogram.compact();
    Some(histogram)
}
