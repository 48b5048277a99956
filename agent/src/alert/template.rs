//! Templates in labels and annotations: Go's text/template with Prometheus's functions.
//!
//! The engine is our own. The crate gotmpl reads `{{if}}` without `{{end}}`, names that nobody
//! declared and functions that do not exist, where Prometheus refuses the file; its values know
//! neither times nor a map whose missing entry is "". Here a template is parsed once, at load.

mod builtin;
mod call;
mod evaluate;
mod format;
mod function;
mod humanize;
mod lexer;
mod literal;
pub mod number;
mod parser;
mod time;
mod tree;
pub mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use value::{Data, Sample, Value};

/// Longest text that a template or a function in it may make.
pub const MAX_OUTPUT_BYTES: usize = 64 << 10;

/// Most steps that one expansion may take.
pub const MAX_STEPS: usize = 200_000;

/// What Prometheus puts before every template.
const PREAMBLE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                        {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What is wrong with a template, and in which line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    line: usize,
    message: String,
}

/// A template that cannot be used, in the words of Go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseError {}

/// Runs a query for a template.
pub type QueryFn<'a> = dyn Fn(&str) -> Result<Vec<Sample>, String> + 'a;

/// What templates see beside their data.
pub struct Scope<'a> {
    /// Time of the evaluation in milliseconds since 1970.
    pub now_ms: i64,
    /// Where this agent is reached; none where promtool has none either, so that `externalURL` and
    /// `pathPrefix` fail.
    pub address: Option<&'a str>,
    /// Runs a query at the time of the evaluation.
    pub query: &'a QueryFn<'a>,
}

/// A text with actions, parsed.
#[derive(Debug)]
pub struct Template {
    name: Arc<str>,
    text: Box<str>,
    /// None for a text without actions, which is its own result.
    tree: Option<(Box<str>, parser::Tree)>,
}

impl Template {
    /// Parses the template of an alert, which may use `$labels`, `$value`, `$externalLabels` and
    /// `$externalURL`.
    ///
    /// # Errors
    /// If it is no template, names a function that does not exist or a variable that nobody set.
    pub fn parse(alert: &str, text: &str) -> Result<Self, ParseError> {
        Self::with_source(
            format!("__alert_{alert}"),
            text,
            format!("{PREAMBLE}{text}"),
        )
    }

    fn with_source(name: String, text: &str, source: String) -> Result<Self, ParseError> {
        if source.len() > MAX_OUTPUT_BYTES {
            return Err(ParseError(format!(
                "template: {name}:1: template is longer than {MAX_OUTPUT_BYTES} bytes"
            )));
        }
        let tree = if text.contains("{{") {
            let tree = parser::parse(&source).map_err(|problem| {
                ParseError(format!(
                    "template: {name}:{}: {}",
                    problem.line, problem.message
                ))
            })?;
            Some((source.into_boxed_str(), tree))
        } else {
            None
        };
        Ok(Self {
            name: name.into(),
            text: text.into(),
            tree,
        })
    }

    /// Whether it has no actions, so that it is its own result.
    pub fn is_plain(&self) -> bool {
        self.tree.is_none()
    }

    /// The text as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the template says about `data`.
    ///
    /// # Errors
    /// With Prometheus's message if it fails.
    pub fn expand(&self, data: &Value, scope: &Scope<'_>) -> Result<String, String> {
        let Some((source, tree)) = &self.tree else {
            return Ok(self.text.to_string());
        };
        evaluate::Run::new(tree, &self.name, source, scope)
            .run(data)
            .map_err(|why| format!("error executing template {}: {why}", self.name))
    }
}

/// Where the result of an expression can be seen as a graph, below the agent's address.
pub fn graph_link(expr: &str) -> String {
    format!("/graph?g0.expr={}&g0.tab=0", builtin::query_escape(expr))
}

/// Where it can be seen as a table.
pub fn table_link(expr: &str) -> String {
    format!("/graph?g0.expr={}&g0.tab=1", builtin::query_escape(expr))
}

/// A text in double quotes, as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    format::quote(text)
}

/// A span in nanoseconds as Go prints it: `1h1m1.5s`.
pub fn span(span_ns: i64) -> String {
    time::duration(span_ns)
}

/// The data of an alert's templates.
pub fn data(labels: value::LabelMap, external: &External, value: Value) -> Value {
    Value::Data(Arc::new(Data {
        labels,
        external_labels: Arc::clone(&external.labels),
        external_url: Arc::clone(&external.url),
        value,
    }))
}

/// What templates are told of the agent.
#[derive(Clone, Debug, Default)]
pub struct External {
    /// The labels that every page carries.
    pub labels: value::LabelMap,
    /// Where this agent is reached, as `.ExternalURL` says it.
    pub url: Arc<str>,
    /// The same for the functions `externalURL` and `pathPrefix`, which fail without.
    pub address: Option<Arc<str>>,
}

impl External {
    /// What an agent tells that is reached at `url`.
    pub fn new(labels: value::LabelMap, url: &str) -> Self {
        Self {
            labels,
            url: url.into(),
            address: Some(url.into()),
        }
    }
}
