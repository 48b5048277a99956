//! The functions that templates call: Prometheus's 29 and Go's own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::value::{Sample, Value};
use super::{Scope, builtin, format, humanize};
use crate::alert::duration;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Sample,
    Samples,
}

impl Kind {
    /// Its type in Go, for messages.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Sample => "*template.sample",
            Self::Samples => "template.queryResult",
        }
    }

    /// Whether a value can be given for it.
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text => matches!(value, Value::Text(_)),
            Self::Sample => matches!(value, Value::Sample(_)),
            Self::Samples => matches!(value, Value::Samples(_)),
        }
    }
}

/// What a function takes: fixed parameters, and whether any number may follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    pub(super) fixed: &'static [Kind],
    pub(super) more: bool,
}

/// Whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    signature(name).is_some()
}

/// What a function takes; none if there is no such function.
pub(super) fn signature(name: &str) -> Option<Signature> {
    use Kind::{Any, Sample as One, Samples as All, Text as Str};
    let fixed = |fixed: &'static [Kind]| Signature { fixed, more: false };
    let any = |fixed: &'static [Kind]| Signature { fixed, more: true };
    Some(match name {
        "now" | "pathPrefix" | "externalURL" => fixed(&[]),
        "query" | "safeHtml" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink"
        | "stripPort" | "stripDomain" | "parseDuration" | "urlQueryEscape" => fixed(&[Str]),
        "first" => fixed(&[All]),
        "value" | "strvalue" => fixed(&[One]),
        "label" => fixed(&[Str, One]),
        "sortByLabel" => fixed(&[Str, All]),
        "match" => fixed(&[Str, Str]),
        "reReplaceAll" => fixed(&[Str, Str, Str]),
        "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage"
        | "humanizeTimestamp" | "toTime" | "toDuration" => fixed(&[Any]),
        "args" | "html" | "js" | "urlquery" | "print" | "println" => any(&[]),
        "printf" => any(&[Str]),
        "len" | "not" => fixed(&[Any]),
        "and" | "or" | "index" | "slice" | "eq" | "call" => any(&[Any]),
        "ne" | "lt" | "le" | "gt" | "ge" => fixed(&[Any, Any]),
        _ => return None,
    })
}

/// Calls a function with arguments that fit its signature.
pub(super) fn call(name: &str, args: &[Value], scope: &Scope<'_>) -> Result<Value, String> {
    if let Some(result) = builtin::call(name, args) {
        return result;
    }
    match (name, args) {
        ("now", []) => Ok(Value::Float(scope.now_ms as f64 / 1_000.0)),
        ("externalURL", []) => Ok(address(scope)?.into()),
        ("pathPrefix", []) => Ok(path(address(scope)?).into()),
        ("query", [Value::Text(text)]) => (scope.query)(text).map(|all| {
            let samples: Vec<_> = all.into_iter().map(Arc::new).collect();
            Value::Samples(samples.into())
        }),
        ("args", all) => Ok(numbered(all)),
        (_, [Value::Samples(samples)]) if name == "first" => first(samples),
        ("sortByLabel", [Value::Text(label), Value::Samples(samples)]) => Ok(sort(label, samples)),
        ("value", [Value::Sample(sample)]) => Ok(sample.value.clone()),
        ("strvalue", [Value::Sample(sample)]) => Ok(label(sample, "__value__")),
        ("label", [Value::Text(name), Value::Sample(sample)]) => Ok(label(sample, name)),
        (_, [Value::Text(text)]) if is_text_function(name) => of_text(name, text),
        ("match", [Value::Text(pattern), Value::Text(text)]) => {
            Ok(Value::Bool(regex(pattern)?.is_match(text)))
        }
        ("reReplaceAll", [Value::Text(pattern), Value::Text(by), Value::Text(text)]) => {
            let regex =
                regex(pattern).map_err(|why| format!("regexp: Compile(`{pattern}`): {why}"))?;
            Ok(Value::from(&*regex.replace_all(text, &**by)))
        }
        (_, [value]) => of_number(name, value),
        _ => Err(format!("{name} cannot take these arguments")),
    }
}

fn is_text_function(name: &str) -> bool {
    matches!(
        name,
        "safeHtml"
            | "title"
            | "toUpper"
            | "toLower"
            | "graphLink"
            | "tableLink"
            | "stripPort"
            | "stripDomain"
            | "parseDuration"
            | "urlQueryEscape"
    )
}

fn of_text(name: &str, text: &str) -> Result<Value, String> {
    Ok(match name {
        "title" => title(text).into(),
        "toUpper" => text.to_uppercase().into(),
        "toLower" => text.to_lowercase().into(),
        "graphLink" => super::graph_link(text).into(),
        "tableLink" => super::table_link(text).into(),
        "stripPort" => split_port(text).map_or(text, |(host, _)| host).into(),
        "stripDomain" => strip_domain(text).into(),
        "urlQueryEscape" => builtin::query_escape(text).into(),
        "parseDuration" => Value::Float(duration::parse(text)? as f64 / 1_000.0),
        // In a text template HTML is text.
        _ => text.into(),
    })
}

fn of_number(name: &str, value: &Value) -> Result<Value, String> {
    let value = value.to_float()?;
    Ok(match name {
        "humanize" => humanize::humanize(value).into(),
        "humanize1024" => humanize::humanize1024(value).into(),
        "humanizeDuration" => humanize::humanize_duration(value).into(),
        "humanizePercentage" => humanize::humanize_percentage(value).into(),
        "humanizeTimestamp" if !value.is_finite() => {
            format::sprintf("%.4g", &[Value::Float(value)]).into()
        }
        "humanizeTimestamp" => Value::Time(humanize::to_time(value)?).shown().into(),
        "toTime" => Value::Time(humanize::to_time(value)?),
        "toDuration" => {
            // The same bounds as for a time.
            humanize::to_time(value)?;
            Value::Duration((value * 1e9) as i64)
        }
        _ => return Err(format!("{name} cannot take this argument")),
    })
}

fn numbered(all: &[Value]) -> Value {
    let pairs = all
        .iter()
        .enumerate()
        .map(|(index, value)| (format!("arg{index}"), value.clone()));
    Value::Map(Arc::new(pairs.collect::<BTreeMap<_, _>>()))
}

fn first(samples: &[Arc<Sample>]) -> Result<Value, String> {
    samples
        .first()
        .map(|sample| Value::Sample(Arc::clone(sample)))
        .ok_or_else(|| "first() called on vector with no elements".to_owned())
}

fn sort(by: &str, samples: &[Arc<Sample>]) -> Value {
    let mut sorted = samples.to_vec();
    let key = |sample: &Sample| sample.labels.get(by).cloned().unwrap_or_default();
    sorted.sort_by_cached_key(|sample| key(sample));
    Value::Samples(sorted.into())
}

fn label(sample: &Sample, name: &str) -> Value {
    sample.labels.get(name).map_or("", String::as_str).into()
}

/// Go's regular expressions; both are RE2, and so bounded in time.
fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|why| {
            let why = why.to_string();
            let last = why.lines().last().unwrap_or_default();
            let (why, part) = match last.trim_start_matches("error: ") {
                "unclosed group" => ("missing closing )", pattern),
                "unclosed character class" => {
                    let start = pattern.rfind('[').unwrap_or(0);
                    ("missing closing ]", &pattern[start..])
                }
                other => (other, pattern),
            };
            format!("error parsing regexp: {why}: `{part}`")
        })
}

/// Writes the first letter of every word large, the rest as it is.
fn title(text: &str) -> String {
    let mut after_letter = false;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        if after_letter {
            titled.push(c);
        } else {
            titled.extend(c.to_uppercase());
        }
        after_letter =
            c.is_alphanumeric() || c == '_' || (after_letter && matches!(c, '\'' | '.' | ':'));
    }
    titled
}

/// `net.SplitHostPort`; none if there is no port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return (!inner.contains(['[', ']'])).then_some((inner, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or_default();
    if port.is_empty() {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    }
}

fn address<'a>(scope: &Scope<'a>) -> Result<&'a str, String> {
    let why = "runtime error: invalid memory address or nil pointer dereference";
    scope.address.ok_or_else(|| why.to_owned())
}

/// The path of a URL.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or_default()
}
