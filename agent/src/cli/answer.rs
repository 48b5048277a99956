//! What Prometheus's API answers to an instant query, as `promtool query instant` prints it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Number, Value as Json};

use crate::alert::template::quote;

/// A value, ready to be printed.
#[derive(Debug)]
pub(super) struct Told {
    /// For standard output, with the line's end; empty if there is no element.
    pub(super) text: String,
    /// For standard error, a line each.
    pub(super) notes: Vec<String>,
}

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The agent says why.
    Said(String),
    /// It is no answer of the API.
    Unknown,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    #[serde(default)]
    data: Json,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Value {
    Scalar((Number, String)),
    String((Number, String)),
    Vector(Vec<Element>),
    Matrix(Vec<Element>),
}

/// One element of a vector or a matrix.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Element {
    metric: BTreeMap<String, String>,
    value: Option<(Number, String)>,
    histogram: Option<(Number, Json)>,
    values: Vec<(Number, String)>,
    histograms: Vec<(Number, Json)>,
}

/// Reads the body of an answer.
pub(super) fn read(body: &[u8], as_json: bool) -> Result<Told, Refusal> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Refusal::Unknown)?;
    if envelope.status != "success" {
        return Err(Refusal::Said(envelope.error));
    }
    let mut notes: Vec<_> = envelope.warnings.iter().map(warning).collect();
    notes.extend(envelope.infos);
    let value: Value =
        serde_json::from_value(envelope.data.clone()).map_err(|_| Refusal::Unknown)?;
    let text = if as_json {
        format!("{:#}\n", envelope.data)
    } else {
        lines(&value)
    };
    if let Value::Vector(list) | Value::Matrix(list) = value
        && list.is_empty()
    {
        notes.push("no series".to_owned());
    }
    Ok(Told { text, notes })
}

fn warning(text: &String) -> String {
    format!("warning: {text}")
}

impl Told {
    /// Says why a time in the past may have nothing.
    pub(super) fn noting_absence(mut self, in_the_past: bool) -> Self {
        if let Some(last) = self.notes.last_mut()
            && in_the_past
            && last == "no series"
        {
            last.push_str(" then: the agent keeps no more of the past than its rules look at");
        }
        self
    }
}

fn lines(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Scalar((at, value)) => {
            let _ = writeln!(out, "scalar: {} @[{at}]", number(value));
        }
        Value::String((_, text)) => {
            let _ = writeln!(out, "{text}");
        }
        Value::Vector(list) => {
            for element in list {
                let name = series(&element.metric);
                if let Some((at, value)) = &element.value {
                    let _ = writeln!(out, "{name} => {} @[{at}]", number(value));
                }
                if let Some((at, histogram)) = &element.histogram {
                    let _ = writeln!(out, "{name} => {histogram} @[{at}]");
                }
            }
        }
        Value::Matrix(list) => {
            for element in list {
                let _ = writeln!(out, "{} =>", series(&element.metric));
                for (at, value) in &element.values {
                    let _ = writeln!(out, "{} @[{at}]", number(value));
                }
                for (at, histogram) in &element.histograms {
                    let _ = writeln!(out, "{histogram} @[{at}]");
                }
            }
        }
    }
    out
}

/// A sample's value without an exponent, however large: promtool prints it so, the API does not.
fn number(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => value.to_string(),
        _ => text.to_owned(),
    }
}

/// Name and labels as Prometheus prints them.
fn series(labels: &BTreeMap<String, String>) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let pairs = labels.iter().filter(|(name, _)| *name != "__name__");
    let pairs: Vec<_> = pairs.map(|(k, v)| format!("{k}={}", quote(v))).collect();
    match (name, pairs.as_slice()) {
        ("", pairs) => format!("{{{}}}", pairs.join(", ")),
        (name, []) => name.to_owned(),
        (name, pairs) => format!("{name}{{{}}}", pairs.join(", ")),
    }
}

/// The message, with a mark below the place in the expression that it names.
pub(super) fn point_at(expression: &str, why: &str) -> String {
    let place = Regex::new(r"\b(\d{1,6}):(\d{1,6}): ").ok();
    let found = place.as_ref().and_then(|place| place.captures(why));
    let number = |at: usize| found.as_ref()?.get(at)?.as_str().parse::<usize>().ok();
    let (Some(line), Some(column)) = (number(1), number(2)) else {
        return why.to_owned();
    };
    let Some(text) = line
        .checked_sub(1)
        .and_then(|at| expression.lines().nth(at))
    else {
        return why.to_owned();
    };
    let before = text.get(..column.saturating_sub(1)).unwrap_or(text);
    let blank = " ".repeat(before.chars().count());
    format!("{why}\n  {text}\n  {blank}^")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(data: &str) -> String {
        let body = format!(r#"{{"status":"success","data":{data}}}"#);
        read(body.as_bytes(), false).unwrap().text
    }

    #[test]
    fn every_type_of_value_is_printed() {
        assert_eq!(
            told(
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","b":"x\"y","a":"1"},"value":[1.5,"2"]},{"metric":{},"value":[2,"NaN"]},{"metric":{"__name__":"h"},"histogram":[3,{"count":"1"}]}]}"#
            ),
            "up{a=\"1\", b=\"x\\\"y\"} => 2 @[1.5]\n{} => NaN @[2]\nh => {\"count\":\"1\"} @[3]\n"
        );
        assert_eq!(
            told(r#"{"resultType":"scalar","result":[1,"0.5"]}"#),
            "scalar: 0.5 @[1]\n"
        );
        assert_eq!(told(r#"{"resultType":"string","result":[1,"so"]}"#), "so\n");
        assert_eq!(
            told(
                r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1,"0"],[2,"1"]]}]}"#
            ),
            "up =>\n0 @[1]\n1 @[2]\n"
        );
    }

    #[test]
    fn what_is_no_answer_of_the_api_is_told_apart() {
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"status":"success","data":{"resultType":"pie","result":[]}}"#,
        ] {
            let refused = read(body.as_bytes(), false).unwrap_err();
            assert!(matches!(refused, Refusal::Unknown), "{body}");
        }
        let said = read(br#"{"status":"error","error":"too much"}"#, false);
        assert!(matches!(said, Err(Refusal::Said(why)) if why == "too much"));
    }

    #[test]
    fn the_place_of_a_mistake_is_marked() {
        assert_eq!(
            point_at("sum(é, x", "1:8: parse error: odd"),
            "1:8: parse error: odd\n  sum(é, x\n        ^"
        );
        let beyond = "9:1: parse error";
        assert_eq!(point_at("x", beyond), beyond);
        assert_eq!(point_at("x", "timed out"), "timed out");
        assert!(point_at("x", "1:99: parse error").ends_with("\n  x\n   ^"));
    }
}
