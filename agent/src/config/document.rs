//! A TOML text that knows where everything stands.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::schema::Field;

/// Names closer than this to a known one are taken for a slip of the pen.
const LIKENESS: f64 = 0.75;

pub(super) struct Document<'a> {
    text: &'a str,
    file: &'a str,
    table: DeTable<'a>,
}

impl<'a> Document<'a> {
    pub(super) fn parse(text: &'a str, file: &'a str) -> Result<Self, ConfigError> {
        match DeTable::parse(text) {
            Ok(table) => Ok(Self {
                text,
                file,
                table: table.into_inner(),
            }),
            Err(error) => Err(ConfigError::Invalid(vec![Problem {
                file: file.to_owned(),
                place: error.span().map(|span| place_of(text, span.start)),
                what: one_line(error.message()),
            }])),
        }
    }

    /// Refuses keys that no field has.
    pub(super) fn refuse_unknown_keys(&self, fields: &[Field]) -> Result<(), ConfigError> {
        let mut unknown = Vec::new();
        self.find_unknown(&self.table, fields, "", &mut unknown);
        unknown.sort_by_key(|problem| problem.place);
        as_result(unknown)
    }

    fn find_unknown(
        &self,
        table: &DeTable<'_>,
        fields: &[Field],
        section: &str,
        unknown: &mut Vec<Problem>,
    ) {
        for (key, value) in table {
            let name = key.get_ref();
            match fields.iter().find(|field| field.key == **name) {
                Some(field) if field.is_open => {}
                Some(field) => {
                    let items = value.get_ref().as_array().into_iter().flatten();
                    let all = items.map(toml::Spanned::get_ref).chain([value.get_ref()]);
                    for inner in all.filter_map(|value| value.as_table()) {
                        if field.is_table() {
                            self.find_unknown(inner, &field.fields, &field.path, unknown);
                        }
                    }
                }
                None => unknown.push(self.problem(
                    &key.span(),
                    format!(
                        "unknown key `{name}`{}{}",
                        if section.is_empty() {
                            String::new()
                        } else {
                            format!(" in [{section}]")
                        },
                        hint(name, fields)
                    ),
                )),
            }
        }
    }

    /// Turns the text into `T`.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let message = one_line(error.message());
            let what = match path_at(&self.table, span.start, "") {
                Some(path) => format!("{path}: {message}"),
                None => message,
            };
            ConfigError::Invalid(vec![self.problem(&span, what)])
        })
    }

    /// Refuses if there are faults: messages that begin with a key such as `kernel.ring_bytes`.
    pub(super) fn refuse(&self, faults: Vec<String>) -> Result<(), ConfigError> {
        let problems = faults.into_iter().map(|what| Problem {
            file: self.file.to_owned(),
            place: what
                .split([' ', ':', ','])
                .next()
                .and_then(|path| locate(&self.table, path))
                .map(|span| place_of(self.text, span.start)),
            what,
        });
        let mut problems: Vec<_> = problems.collect();
        problems.sort_by_key(|problem| problem.place);
        as_result(problems)
    }

    fn problem(&self, span: &Range<usize>, what: String) -> Problem {
        Problem {
            file: self.file.to_owned(),
            place: Some(place_of(self.text, span.start)),
            what,
        }
    }
}

fn as_result(problems: Vec<Problem>) -> Result<(), ConfigError> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(ConfigError::Invalid(problems))
    }
}

/// Names the known key that was probably meant, or all if they are few.
fn hint(name: &str, fields: &[Field]) -> String {
    let likeness = |field: &&Field| strsim::jaro_winkler(name, &field.key);
    let nearest = fields
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|field| likeness(field) >= LIKENESS);
    match nearest {
        Some(field) => format!("; did you mean `{}`?", field.key),
        None => {
            let keys: Vec<_> = fields.iter().map(|field| field.key.as_str()).collect();
            format!("; known are {}", keys.join(", "))
        }
    }
}

/// Line and column, both from 1.
fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Where the value at a path such as `peer_groups.isp[1]` stands; where it is missing, the nearest
/// table above it.
fn locate(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, index) = match key.split_once('[') {
        Some((key, index)) => (key, index.trim_end_matches(']').parse::<usize>().ok()),
        None => (key, None),
    };
    let (found, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    let inner = match (value.get_ref(), index) {
        (DeValue::Table(inner), _) if !rest.is_empty() => locate(inner, rest),
        (DeValue::Array(items), Some(index)) => {
            let item = items.get(index)?;
            let inner = item.get_ref().as_table().filter(|_| !rest.is_empty());
            let found = inner.and_then(|inner| locate(inner, rest));
            Some(found.unwrap_or_else(|| item.span()))
        }
        _ => None,
    };
    Some(inner.unwrap_or_else(|| found.span()))
}

/// The key whose value stands at `offset`.
fn path_at(table: &DeTable<'_>, offset: usize, above: &str) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let path = if above.is_empty() {
            key.get_ref().to_string()
        } else {
            format!("{above}.{}", key.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(found) = path_at(inner, offset, &path)
        {
            return Some(found);
        }
        let is_here = value.span().contains(&offset) || key.span().contains(&offset);
        is_here.then_some(path)
    })
}
