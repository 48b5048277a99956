//! Go's own template functions (`text/template/funcs.go`), but `and` and `or`, which are evaluated
//! where they stand.

use std::cmp::Ordering;
use std::sync::Arc;

use super::format;
use super::value::Value;

/// Calls a function of Go's; none if there is none of that name.
pub(super) fn call(name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    Some(match (name, args) {
        ("print", _) => Ok(format::sprint(args).into()),
        ("println", _) => Ok(format::sprintln(args).into()),
        ("printf", [Value::Text(text), rest @ ..]) => Ok(format::sprintf(text, rest).into()),
        ("html", _) => Ok(html(&joined(args)).into()),
        ("js", _) => Ok(js(&joined(args)).into()),
        ("urlquery", _) => Ok(query_escape(&joined(args)).into()),
        ("len", [value]) => value
            .length()
            .map(|length| Value::Int(length as i64))
            .ok_or_else(|| format!("len of type {}", value.type_name())),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("call", [Value::Nil, ..]) => Err("call of nil".to_owned()),
        ("call", [value, ..]) => Err(format!("non-function of type {}", value.type_name())),
        ("eq", [first, rest @ ..]) => equal_any(first, rest),
        ("ne", [a, b]) => equal(a, b).map(|same| Value::Bool(!same)),
        ("lt", [a, b]) => order(a, b).map(|order| Value::Bool(order == Some(Ordering::Less))),
        ("gt", [a, b]) => order(a, b).map(|order| Value::Bool(order == Some(Ordering::Greater))),
        ("le", [a, b]) => order(a, b)
            .map(|order| Value::Bool(matches!(order, Some(Ordering::Less | Ordering::Equal)))),
        ("ge", [a, b]) => order(a, b)
            .map(|order| Value::Bool(matches!(order, Some(Ordering::Greater | Ordering::Equal)))),
        _ => return None,
    })
}

fn joined(args: &[Value]) -> String {
    match args {
        [Value::Text(text)] => text.to_string(),
        _ => format::sprint(args),
    }
}

fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => escaped.push('\u{fffd}'),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn js(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\'' => escaped.push_str("\\'"),
            '"' => escaped.push_str("\\\""),
            '<' | '>' | '&' | '=' => escaped.push_str(&format!("\\u{:04X}", c as u32)),
            c if (c as u32) < 0x20 => escaped.push_str(&format!("\\u{:04X}", c as u32)),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `url.QueryEscape`.
pub(super) fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    keys.iter()
        .try_fold(value.clone(), |value, key| match (&value, key) {
            (Value::Nil, _) => Err("index of untyped nil".to_owned()),
            (Value::Labels(map), Value::Text(name)) => {
                Ok(map.get(&**name).map_or("", String::as_str).into())
            }
            (Value::Map(map), Value::Text(name)) => {
                Ok(map.get(&**name).cloned().unwrap_or_default())
            }
            (Value::Labels(_) | Value::Map(_), Value::Nil) => {
                Err("value is nil; should be of type string".to_owned())
            }
            (Value::Labels(_) | Value::Map(_), other) => Err(format!(
                "value has type {}; should be string",
                other.type_name()
            )),
            (Value::Samples(samples), key) => {
                let at = position(key, samples.len())?;
                let sample = samples
                    .get(at)
                    .map(|sample| Value::Sample(Arc::clone(sample)));
                sample.ok_or_else(|| format!("index out of range: {at}"))
            }
            (Value::Text(text), key) => {
                let at = position(key, text.len())?;
                let byte = text
                    .as_bytes()
                    .get(at)
                    .map(|byte| Value::Int(i64::from(*byte)));
                byte.ok_or_else(|| format!("index out of range: {at}"))
            }
            (other, _) => Err(format!("can't index item of type {}", other.type_name())),
        })
}

/// An index between 0 and `last`.
fn position(key: &Value, last: usize) -> Result<usize, String> {
    let at = match key {
        Value::Int(at) => *at,
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => {
            return Err(format!(
                "cannot index slice/array with type {}",
                other.type_name()
            ));
        }
    };
    usize::try_from(at)
        .ok()
        .filter(|at| *at <= last)
        .ok_or_else(|| format!("index out of range: {at}"))
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let length = match value {
        Value::Text(text) if bounds.len() < 3 => text.len(),
        Value::Text(_) => return Err("cannot 3-index slice a string".to_owned()),
        Value::Samples(samples) => samples.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let from = bounds.first().map_or(Ok(0), |key| position(key, length))?;
    let to = bounds
        .get(1)
        .map_or(Ok(length), |key| position(key, length))?;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match value {
        Value::Samples(samples) => Ok(Value::Samples(samples[from..to].to_vec().into())),
        Value::Text(text) => {
            let bytes = &text.as_bytes()[from..to];
            Ok(String::from_utf8_lossy(bytes).into_owned().into())
        }
        _ => Ok(Value::Nil),
    }
}

fn equal_any(first: &Value, rest: &[Value]) -> Result<Value, String> {
    if rest.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in rest {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

const INCOMPATIBLE: &str = "incompatible types for comparison";

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Int(_) | Value::Uint(_), Value::Int(_) | Value::Uint(_)) => {
            Ok(order(a, b)? == Some(Ordering::Equal))
        }
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Duration(a), Value::Duration(b)) => Ok(a == b),
        (Value::Labels(_) | Value::Map(_) | Value::Samples(_), _) => Err(format!(
            "non-comparable type {}: {}",
            a.shown(),
            a.type_name()
        )),
        _ => Err(INCOMPATIBLE.to_owned()),
    }
}

fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Uint(a), Value::Uint(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(a), Value::Uint(b)) => Ok(Some(i128::from(*a).cmp(&i128::from(*b)))),
        (Value::Uint(a), Value::Int(b)) => Ok(Some(i128::from(*a).cmp(&i128::from(*b)))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (
            Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Text(_),
            Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Text(_),
        ) => Err(INCOMPATIBLE.to_owned()),
        _ => Err("invalid type for comparison".to_owned()),
    }
}
