//! What templates work on: Go's values as far as Prometheus hands them to alert templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::number;
use super::time;

/// A map of labels.
pub type LabelMap = Arc<BTreeMap<String, String>>;

/// A value in a template.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// No value.
    #[default]
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above the largest signed one.
    Uint(u64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// Labels: a name that is missing is the empty text.
    Labels(LabelMap),
    /// What `args` makes: a name that is missing is no value.
    Map(Arc<BTreeMap<String, Value>>),
    /// An element of a query's result.
    Sample(Arc<Sample>),
    /// A query's result.
    Samples(Arc<[Arc<Sample>]>),
    /// A point in time, in milliseconds since 1970.
    Time(i64),
    /// A span, in nanoseconds.
    Duration(i64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
    /// What the template is about.
    Data(Arc<Data>),
}

/// An element of a query's result.
#[derive(Clone, Debug)]
pub struct Sample {
    /// All its labels, the name included.
    pub labels: LabelMap,
    /// A number or a histogram.
    pub value: Value,
}

/// What a template can say of a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// As Prometheus prints it.
    pub text: String,
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
}

/// What an alert's templates are about: `.Labels`, `.ExternalLabels`, `.ExternalURL`, `.Value`.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// The labels of the sample that the expression gave.
    pub labels: LabelMap,
    /// The labels that every page carries.
    pub external_labels: LabelMap,
    /// Where this agent is reached.
    pub external_url: Arc<str>,
    /// The sample's value.
    pub value: Value,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl Value {
    /// The name of its type in Go, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Labels(_) => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Sample(_) => "*template.sample",
            Self::Samples(_) => "template.queryResult",
            Self::Time(_) => "*time.Time",
            Self::Duration(_) => "*time.Duration",
            Self::Histogram(_) => "*histogram.FloatHistogram",
            Self::Data(_) => {
                "struct { Labels map[string]string; ExternalLabels map[string]string; \
                 ExternalURL string; Value interface {} }"
            }
        }
    }

    /// Whether `if` takes it as true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Uint(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Labels(map) => !map.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Samples(samples) => !samples.is_empty(),
            Self::Sample(_)
            | Self::Time(_)
            | Self::Duration(_)
            | Self::Histogram(_)
            | Self::Data(_) => true,
        }
    }

    /// How many elements it has, if it has elements.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::Labels(map) => Some(map.len()),
            Self::Map(map) => Some(map.len()),
            Self::Samples(samples) => Some(samples.len()),
            _ => None,
        }
    }

    /// As `fmt` prints it with `%v`.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Nil => "<nil>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Float(value) => number::shortest(*value),
            Self::Text(text) => text.to_string(),
            Self::Labels(map) => shown_map(map.iter().map(|(k, v)| (k, v.clone()))),
            Self::Map(map) => shown_map(map.iter().map(|(k, v)| (k, v.shown()))),
            Self::Sample(sample) => {
                let labels = Self::Labels(Arc::clone(&sample.labels)).shown();
                format!("{{{labels} {}}}", sample.value.shown())
            }
            Self::Samples(samples) => {
                let all = samples.iter().map(|s| Self::Sample(Arc::clone(s)).shown());
                format!("[{}]", all.collect::<Vec<_>>().join(" "))
            }
            Self::Time(at_ms) => time::shown(*at_ms),
            Self::Duration(span_ns) => time::duration(*span_ns),
            Self::Histogram(histogram) => histogram.text.clone(),
            Self::Data(data) => format!(
                "{{{} {} {} {}}}",
                Self::Labels(Arc::clone(&data.labels)).shown(),
                Self::Labels(Arc::clone(&data.external_labels)).shown(),
                data.external_url,
                data.value.shown()
            ),
        }
    }

    /// The number that `humanize` and its like read (`common_templates.ConvertToFloat`).
    pub(super) fn to_float(&self) -> Result<f64, String> {
        match self {
            Self::Float(value) => Ok(*value),
            Self::Int(value) => Ok(*value as f64),
            Self::Uint(value) => Ok(*value as f64),
            Self::Text(text) => parse_float(text),
            Self::Duration(span_ns) => Ok(*span_ns as f64 / 1e9),
            _ => Err(format!("can't convert {} to float", self.type_name())),
        }
    }
}

fn shown_map<'a>(pairs: impl Iterator<Item = (&'a String, String)>) -> String {
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    format!("map[{}]", pairs.join(" "))
}

/// `strconv.ParseFloat`.
fn parse_float(text: &str) -> Result<f64, String> {
    let wrong = || format!("strconv.ParseFloat: parsing {text:?}: invalid syntax");
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if matches!(bare.as_str(), "inf" | "infinity" | "nan") {
        return text.parse().map_err(|_| wrong());
    }
    if !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    let value: f64 = text.parse().map_err(|_| wrong())?;
    if value.is_infinite() {
        return Err(format!(
            "strconv.ParseFloat: parsing {text:?}: value out of range"
        ));
    }
    Ok(value)
}
