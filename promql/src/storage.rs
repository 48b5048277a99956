//! What the evaluator needs of a source of series. The store of this crate is
//! one source; any other that answers these four questions works as well.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::value::{Point, SampleValue};

/// Names a series as long as the source is borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

/// More series match than the caller wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySeries;

/// A source of series.
pub trait Storage {
    /// Appends the series that satisfy all matchers, in a stable order; fails
    /// when there are more than `limit`.
    fn select(
        &self,
        matchers: &[Matcher],
        limit: usize,
        found: &mut Vec<SeriesId>,
    ) -> Result<(), TooManySeries>;

    /// The labels of a selected series.
    fn labels(&self, series: SeriesId) -> &Labels;

    /// The newest point after `after_ms` and not after `until_ms`, stale
    /// markers included.
    fn last(&self, series: SeriesId, after_ms: i64, until_ms: i64) -> Option<Point>;

    /// Appends all points after `after_ms` and not after `until_ms`.
    fn window(&self, series: SeriesId, after_ms: i64, until_ms: i64, window: &mut Window);
}

/// A number at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatPoint {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// When the counter started, in milliseconds since 1970; 0 if not known.
    pub start_ms: i64,
    /// The value.
    pub value: f64,
}

/// A native histogram at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// When the counter started, in milliseconds since 1970; 0 if not known.
    pub start_ms: i64,
    /// The value.
    pub value: Arc<Histogram>,
}

/// The points of one series in a range, numbers and histograms apart. It is
/// reused from series to series, so that a query allocates once.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The numbers in order of time.
    pub floats: Vec<FloatPoint>,
    /// The histograms in order of time.
    pub histograms: Vec<HistogramPoint>,
}

impl Window {
    /// Forgets all points, keeps the memory.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }

    /// Adds a point; a stale marker is no value and is left out.
    pub fn push(&mut self, point: Point) {
        if point.value.is_stale() {
            return;
        }
        let Point {
            at_ms,
            start_ms,
            value,
        } = point;
        match value {
            SampleValue::Float(value) => self.floats.push(FloatPoint {
                at_ms,
                start_ms,
                value,
            }),
            SampleValue::Histogram(value) => {
                self.histograms.push(HistogramPoint {
                    at_ms,
                    start_ms,
                    value,
                });
            }
        }
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }

    /// How many samples it counts for in limits.
    pub(crate) fn weight(&self) -> u64 {
        let histograms = self.histograms.iter().map(|point| point.value.weight());
        self.floats.len() as u64 + histograms.sum::<u64>()
    }
}
