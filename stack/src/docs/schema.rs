//! `CONFIG.md` and `TRUTH.md`: from the JSON schemas that types and their doc comments give.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{HEAD, cell};
use crate::config::Config;
use crate::truth::{Event, SCHEMA};

/// The reference of the configuration.
pub(super) fn config() -> Result<String> {
    let defaults = serde_json::to_value(Config::default()).context("the defaults")?;
    let schema = schema_of::<Config>();
    let mut out = format!(
        "# Configuration of the stack\n\n{HEAD}\n\nOne TOML file, given with `--config`; \
         `weir-stack config` prints it with every default. Every key may be left out, an unknown one \
         is refused.\n"
    );
    section(&mut out, "", &schema, &defaults);
    Ok(out)
}

/// One section's keys, then the sections in it.
fn section(out: &mut String, path: &str, schema: &Value, defaults: &Value) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    if !path.is_empty() {
        let (open, close) = brackets(defaults);
        _ = write!(out, "\n## `{open}{path}{close}`\n");
        about(out, schema, path);
        out.push_str("\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        for (key, schema) in properties.iter().filter(|(_, schema)| !is_section(schema)) {
            let meaning = cell(&format!("{} {}", text(schema), choices(schema)));
            let default = defaults.get(key).map_or_else(String::new, default);
            _ = writeln!(
                out,
                "| `{key}` | {} | {default} | {meaning} |",
                kind(schema)
            );
        }
    }
    for (key, schema) in properties.iter().filter(|(_, schema)| is_section(schema)) {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{key}");
        let inner = defaults.get(key).unwrap_or(&Value::Null);
        if schema["items"].is_object() {
            // Any number of them: what one may hold, and no defaults but those of absence.
            section(out, &path, &schema["items"], &Value::Array(Vec::new()));
        } else {
            section(out, &path, schema, inner);
        }
    }
}

fn brackets(defaults: &Value) -> (&'static str, &'static str) {
    match defaults {
        Value::Array(_) => ("[[", "]]"),
        _ => ("[", "]"),
    }
}

/// What a section's own comment says beyond its name.
fn about(out: &mut String, schema: &Value, path: &str) {
    let said = text(schema);
    let said = said.trim_start_matches(&format!("`[{path}]`"));
    let said = said.trim_start_matches(&format!("`[[{path}]]`"));
    let said = said.trim_start_matches([':', ' ']);
    if !said.is_empty() {
        let mut letters = said.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string());
        _ = write!(out, "\n{}{}\n", first.unwrap_or_default(), letters.as_str());
    }
}

/// A table, or a list of tables.
fn is_section(schema: &Value) -> bool {
    schema["properties"].is_object() && schema["properties"].get("per_s").is_none()
        || schema["items"]["properties"].is_object()
}

fn default(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(keys) => {
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            format!("`{{ {} }}`", keys.join(", "))
        }
        other => format!("`{other}`"),
    }
}

/// The reference of the truth.
pub(super) fn truth() -> Result<String> {
    let schema = schema_of::<Event>();
    let kinds = schema["oneOf"].as_array().context("no kinds of lines")?;
    let mut out = format!(
        "# The truth\n\n{HEAD}\n\nWhat players, chat users, gamers and faults really did, as \
         `weir-stack crowd --truth FILE` and `weir-stack scenario run` write it: one JSON object a \
         line, schema {SCHEMA}.\n\n\
         Every line has `mono_ns` (CLOCK_MONOTONIC, the same in all processes and network namespaces \
         of a host), `wall_ns` (CLOCK_REALTIME), `kind`, and, where it concerns one session, \
         `session`, which for players is also the CMCD `sid`. Lines of one session are in order, \
         those of different ones nearly so: sort by `mono_ns` where it matters (`truth.jsonl` of a \
         scenario is sorted). `_s` are seconds, `_ms` milliseconds, `_bps` bits per second. The last \
         line says how many were written and how many were lost: a file that was cut off has none.\n"
    );
    for kind_schema in kinds {
        let name = kind_schema["properties"]["kind"]["const"].as_str();
        let name = name.context("a kind without a name")?;
        _ = write!(out, "\n## `{name}`\n\n{}\n", text(kind_schema));
        let properties = kind_schema["properties"].as_object().into_iter().flatten();
        let fields: Vec<_> = properties.filter(|(key, _)| *key != "kind").collect();
        if fields.is_empty() {
            continue;
        }
        out.push_str("\n| field | type | meaning |\n| --- | --- | --- |\n");
        for (key, schema) in fields {
            let meaning = cell(&format!("{} {}", text(schema), choices(schema)));
            _ = writeln!(out, "| `{key}` | {} | {meaning} |", kind(schema));
        }
    }
    Ok(out)
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::default().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// The doc comment, each paragraph on one line.
fn text(schema: &Value) -> String {
    let paragraphs = schema["description"].as_str().unwrap_or_default();
    let lines = paragraphs.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n\n")
}

/// What it holds, in a word or two.
fn kind(schema: &Value) -> String {
    let names: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(some) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let optional = names.contains(&"null");
    let name = match names.iter().find(|name| **name != "null") {
        Some(&"array") => format!("list of {}s", kind(&schema["items"])),
        Some(&"object") => "table".to_owned(),
        Some(name) => (*name).to_owned(),
        None => "string".to_owned(),
    };
    if optional {
        format!("{name} or null")
    } else {
        name
    }
}

/// The values of a closed list, with their meanings.
fn choices(schema: &Value) -> String {
    let told = schema["oneOf"].as_array().into_iter().flatten();
    let told = told.flat_map(|one| match one["const"].as_str() {
        Some(value) => {
            let meaning = text(one);
            let colon = if meaning.is_empty() { "" } else { ": " };
            vec![format!("`{value}`{colon}{}", meaning.trim_end_matches('.'))]
        }
        None => plain(one),
    });
    let all: Vec<String> = told.chain(plain(schema)).collect();
    if all.is_empty() {
        return String::new();
    }
    format!("{}.", all.join("; "))
}

fn plain(schema: &Value) -> Vec<String> {
    let values = schema["enum"].as_array().into_iter().flatten();
    values
        .filter_map(|value| Some(format!("`{}`", value.as_str()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells of the line of a key.
    fn line<'a>(text: &'a str, section: &str, key: &str) -> Vec<&'a str> {
        let section = text.split("\n## ").find(|part| part.starts_with(section));
        let mut lines = section.unwrap().lines();
        let line = lines
            .find(|line| line.starts_with(&format!("| `{key}` ")))
            .unwrap();
        line.trim_matches('|').split(" | ").map(str::trim).collect()
    }

    #[test]
    fn keys_stand_in_their_section_with_type_default_and_meaning() {
        let text = config().unwrap();
        assert_eq!(
            line(&text, "`[chat]`", "tick_ms"),
            [
                "`tick_ms`",
                "integer",
                "`40`",
                "Least time between two batches of a room; the first message after a pause does not wait."
            ]
        );
        assert_eq!(
            line(&text, "`[chat]`", "connection_rate")[1..3],
            ["table", "`{ per_s = 10, burst = 20 }`"]
        );
        assert!(line(&text, "`[chat]`", "personal")[3].contains("`mask`: Replaced by stars"));
        assert_eq!(line(&text, "`[[game.profiles]]`", "players")[1], "integer");
    }

    #[test]
    fn every_key_and_every_field_has_a_meaning() {
        for text in [config().unwrap(), truth().unwrap()] {
            for row in text.lines().filter(|line| line.starts_with("| `")) {
                let meaning = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
                assert!(meaning.len() > 3, "{row}");
            }
        }
    }

    #[test]
    fn lines_of_truth_are_listed_by_their_name_on_the_wire() {
        let text = truth().unwrap();
        let field = line(&text, "`stall_begin`", "waiting_for");
        assert!(
            field[2].contains("`media`: A media object is on its way"),
            "{field:?}"
        );
        assert!(text.contains("\n## `last`\n"));
    }
}
