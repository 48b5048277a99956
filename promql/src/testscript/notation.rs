//! Sequences of values as scripts write them: `1+2x3`, `_x4`, `stale`,
//! `{{schema:0 count:1}}x2`.

use crate::histogram::{Histogram, ResetHint};
use crate::value::{STALE_NAN, SampleValue};

/// Values that one item may expand to.
const MAX_REPEAT: usize = 100_000;

/// A value or a gap, and which fields of a histogram were written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) value: SampleValue,
    /// The reset hint was given, so it is to be compared.
    pub(super) hinted: bool,
}

/// Reads a sequence; a gap is None.
pub(super) fn values(text: &str) -> Result<Vec<Option<Item>>, String> {
    let mut found = Vec::new();
    for token in split(text)? {
        if let Some(rest) = token.strip_prefix('_') {
            let count = if rest.is_empty() { 1 } else { repeat(rest)? };
            found.extend(std::iter::repeat_n(None, count));
        } else if token == "stale" {
            let value = SampleValue::Float(STALE_NAN);
            found.push(Some(Item {
                value,
                hinted: false,
            }));
        } else if token.starts_with("{{") {
            histograms(&token, &mut found)?;
        } else {
            floats(&token, &mut found)?;
        }
    }
    Ok(found)
}

/// Reads a sequence of durations, in milliseconds.
pub(super) fn durations(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut found = Vec::new();
    for token in text.split_whitespace() {
        if let Some(rest) = token.strip_prefix('_') {
            let count = if rest.is_empty() { 1 } else { repeat(rest)? };
            found.extend(std::iter::repeat_n(None, count));
            continue;
        }
        let (body, times) = match token.rsplit_once('x') {
            Some((body, _)) => (body, repeat(&token[body.len()..])?),
            None => (token, 0),
        };
        let sign_at = body
            .get(1..)
            .and_then(|rest| rest.find(['+', '-']))
            .map(|at| at + 1);
        let (first, step) = body.split_at(sign_at.unwrap_or(body.len()));
        let parse = |text: &str| {
            let text = text.trim_start_matches('+');
            crate::parse::parse_duration(text).ok_or_else(|| format!("bad duration {text:?}"))
        };
        let first = parse(first)?;
        let step = if step.is_empty() { 0 } else { parse(step)? };
        found.extend((0..=times as i64).map(|at| Some(first + at * step)));
    }
    Ok(found)
}

/// Splits at spaces outside of histograms.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut token = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("{{") {
            let end = rest.find("}}").ok_or("histogram is not closed")? + 2;
            token.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if c.is_whitespace() {
            if !token.is_empty() {
                tokens.push(std::mem::take(&mut token));
            }
        } else {
            token.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    if !token.is_empty() {
        tokens.push(token);
    }
    Ok(tokens)
}

/// `x12`
fn repeat(text: &str) -> Result<usize, String> {
    let count = text
        .strip_prefix('x')
        .and_then(|digits| digits.parse().ok());
    count
        .filter(|count| *count <= MAX_REPEAT)
        .ok_or_else(|| format!("bad repetition {text:?}"))
}

fn floats(token: &str, found: &mut Vec<Option<Item>>) -> Result<(), String> {
    let (first, rest) = number(token)?;
    let (step, rest) = if rest.starts_with(['+', '-']) {
        number(rest)?
    } else {
        (0.0, rest)
    };
    let times = if rest.is_empty() { 0 } else { repeat(rest)? };
    let mut value = first;
    for _ in 0..=times {
        found.push(Some(Item {
            value: value.into(),
            hinted: false,
        }));
        value += step;
    }
    Ok(())
}

/// The number that a text begins with, and the rest.
pub(super) fn number(text: &str) -> Result<(f64, &str), String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let sign = text.len() - unsigned.len();
    let lower = unsigned.to_ascii_lowercase();
    let word = ["infinity", "inf", "nan"]
        .into_iter()
        .find(|word| lower.starts_with(word));
    let size = match word {
        Some(word) => word.len(),
        None => digits(unsigned),
    };
    let (number, rest) = text.split_at(sign + size);
    let value = number.parse().map_err(|_| format!("bad value {text:?}"))?;
    Ok((value, rest))
}

fn digits(text: &str) -> usize {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let exponent_sign = matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
        if !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || exponent_sign) {
            return at;
        }
        before = c;
    }
    text.len()
}

fn histograms(token: &str, found: &mut Vec<Option<Item>>) -> Result<(), String> {
    let (first, rest) = one_histogram(token)?;
    let hinted = first.1;
    let mut value = first.0;
    let (sign, rest) = match rest.chars().next() {
        Some(sign @ ('+' | '-')) => (Some(sign), &rest[1..]),
        _ => (None, rest),
    };
    let (step, rest) = match sign {
        Some(_) => one_histogram(rest).map(|(step, rest)| (Some(step.0), rest))?,
        None => (None, rest),
    };
    let times = if rest.is_empty() { 0 } else { repeat(rest)? };
    for at in 0..=times {
        if let Some(step) = step.as_ref().filter(|_| at > 0) {
            let result = if sign == Some('-') {
                value.subtract(step)
            } else {
                value.add(step)
            };
            result.map_err(|_| "histograms of different schemas".to_owned())?;
        }
        found.push(Some(Item {
            value: value.clone().into(),
            hinted,
        }));
    }
    Ok(())
}

/// `{{field:value …}}` and the rest; true if a reset hint was given.
fn one_histogram(text: &str) -> Result<((Histogram, bool), &str), String> {
    let body = text
        .strip_prefix("{{")
        .ok_or_else(|| format!("expected a histogram: {text:?}"))?;
    let (body, rest) = body.split_once("}}").ok_or("histogram is not closed")?;
    let mut histogram = Histogram::default();
    let mut hinted = false;
    let (mut offset, mut n_offset) = (0, 0);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    for (name, value) in fields(body)? {
        let one = || {
            value
                .trim()
                .parse::<f64>()
                .map_err(|_| format!("bad number {value:?}"))
        };
        match name {
            "schema" => histogram.schema = one()? as i32,
            "sum" => histogram.sum = one()?,
            "count" => histogram.count = one()?,
            "z_bucket" => histogram.zero_count = one()?,
            "z_bucket_w" => histogram.zero_threshold = one()?,
            "offset" => offset = one()? as i32,
            "n_offset" => n_offset = one()? as i32,
            "buckets" => buckets = list(value)?,
            "n_buckets" => n_buckets = list(value)?,
            "custom_values" => histogram.custom = list(value)?,
            "counter_reset_hint" => {
                hinted = true;
                histogram.hint = hint(value)?;
            }
            _ => return Err(format!("unknown histogram field {name:?}")),
        }
    }
    histogram.positive = (offset..).zip(buckets).collect();
    histogram.negative = (n_offset..).zip(n_buckets).collect();
    Ok(((histogram, hinted), rest))
}

fn hint(value: &str) -> Result<ResetHint, String> {
    Ok(match value {
        "unknown" => ResetHint::Unknown,
        "reset" => ResetHint::Reset,
        "not_reset" => ResetHint::NotReset,
        "gauge" => ResetHint::Gauge,
        _ => return Err(format!("unknown reset hint {value:?}")),
    })
}

/// `name:value` or `name:[a b]`, separated by spaces.
fn fields(body: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut found = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once(':')
            .ok_or_else(|| format!("bad field {rest:?}"))?;
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("list is not closed")?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        found.push((name, value));
        rest = next.trim_start();
    }
    Ok(found)
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    let parse = |word: &str| word.parse().map_err(|_| format!("bad number {word:?}"));
    text.split_whitespace().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<Option<f64>> {
        let all = values(text).unwrap();
        all.iter()
            .map(|item| item.as_ref().and_then(|item| item.value.float()))
            .collect()
    }

    #[test]
    fn sequences_expand() {
        assert_eq!(
            numbers("1+2x2 _ 7"),
            [Some(1.0), Some(3.0), Some(5.0), None, Some(7.0)]
        );
        assert_eq!(
            numbers("0x2 _x2 1e-1-0.1x1"),
            [
                Some(0.0),
                Some(0.0),
                Some(0.0),
                None,
                None,
                Some(0.1),
                Some(0.0)
            ]
        );
        assert_eq!(
            numbers("Inf -Inf"),
            [Some(f64::INFINITY), Some(f64::NEG_INFINITY)]
        );
        assert_eq!(
            durations("-30s-1mx1 _ 0").unwrap(),
            [Some(-30_000), Some(-90_000), None, Some(0)]
        );
    }

    #[test]
    fn histograms_grow_by_their_step() {
        let all =
            values("{{count:1 buckets:[1 2]}}+{{count:2 offset:1 buckets:[3]}}x1 {{}}").unwrap();
        let counts: Vec<_> = all
            .iter()
            .flatten()
            .map(|item| item.value.histogram().unwrap().positive.clone())
            .collect();
        assert_eq!(
            counts,
            [vec![(0, 1.0), (1, 2.0)], vec![(0, 1.0), (1, 5.0)], vec![]]
        );
        assert!(values("{{nope:1}}").is_err() && values("1x").is_err() && values("{{").is_err());
    }
}
