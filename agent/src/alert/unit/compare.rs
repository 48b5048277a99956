//! What was expected against what is, shown as promtool shows it.

use std::fmt::Write as _;

use weir_promql::histogram::{Histogram, ResetHint};
use weir_promql::labels::Labels;
use weir_promql::testscript;
use weir_promql::value::{Sample, SampleValue};

use super::schema;
use crate::alert::page::Pairs;
use crate::alert::template::{self, number};

/// An alert as tests see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) labels: Pairs,
    pub(super) annotations: Pairs,
}

fn braces<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<_> = pairs
        .map(|(name, value)| {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let is_plain =
                name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
            let name = if is_plain {
                name.to_owned()
            } else {
                template::quote(name)
            };
            format!("{name}={}", template::quote(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

fn of_map(map: &Pairs) -> String {
    braces(
        map.iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    )
}

/// Alerts as a numbered list.
pub(super) fn alerts(list: &[Seen]) -> String {
    if list.is_empty() {
        return "[]".to_owned();
    }
    let indent = " ".repeat(12);
    let mut text = String::from("[\n");
    for (index, seen) in list.iter().enumerate() {
        let end = if index + 1 < list.len() { "," } else { "" };
        let labels = of_map(&seen.labels);
        let annotations = of_map(&seen.annotations);
        let _ = writeln!(text, "{indent}{index}:");
        let _ = writeln!(text, "{indent}  Labels:{labels}");
        let _ = writeln!(text, "{indent}  Annotations:{annotations}{end}");
    }
    text + &indent + "]"
}

/// An element that is expected.
pub(super) struct Wanted {
    labels: Labels,
    value: SampleValue,
}

impl Wanted {
    /// Reads what the test says.
    ///
    /// # Errors
    /// If labels or histogram cannot be read.
    pub(super) fn read(sample: &schema::Sample) -> Result<Self, String> {
        let wrong = |why: String| format!("labels {:?}: {why}", sample.labels);
        let written = if sample.labels.is_empty() {
            "{}"
        } else {
            &sample.labels
        };
        let (labels, _) = testscript::series(written, "").map_err(wrong)?;
        if sample.histogram.is_empty() {
            return Ok(Self {
                labels,
                value: SampleValue::Float(sample.value),
            });
        }
        let (_, values) = testscript::series("{}", &sample.histogram).map_err(wrong)?;
        match values.as_slice() {
            [Some(value @ SampleValue::Histogram(_))] => Ok(Self {
                labels,
                value: value.clone(),
            }),
            [_] => Err(wrong("expected histogram".to_owned())),
            other => Err(wrong(format!("expected 1 value, got {}", other.len()))),
        }
    }
}

/// Compares a result with what is expected, regardless of order.
///
/// # Errors
/// With both, as promtool shows them.
pub(super) fn samples(
    mut wanted: Vec<Wanted>,
    mut got: Vec<Sample>,
    fuzzy: bool,
) -> Result<(), String> {
    wanted.sort_by(|a, b| a.labels.cmp(&b.labels));
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    let pairs = wanted.iter().zip(&got);
    let mut same = pairs.map(|(wanted, got)| {
        wanted.labels == got.labels && same_value(&wanted.value, &got.value, fuzzy)
    });
    if wanted.len() == got.len() && same.all(|same| same) {
        return Ok(());
    }
    let wanted = wanted
        .iter()
        .map(|wanted| shown(&wanted.labels, &wanted.value));
    let got = got.iter().map(|got| shown(&got.labels, &got.value));
    Err(format!(
        "        exp: {}\n        got: {}",
        joined(wanted),
        joined(got)
    ))
}

fn joined(list: impl Iterator<Item = String>) -> String {
    let list: Vec<_> = list.collect();
    if list.is_empty() {
        "nil".to_owned()
    } else {
        list.join(", ")
    }
}

fn shown(labels: &Labels, value: &SampleValue) -> String {
    let value = match value {
        SampleValue::Float(value) => number::shortest_exponent(*value),
        SampleValue::Histogram(histogram) => histogram.to_string(),
    };
    format!("{} {value}", braces(labels.iter()))
}

/// promtool compares with `==`, so that NaN is never what was expected.
fn same_value(wanted: &SampleValue, got: &SampleValue, fuzzy: bool) -> bool {
    match (wanted, got) {
        (SampleValue::Float(wanted), SampleValue::Float(got)) => {
            let is_next = || wanted.next_up() == *got || wanted.next_down() == *got;
            wanted == got || (fuzzy && is_next())
        }
        (SampleValue::Histogram(wanted), SampleValue::Histogram(got)) => {
            same_histogram(wanted, got)
        }
        _ => false,
    }
}

/// A hint counts only where the test gives one.
fn same_histogram(wanted: &Histogram, got: &Histogram) -> bool {
    wanted.same_data(got) && (wanted.hint == ResetHint::Unknown || wanted.hint == got.hint)
}
