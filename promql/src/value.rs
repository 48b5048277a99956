//! What a query works on and what it answers: samples, vectors, matrices.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;

/// The NaN that says a series has ended (Prometheus `value.StaleNaN`).
pub const STALE_NAN: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is the marker for an ended series, not any other NaN.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN.to_bits()
}

/// A number or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A plain number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl SampleValue {
    /// The number, if it is one.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    /// The histogram, if it is one.
    pub fn histogram(&self) -> Option<&Arc<Histogram>> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }

    /// Whether it marks the end of its series.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Float(value) => is_stale(*value),
            Self::Histogram(histogram) => is_stale(histogram.sum),
        }
    }
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Histogram> for SampleValue {
    fn from(value: Histogram) -> Self {
        Self::Histogram(Arc::new(value))
    }
}

/// A value at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// When the counter started, in milliseconds since 1970; 0 if not known.
    pub start_ms: i64,
    /// The value.
    pub value: SampleValue,
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The labels that tell it apart.
    pub labels: Labels,
    /// The value.
    pub value: SampleValue,
    /// The name is to be dropped when the query ends (delayed name removal).
    pub(crate) drop_name: bool,
}

impl Sample {
    /// An element that keeps its name.
    pub fn new(labels: Labels, value: impl Into<SampleValue>) -> Self {
        Self {
            labels,
            value: value.into(),
            drop_name: false,
        }
    }
}

/// One series of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels that tell it apart.
    pub labels: Labels,
    /// Points in order of time.
    pub points: Vec<Point>,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number without labels.
    Scalar(f64),
    /// A text.
    String(String),
    /// One sample per series, all at the query's time.
    Vector(Vec<Sample>),
    /// Series over time.
    Matrix(Vec<Series>),
}
