//! Rule files of Prometheus 3.14: what they say, and everything that is wrong with them at once.

mod check;
pub(super) mod schema;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::expression::Expression;
use super::template::Template;

/// Largest file that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// A file with rules that can be used.
#[derive(Debug)]
pub struct RuleFile {
    /// Where it was read.
    pub path: Arc<str>,
    /// Its groups, in order.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other at one time.
#[derive(Debug)]
pub struct Group {
    /// Unique in its file.
    pub name: String,
    /// Between evaluations; none for the configured one.
    pub interval_ms: Option<i64>,
    /// How far back queries look; none for the configured one.
    pub query_offset_ms: Option<i64>,
    /// Most alerts or series of one rule; 0 for no limit.
    pub limit: usize,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A rule; labels of its group that it does not set itself are its own.
#[derive(Debug)]
pub struct Rule {
    /// The alert's name or the metric that is recorded.
    pub name: String,
    /// What is evaluated.
    pub expr: Expression,
    /// Labels as written.
    pub labels: BTreeMap<String, String>,
    /// What is done with the result.
    pub action: Action,
    /// Line and column from 1.
    pub place: (u64, u64),
}

impl Rule {
    /// Names of the metrics that it writes.
    pub fn writes(&self) -> impl Iterator<Item = &str> {
        let names: [Option<&str>; 2] = match self.action {
            Action::Record => [Some(&self.name), None],
            Action::Alert(_) => [Some("ALERTS"), Some("ALERTS_FOR_STATE")],
        };
        names.into_iter().flatten()
    }
}

/// What a rule does with its result.
#[derive(Debug)]
pub enum Action {
    /// Writes it as a metric of the rule's name.
    Record,
    /// Alerts on every element.
    Alert(Alert),
}

/// What makes a rule an alert.
#[derive(Debug)]
pub struct Alert {
    /// How long the expression must hold before it fires.
    pub for_ms: i64,
    /// How long it goes on firing when the expression no longer holds.
    pub keep_firing_for_ms: i64,
    /// The labels as templates.
    pub labels: Vec<(String, Text)>,
    /// The annotations as templates.
    pub annotations: Vec<(String, Text)>,
}

/// A template. Those in labels of a group are not checked at load, so they may be broken.
#[derive(Debug)]
pub enum Text {
    /// Can be expanded.
    Template(Template),
    /// Cannot; the message.
    Broken(String),
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// Line and column from 1, if it has a place.
    pub place: Option<(u64, u64)>,
    /// A second place that it is about.
    pub other_place: Option<(u64, u64)>,
    /// The rule, if it is about one.
    pub rule: Option<Box<RuleName>>,
    /// What is wrong.
    pub message: String,
}

/// Says which rule is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleName {
    /// Its group.
    pub group: String,
    /// Its number in the group, from 1.
    pub number: usize,
    /// Its name; empty if it has none.
    pub name: String,
}

impl Problem {
    /// A problem that is about no place in particular.
    pub fn plain(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, column) in self.place.iter().chain(&self.other_place) {
            write!(f, "{line}:{column}: ")?;
        }
        if let Some(rule) = &self.rule {
            let RuleName {
                group,
                number,
                name,
            } = &**rule;
            write!(f, "group {group:?}, rule {number}, {name:?}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file.
    pub path: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {problem}", self.path)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileError {}

impl RuleFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or with all that is wrong with it.
    pub fn load(path: &Path, ignore_unknown: bool) -> Result<Self, FileError> {
        let shown = path.display().to_string();
        let fail = |message: String| FileError {
            path: shown.clone(),
            problems: vec![Problem::plain(message)],
        };
        let size = std::fs::metadata(path).map_err(|why| fail(why.to_string()))?;
        if size.len() > MAX_BYTES as u64 {
            return Err(fail(format!("file is larger than {MAX_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|why| fail(why.to_string()))?;
        Self::parse(&shown, &text, ignore_unknown)
    }

    /// Parses the text of a file; `ignore_unknown` passes over keys that Prometheus does not know.
    ///
    /// # Errors
    /// With all that is wrong with it.
    pub fn parse(path: &str, text: &str, ignore_unknown: bool) -> Result<Self, FileError> {
        let fail = |problems| FileError {
            path: path.to_owned(),
            problems,
        };
        if text.len() > MAX_BYTES {
            let why = format!("file is larger than {MAX_BYTES} bytes");
            return Err(fail(vec![Problem::plain(why)]));
        }
        let file = schema::read(text, ignore_unknown).map_err(|problem| fail(vec![problem]))?;
        let groups = check::groups(file).map_err(fail)?;
        Ok(Self {
            path: path.into(),
            groups,
        })
    }

    /// How many rules there are in the file.
    pub fn rules(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }
}
