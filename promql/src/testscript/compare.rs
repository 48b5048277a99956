//! Compares results with what a script expects, within the tolerance of
//! Prometheus's own runner (a relative difference of 1e-6).

use std::collections::BTreeMap;

use super::notation::{self, Item};
use super::script::{Expected, Pattern};
use crate::annotation::{Annotations, Severity};
use crate::histogram::{Buckets, Histogram};
use crate::labels::Labels;
use crate::parse::parse_labels;
use crate::value::{Point, Sample, SampleValue, Series, Value, is_stale};

const TOLERANCE: f64 = 1e-6;

/// A series that a script expects, with its values in order of steps.
struct Wanted {
    labels: Labels,
    values: Vec<Option<Item>>,
}

/// Compares the result of an instant query.
pub(super) fn instant(value: &Value, expected: &Expected) -> Result<(), String> {
    if let Some(text) = &expected.text {
        return match value {
            Value::String(have) if have == text => Ok(()),
            other => Err(format!("expected string {text:?}, got {other:?}")),
        };
    }
    if let Some((start, _, step)) = expected.matrix {
        return match value {
            Value::Matrix(series) => range(series, expected, start, step),
            other => Err(format!("expected a range vector, got {other:?}")),
        };
    }
    if let [line] = expected.lines.as_slice()
        && let Ok((wanted, "")) = notation::number(line)
    {
        return match value {
            Value::Scalar(have) if same_number(wanted, *have) => Ok(()),
            other => Err(format!("expected scalar {wanted}, got {other:?}")),
        };
    }
    match value {
        Value::Vector(vector) => same_vector(vector, expected),
        other => Err(format!("expected an instant vector, got {other:?}")),
    }
}

fn same_vector(vector: &[Sample], expected: &Expected) -> Result<(), String> {
    let wanted = wanted(expected)?;
    for (at, sample) in vector.iter().enumerate() {
        let found = wanted
            .iter()
            .position(|wanted| wanted.labels == sample.labels);
        let Some(place) = found else {
            return Err(format!(
                "unexpected {} with value {:?}",
                sample.labels, sample.value
            ));
        };
        if expected.ordered && place != at {
            return Err(format!(
                "{} is at place {at}, expected at {place}",
                sample.labels
            ));
        }
        let item = wanted[place].values.first().cloned().flatten();
        let item = item.ok_or_else(|| format!("no value expected for {}", sample.labels))?;
        same_value(&item, &sample.value)
            .map_err(|reason| format!("{}: {reason}", sample.labels))?;
    }
    let missing = wanted
        .iter()
        .find(|wanted| !vector.iter().any(|sample| sample.labels == wanted.labels));
    match missing {
        Some(missing) => Err(format!("expected {} not found", missing.labels)),
        None if vector.len() != wanted.len() => Err(format!(
            "expected {} elements, got {}",
            wanted.len(),
            vector.len()
        )),
        None => Ok(()),
    }
}

/// Compares the result of a range query.
pub(super) fn range(
    series: &[Series],
    expected: &Expected,
    start_ms: i64,
    step_ms: i64,
) -> Result<(), String> {
    let mut have: BTreeMap<&Labels, &[Point]> = BTreeMap::new();
    for one in series {
        if have.insert(&one.labels, &one.points).is_some() {
            return Err(format!("{} comes twice", one.labels));
        }
    }
    for Wanted { labels, values } in wanted(expected)? {
        let steps = (0i64..).zip(&values);
        let wanted: Vec<(i64, &Item)> = steps
            .filter_map(|(at, item)| Some((start_ms + at * step_ms, item.as_ref()?)))
            .collect();
        let points = have.remove(&labels).unwrap_or_default();
        let times = |list: &mut dyn Iterator<Item = i64>| list.collect::<Vec<_>>();
        let (wanted_at, have_at) = (
            times(&mut wanted.iter().map(|(at, _)| *at)),
            times(&mut points.iter().map(|point| point.at_ms)),
        );
        if wanted_at != have_at {
            return Err(format!(
                "{labels}: expected values at {wanted_at:?}, got {points:?}"
            ));
        }
        for ((at, item), point) in wanted.iter().zip(points) {
            same_value(item, &point.value)
                .map_err(|reason| format!("{labels} at {at}: {reason}"))?;
        }
    }
    match have.first_key_value() {
        Some((labels, points)) => Err(format!("unexpected {labels} {points:?}")),
        None => Ok(()),
    }
}

fn wanted(expected: &Expected) -> Result<Vec<Wanted>, String> {
    expected
        .lines
        .iter()
        .map(|line| wanted_series(line))
        .collect()
}

fn wanted_series(line: &str) -> Result<Wanted, String> {
    let end = labels_end(line);
    let labels = parse_labels(&line[..end]).map_err(|error| format!("{line:?}: {error}"))?;
    let values = notation::values(&line[end..]).map_err(|error| format!("{line:?}: {error}"))?;
    Ok(Wanted { labels, values })
}

/// Where the labels at the begin of a line end.
pub(super) fn labels_end(line: &str) -> usize {
    let (mut quoted, mut escaped, mut depth) = (None, false, 0);
    for (at, c) in line.char_indices() {
        match quoted {
            Some(quote) => {
                if escaped {
                    escaped = false;
                } else if c == '\\' && quote != '`' {
                    escaped = true;
                } else if c == quote {
                    quoted = None;
                }
            }
            None if matches!(c, '"' | '\'' | '`') => quoted = Some(c),
            None if c == '{' => depth += 1,
            None if c == '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            None if c.is_whitespace() && depth == 0 => {
                if line[at..].trim_start().starts_with('{')
                    && !line[at..].trim_start().starts_with("{{")
                {
                    continue;
                }
                return at;
            }
            None => {}
        }
    }
    line.len()
}

fn same_number(wanted: f64, have: f64) -> bool {
    if is_stale(wanted) || is_stale(have) {
        return is_stale(wanted) && is_stale(have);
    }
    if wanted.is_nan() || have.is_nan() {
        return wanted.is_nan() && have.is_nan();
    }
    if wanted == have {
        return true;
    }
    let (sum, difference) = (wanted.abs() + have.abs(), (wanted - have).abs());
    if wanted == 0.0 || have == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn same_value(wanted: &Item, have: &SampleValue) -> Result<(), String> {
    let same = match (&wanted.value, have) {
        (SampleValue::Float(wanted), SampleValue::Float(have)) => same_number(*wanted, *have),
        (SampleValue::Histogram(a), SampleValue::Histogram(b)) => {
            same_histogram(a, b) && (!wanted.hinted || a.hint == b.hint)
        }
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(format!(
            "expected {}, got {}",
            show(&wanted.value),
            show(have)
        ))
    }
}

fn show(value: &SampleValue) -> String {
    match value {
        SampleValue::Float(value) => value.to_string(),
        SampleValue::Histogram(histogram) => {
            format!(
                "{histogram} schema {} hint {:?} {:?}",
                histogram.schema, histogram.hint, histogram.custom
            )
        }
    }
}

fn same_histogram(wanted: &Histogram, have: &Histogram) -> bool {
    let (mut wanted, mut have) = (wanted.clone(), have.clone());
    wanted.compact();
    have.compact();
    let sides = [
        (&wanted.positive, &have.positive),
        (&wanted.negative, &have.negative),
    ];
    let same_side = |(a, b): (&Buckets, &Buckets)| {
        let same = |((i, a), (j, b)): (&(i32, f64), &(i32, f64))| i == j && same_number(*a, *b);
        a.len() == b.len() && a.iter().zip(b).all(same)
    };
    wanted.schema == have.schema
        && wanted.custom == have.custom
        && same_number(wanted.count, have.count)
        && same_number(wanted.sum, have.sum)
        && same_number(wanted.zero_count, have.zero_count)
        && (wanted.is_custom() || same_number(wanted.zero_threshold, have.zero_threshold))
        && sides.into_iter().all(same_side)
}

/// Compares remarks with what a script expects of them.
pub(super) fn annotations(have: &Annotations, expected: &Expected) -> Result<(), String> {
    for severity in [Severity::Warning, Severity::Info] {
        let texts: Vec<String> = have
            .iter()
            .filter(|annotation| annotation.severity == severity)
            .map(ToString::to_string)
            .collect();
        if expected.none_of.contains(&severity) && !texts.is_empty() {
            return Err(format!("unexpected {texts:?}"));
        }
        let patterns: Vec<&Pattern> = expected
            .some_of
            .iter()
            .filter(|(s, _)| *s == severity)
            .map(|(_, p)| p)
            .collect();
        if patterns.is_empty() {
            continue;
        }
        let unmatched = patterns
            .iter()
            .find(|p| !texts.iter().any(|text| matches(p, text)));
        if let Some(pattern) = unmatched {
            return Err(format!("expected {severity:?} {pattern:?}, got {texts:?}"));
        }
        if let Some(text) = texts
            .iter()
            .find(|text| !patterns.iter().any(|p| matches(p, text)))
        {
            return Err(format!("unexpected {severity:?}: {text}"));
        }
    }
    Ok(())
}

/// Whether a text is what a pattern asks for.
pub(super) fn matches(pattern: &Pattern, text: &str) -> bool {
    match pattern {
        Pattern::Any => true,
        Pattern::Exact(wanted) => wanted == text,
        Pattern::Regex(regex) => regex::Regex::new(regex).is_ok_and(|regex| regex.is_match(text)),
    }
}
