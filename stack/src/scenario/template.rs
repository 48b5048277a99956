//! Places in a scenario's texts that are known only when it runs: `{origin.http}`, `{disk.small}`.
//! Other braces, as in JSON, are left alone.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Keys and what stands for them.
pub(crate) type Values = BTreeMap<String, String>;

/// Fills in all places; an unknown key is refused with the known ones.
pub(crate) fn fill(text: &str, values: &Values) -> Result<String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        match after.split_once('}').filter(|(key, _)| is_key(key)) {
            Some((key, behind)) => {
                let Some(value) = values.get(key) else {
                    let known: Vec<&str> = values.keys().map(String::as_str).collect();
                    bail!(
                        "nothing is known as {{{key}}} here; known are {}",
                        known.join(", ")
                    );
                };
                filled.push_str(value);
                rest = behind;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Fills in all texts of a configuration.
pub(crate) fn fill_table(table: &toml::Table, values: &Values) -> Result<toml::Table> {
    table
        .iter()
        .map(|(key, value)| Ok((key.clone(), fill_value(value, values)?)))
        .collect()
}

fn fill_value(value: &toml::Value, values: &Values) -> Result<toml::Value> {
    Ok(match value {
        toml::Value::String(text) => fill(text, values)?.into(),
        toml::Value::Array(all) => toml::Value::Array(
            all.iter()
                .map(|one| fill_value(one, values))
                .collect::<Result<_>>()?,
        ),
        toml::Value::Table(table) => toml::Value::Table(fill_table(table, values)?),
        other => other.clone(),
    })
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Values {
        Values::from([
            ("a.b".to_owned(), "1".to_owned()),
            ("c".to_owned(), "{a.b}".to_owned()),
        ])
    }

    #[test]
    fn keys_are_filled_in_once_and_other_braces_stay() {
        assert_eq!(fill("x{a.b}y{c}z", &values()).unwrap(), "x1y{a.b}z");
        assert_eq!(fill("{\"a\": {}} {", &values()).unwrap(), "{\"a\": {}} {");
        let error = fill("{b}", &values()).unwrap_err().to_string();
        assert!(error.contains("{b}") && error.contains("a.b, c"), "{error}");
    }

    #[test]
    fn texts_deep_in_a_configuration_are_filled_in() {
        let table: toml::Table = toml::from_str("[a]\nb = [\"{a.b}\", 2]\n").unwrap();
        let filled = fill_table(&table, &values()).unwrap();
        assert_eq!(filled["a"]["b"][0].as_str(), Some("1"));
        assert_eq!(filled["a"]["b"][1].as_integer(), Some(2));
    }

    proptest! {
        #[test]
        fn text_without_braces_stays(text in "[^{}]*") {
            prop_assert_eq!(fill(&text, &values()).unwrap(), text);
        }

        #[test]
        fn any_text_is_filled_or_refused(text in "[a-c.{}]{0,40}") {
            let _ = fill(&text, &values());
        }
    }
}
