//! The configuration as people read it: the default file and the reference.

use std::fmt::Write as _;

use serde_json::Value as Json;
use toml::Value as Toml;

use super::schema::{self, Field};

const WIDTH: usize = 96;

/// Every field with its meaning and default, as TOML. What has no default is commented out.
pub(super) fn default_text(fields: &[Field]) -> String {
    let mut text = String::from(
        "# Weir's configuration. All keys with their defaults; leave out what you do not change.\n\
         # SIGHUP makes the agent read it again; what needs a restart says so.\n",
    );
    for field in fields {
        write_section(&mut text, field, "");
    }
    text
}

fn write_section(text: &mut String, section: &Field, off: &str) {
    text.push('\n');
    write_doc(text, section);
    let is_off = section.default.is_none();
    let off = if is_off { "# " } else { off };
    let _ = writeln!(text, "{off}{}", section.heading());
    for example in section.examples.iter().filter_map(Json::as_object) {
        for (key, value) in example {
            let _ = writeln!(text, "# {key} = {}", inline(value));
        }
    }
    let (tables, keys): (Vec<_>, Vec<_>) =
        section.fields.iter().partition(|field| field.is_table());
    for field in keys {
        text.push('\n');
        write_doc(text, field);
        match &field.default {
            Some(value) => {
                let _ = writeln!(text, "{off}{} = {value}", field.key);
            }
            None => {
                let value = field.examples.first().map_or_else(|| empty(field), inline);
                let _ = writeln!(text, "# {} = {value}", field.key);
            }
        }
    }
    for table in tables {
        write_section(text, table, off);
    }
}

fn write_doc(text: &mut String, field: &Field) {
    let mut paragraphs = field.doc.clone();
    let choices = field.choices.iter().map(|(value, meaning)| {
        let meaning = meaning.strip_suffix('.').unwrap_or(meaning);
        format!("\"{value}\": {meaning}")
    });
    paragraphs.extend(choices);
    if let Some(range) = told_range(field) {
        paragraphs.push(format!("{range}."));
    }
    if field.restart && !field.is_table() {
        paragraphs.push("Needs a restart.".to_owned());
    }
    for paragraph in paragraphs {
        let mut line = String::from("#");
        for word in paragraph.split(' ') {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(text, "{line}");
    }
}

/// All fields as Markdown: a heading and a table for each section.
pub(super) fn reference(fields: &[Field]) -> String {
    let mut text = String::new();
    for field in fields {
        write_reference(&mut text, field);
    }
    text
}

fn write_reference(text: &mut String, section: &Field) {
    let _ = writeln!(text, "## `{}`\n", section.heading());
    for paragraph in &section.doc {
        let _ = writeln!(text, "{paragraph}\n");
    }
    for example in section.examples.iter().filter_map(Json::as_object) {
        let lines = example
            .iter()
            .map(|(key, value)| format!("{key} = {}\n", inline(value)));
        let _ = writeln!(text, "```toml\n{}```\n", lines.collect::<String>());
    }
    let (tables, keys): (Vec<_>, Vec<_>) =
        section.fields.iter().partition(|field| field.is_table());
    if !keys.is_empty() {
        text.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        for field in keys {
            let default = field
                .default
                .as_ref()
                .map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
            let kind = cell(&field.kind);
            let meaning = cell(&meaning(field));
            let _ = writeln!(text, "| `{}` | {kind} | {default} | {meaning} |", field.key);
        }
        text.push('\n');
    }
    for table in tables {
        write_reference(text, table);
    }
}

fn meaning(field: &Field) -> String {
    let mut parts = field.doc.clone();
    let choices = field.choices.iter().map(|(value, meaning)| {
        let meaning = meaning.strip_suffix('.').unwrap_or(meaning);
        format!("`\"{value}\"`: {meaning}.")
    });
    parts.extend(choices);
    parts.extend(told_range(field).map(|range| format!("{range}.")));
    if field.restart {
        parts.push("Needs a restart.".to_owned());
    }
    parts.join(" ")
}

/// A range, if it says more than the type does.
fn told_range(field: &Field) -> Option<String> {
    let says_more = field.max.is_some() || field.min.is_some_and(|min| min > 0.0);
    says_more.then(|| {
        let range = schema::range(field);
        range[..1].to_uppercase() + &range[1..]
    })
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn inline(value: &Json) -> String {
    Toml::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

fn empty(field: &Field) -> String {
    let value = match field.kind.split(' ').next() {
        Some("boolean") => "false",
        Some("integer") => "0",
        Some("number") => "0.0",
        Some("list") => "[]",
        Some("table") => "{}",
        _ => "\"\"",
    };
    value.to_owned()
}
