//! Fields, methods and calls: what Go does by reflection.

use std::sync::Arc;

use super::tree::Expr;
use super::value::Value;
use super::{Scope, function, time};

/// A field, map entry or method of a value.
pub(super) fn field(
    value: &Value,
    name: &str,
    args: &[Value],
    has_args: bool,
) -> Result<Value, String> {
    if let Some(result) = method(value, name, args) {
        return result.map_err(|why| format!("error calling {name}: {why}"));
    }
    let found = match value {
        // Go: with missingkey=zero no data has no field, and says so in the text.
        Value::Nil => return Ok(Value::Nil),
        Value::Labels(map) => {
            if has_args {
                return Err(format!("{name} is not a method but has arguments"));
            }
            Some(map.get(name).map_or("", String::as_str).into())
        }
        Value::Map(map) => {
            if has_args {
                return Err(format!("{name} is not a method but has arguments"));
            }
            Some(map.get(name).cloned().unwrap_or_default())
        }
        Value::Data(data) => match name {
            "Labels" => Some(Value::Labels(Arc::clone(&data.labels))),
            "ExternalLabels" => Some(Value::Labels(Arc::clone(&data.external_labels))),
            "ExternalURL" => Some(Value::Text(Arc::clone(&data.external_url))),
            "Value" => Some(data.value.clone()),
            _ => None,
        },
        Value::Sample(sample) => match name {
            "Labels" => Some(Value::Labels(Arc::clone(&sample.labels))),
            "Value" => Some(sample.value.clone()),
            _ => None,
        },
        Value::Histogram(histogram) => match name {
            "Count" => Some(Value::Float(histogram.count)),
            "Sum" => Some(Value::Float(histogram.sum)),
            _ => None,
        },
        _ => None,
    };
    match found {
        Some(_) if has_args => Err(format!(
            "{name} has arguments but cannot be invoked as function"
        )),
        Some(value) => Ok(value),
        None => Err(format!(
            "can't evaluate field {name} in type {}",
            value.type_name()
        )),
    }
}

fn method(value: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    match value {
        Value::Time(at_ms) => time::time_method(*at_ms, name, args),
        Value::Duration(span_ns) => time::span_method(*span_ns, name, args),
        Value::Histogram(histogram) if name == "String" && args.is_empty() => {
            Some(Ok(histogram.text.as_str().into()))
        }
        _ => None,
    }
}

/// Checks how many arguments a function is given.
pub(super) fn count(name: &str, given: usize) -> Result<(), String> {
    let Some(signature) = function::signature(name) else {
        return Err(format!("{name:?} is not a defined function"));
    };
    let wanted = signature.fixed.len();
    if signature.more && given < wanted {
        return Err(format!(
            "wrong number of args for {name}: want at least {wanted} got {given}"
        ));
    }
    if !signature.more && given != wanted {
        return Err(format!(
            "wrong number of args for {name}: want {wanted} got {given}"
        ));
    }
    Ok(())
}

/// Checks an argument that is written out against its parameter.
pub(super) fn constant(name: &str, index: usize, arg: &Expr) -> Result<(), String> {
    let kind = parameter(name, index);
    let fits = match arg {
        Expr::Text(..) => matches!(kind, function::Kind::Any | function::Kind::Text),
        Expr::Number(..) | Expr::Bool(..) => kind == function::Kind::Any,
        Expr::Nil(_) if kind == function::Kind::Text => {
            return Err("cannot assign nil to string".to_owned());
        }
        _ => true,
    };
    if fits {
        return Ok(());
    }
    match kind {
        function::Kind::Text => Err(format!("expected string; found {arg}")),
        _ => Err(format!(
            "can't handle {arg} for arg of type {}",
            kind.type_name()
        )),
    }
}

fn parameter(name: &str, index: usize) -> function::Kind {
    let signature = function::signature(name);
    let fixed = signature.map_or(&[][..], |signature| signature.fixed);
    fixed.get(index).copied().unwrap_or(function::Kind::Any)
}

/// Checks the type of an argument.
pub(super) fn fitting(name: &str, index: usize, arg: &Value) -> Result<(), String> {
    let kind = parameter(name, index);
    if kind.takes(arg) {
        return Ok(());
    }
    let wanted = kind.type_name();
    Err(match arg {
        Value::Nil if kind == function::Kind::Text => format!("invalid value; expected {wanted}"),
        Value::Nil => format!(
            "error calling {name}: runtime error: invalid memory address or nil pointer dereference"
        ),
        other => format!(
            "wrong type for value; expected {wanted}; got {}",
            other.type_name()
        ),
    })
}

/// Calls a function with arguments that fit.
pub(super) fn function(name: &str, args: &[Value], scope: &Scope<'_>) -> Result<Value, String> {
    function::call(name, args, scope)
}
