//! Values of queries, written as Prometheus's API writes them.

use serde::ser::{SerializeSeq as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use super::number::plain;
use crate::alert::page::Pairs;

/// The value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number without labels.
    Scalar(Point),
    /// A text, at a time in milliseconds since the Unix epoch.
    String(i64, String),
    /// One point for each series.
    Vector(Vec<(Pairs, Point)>),
    /// Series over time.
    Matrix(Vec<Series>),
}

impl Default for Value {
    fn default() -> Self {
        Self::Vector(Vec::new())
    }
}

/// A series of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, the name as `__name__`.
    pub labels: Pairs,
    /// In order of time.
    pub points: Vec<Point>,
}

/// A value at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The value.
    pub number: Number,
}

/// A number or a native histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// A plain number.
    Float(f64),
    /// `{"count": …, "sum": …, "buckets": [[rule, lower, upper, count], …]}`.
    Histogram(serde_json::Value),
}

/// Milliseconds as seconds with a fraction.
struct Seconds(i64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1_000 == 0 {
            return (self.0 / 1_000).serialize(to);
        }
        (self.0 as f64 / 1_000.0).serialize(to)
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pair = to.serialize_seq(Some(2))?;
        pair.serialize_element(&Seconds(self.at_ms))?;
        match &self.number {
            Number::Float(value) => pair.serialize_element(&plain(*value))?,
            Number::Histogram(histogram) => pair.serialize_element(histogram)?,
        }
        pair.end()
    }
}

impl Point {
    fn is_float(&self) -> bool {
        matches!(self.number, Number::Float(_))
    }
}

/// An element of a vector.
struct Element<'a>(&'a Pairs, &'a Point);

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut element = to.serialize_struct("element", 2)?;
        element.serialize_field("metric", self.0)?;
        let key = if self.1.is_float() {
            "value"
        } else {
            "histogram"
        };
        element.serialize_field(key, self.1)?;
        element.end()
    }
}

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (floats, histograms): (Vec<_>, Vec<_>) =
            self.points.iter().partition(|point| point.is_float());
        let mut series = to.serialize_struct("series", 3)?;
        series.serialize_field("metric", &self.labels)?;
        if !floats.is_empty() {
            series.serialize_field("values", &floats)?;
        }
        if !histograms.is_empty() {
            series.serialize_field("histograms", &histograms)?;
        }
        series.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut data = to.serialize_struct("data", 2)?;
        match self {
            Self::Scalar(point) => {
                data.serialize_field("resultType", "scalar")?;
                data.serialize_field("result", point)?;
            }
            Self::String(at_ms, text) => {
                data.serialize_field("resultType", "string")?;
                data.serialize_field("result", &(Seconds(*at_ms), text))?;
            }
            Self::Vector(vector) => {
                data.serialize_field("resultType", "vector")?;
                let elements = vector.iter().map(|(labels, point)| Element(labels, point));
                data.serialize_field("result", &elements.collect::<Vec<_>>())?;
            }
            Self::Matrix(matrix) => {
                data.serialize_field("resultType", "matrix")?;
                data.serialize_field("result", matrix)?;
            }
        }
        data.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: i64, value: f64) -> Point {
        let number = Number::Float(value);
        Point { at_ms, number }
    }

    fn json(value: &Value) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn values_are_written_as_prometheus_does() {
        let labels = Pairs::from([("__name__".to_owned(), "up".to_owned())]);
        assert_eq!(
            json(&Value::Scalar(point(1_500, 1.0))),
            r#"{"resultType":"scalar","result":[1.5,"1"]}"#
        );
        assert_eq!(
            json(&Value::String(-1, "a\"b".to_owned())),
            r#"{"resultType":"string","result":[-0.001,"a\"b"]}"#
        );
        assert_eq!(
            json(&Value::Vector(vec![(
                labels.clone(),
                point(2_000, f64::NAN)
            )])),
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[2,"NaN"]}]}"#
        );
        let histogram = Point {
            at_ms: 3_000,
            number: Number::Histogram(serde_json::json!({"count": "1"})),
        };
        let points = vec![point(1_000, 0.5), histogram];
        assert_eq!(
            json(&Value::Matrix(vec![Series { labels, points }])),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1,"0.5"]],"histograms":[[3,{"count":"1"}]]}]}"#
        );
    }
}
