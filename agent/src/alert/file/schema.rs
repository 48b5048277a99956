//! The YAML of rule files, with the place of everything that a message may be about.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// A text with its place; null counts as the empty text, as in Go.
pub(super) type Text = Spanned<Option<String>>;
/// Labels or annotations.
pub(super) type Map = Option<BTreeMap<String, Text>>;

/// A file.
pub(super) struct File {
    pub(super) groups: Vec<Spanned<Group>>,
}

/// A group.
#[derive(Default)]
pub(super) struct Group {
    pub(super) name: Option<String>,
    pub(super) interval: Option<Text>,
    pub(super) query_offset: Option<Text>,
    pub(super) limit: Option<i64>,
    pub(super) labels: Map,
    pub(super) rules: Vec<Spanned<Rule>>,
}

/// A rule.
#[derive(Default)]
pub(super) struct Rule {
    pub(super) record: Option<Text>,
    pub(super) alert: Option<Text>,
    pub(super) expr: Option<Text>,
    pub(super) hold: Option<Text>,
    pub(super) keep_firing_for: Option<Text>,
    pub(super) labels: Map,
    pub(super) annotations: Map,
}

/// The same structure twice: serde decides at compile time whether unknown keys are refused.
macro_rules! schema {
    ($module:ident, $doc:literal $(, $refuse:meta)?) => {
        #[doc = $doc]
        mod $module {
            use super::{Deserialize, Map, Spanned, Text};

            #[derive(Deserialize)]
            $(#[$refuse])?
            pub(super) struct File {
                #[serde(default)]
                groups: Option<Vec<Spanned<Group>>>,
            }

            #[derive(Deserialize)]
            $(#[$refuse])?
            struct Group {
                #[serde(default)]
                name: Option<String>,
                #[serde(default)]
                interval: Option<Text>,
                #[serde(default)]
                query_offset: Option<Text>,
                #[serde(default)]
                limit: Option<i64>,
                #[serde(default)]
                labels: Map,
                #[serde(default)]
                rules: Option<Vec<Spanned<Rule>>>,
            }

            #[derive(Deserialize)]
            $(#[$refuse])?
            struct Rule {
                #[serde(default)]
                record: Option<Text>,
                #[serde(default)]
                alert: Option<Text>,
                #[serde(default)]
                expr: Option<Text>,
                #[serde(default, rename = "for")]
                hold: Option<Text>,
                #[serde(default)]
                keep_firing_for: Option<Text>,
                #[serde(default)]
                labels: Map,
                #[serde(default)]
                annotations: Map,
            }

            impl From<File> for super::File {
                fn from(file: File) -> Self {
                    let groups = file.groups.unwrap_or_default().into_iter();
                    Self { groups: groups.map(|group| super::map(group, Into::into)).collect() }
                }
            }

            impl From<Group> for super::Group {
                fn from(group: Group) -> Self {
                    let Group { name, interval, query_offset, limit, labels, rules } = group;
                    let rules = rules.unwrap_or_default().into_iter();
                    let rules = rules.map(|rule| super::map(rule, Into::into)).collect();
                    Self { name, interval, query_offset, limit, labels, rules }
                }
            }

            impl From<Rule> for super::Rule {
                fn from(rule: Rule) -> Self {
                    let Rule { record, alert, expr, hold, keep_firing_for, labels, annotations } =
                        rule;
                    Self { record, alert, expr, hold, keep_firing_for, labels, annotations }
                }
            }
        }
    };
}

schema!(
    strict,
    "Refuses unknown keys, as Prometheus does.",
    serde(deny_unknown_fields)
);
schema!(
    lenient,
    "Passes over unknown keys, as `--ignore-unknown-fields` asks."
);

fn map<A, B>(spanned: Spanned<A>, change: impl FnOnce(A) -> B) -> Spanned<B> {
    Spanned {
        value: change(spanned.value),
        referenced: spanned.referenced,
        defined: spanned.defined,
    }
}

/// Reads the first document of a file; later ones are passed over, as Prometheus does.
///
/// # Errors
/// With the place and what is wrong there.
pub(super) fn read(text: &str, ignore_unknown: bool) -> Result<File, super::Problem> {
    fn first<T: serde::de::DeserializeOwned>(text: &str) -> Result<Option<T>, super::Problem> {
        let mut bytes = text.as_bytes();
        let mut documents = serde_saphyr::read_with_options(&mut bytes, options());
        documents.next().transpose().map_err(|why| problem(&why))
    }
    let empty = || File { groups: Vec::new() };
    Ok(if ignore_unknown {
        first::<lenient::File>(text)?.map_or_else(empty, Into::into)
    } else {
        first::<strict::File>(text)?.map_or_else(empty, Into::into)
    })
}

/// Bounds for files that are made to blow up.
pub(in crate::alert) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(super::MAX_BYTES),
            max_events: 2_000_000,
            max_nodes: 1_000_000,
            max_aliases: 10_000,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 16,
        },
    }
}

/// What the YAML parser says, with its place apart.
pub(in crate::alert) fn problem(why: &serde_saphyr::Error) -> super::Problem {
    let place = why
        .location()
        .map(|location| (location.line(), location.column()));
    let text = why.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text).to_owned();
    super::Problem {
        place,
        ..super::Problem::plain(text)
    }
}
