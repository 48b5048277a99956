//! The past of one series: closed chunks of numbers, one that grows, and
//! histograms as they are.

use std::collections::VecDeque;

use super::chunk::{CHUNK_SAMPLES, Chunk};
use crate::storage::{FloatPoint, HistogramPoint, Window};
use crate::value::{Point, SampleValue};

/// Points of one series, oldest first.
#[derive(Clone, Default)]
pub(super) struct History {
    closed: VecDeque<Chunk>,
    open: Chunk,
    histograms: VecDeque<HistogramPoint>,
    samples: u64,
    closed_bytes: usize,
    histogram_bytes: usize,
}

impl History {
    pub(super) fn push(&mut self, point: &Point) {
        self.samples += 1;
        match &point.value {
            SampleValue::Histogram(value) => {
                self.histogram_bytes += value.heap_bytes();
                self.histograms.push_back(HistogramPoint {
                    at_ms: point.at_ms,
                    start_ms: point.start_ms,
                    value: value.clone(),
                });
            }
            SampleValue::Float(value) => {
                if self.open.len() >= CHUNK_SAMPLES {
                    self.open.close();
                    self.closed_bytes += self.open.heap_bytes();
                    self.closed.push_back(std::mem::take(&mut self.open));
                }
                self.open.push(FloatPoint {
                    at_ms: point.at_ms,
                    start_ms: point.start_ms,
                    value: *value,
                });
            }
        }
    }

    /// Drops chunks whose last sample is not newer than `until_ms`.
    pub(super) fn drop_until(&mut self, until_ms: i64) {
        while let Some(chunk) = self.closed.pop_front_if(|chunk| chunk.end_ms() <= until_ms) {
            self.samples -= u64::from(chunk.len());
            self.closed_bytes -= chunk.heap_bytes();
        }
        while let Some(old) = self.histograms.pop_front_if(|old| old.at_ms <= until_ms) {
            self.samples -= 1;
            self.histogram_bytes -= old.value.heap_bytes();
        }
    }

    /// Samples held.
    pub(super) fn len(&self) -> u64 {
        self.samples
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let queues = self.closed.capacity() * size_of::<Chunk>()
            + self.histograms.capacity() * size_of::<HistogramPoint>();
        size_of::<Self>()
            + self.closed_bytes
            + self.open.heap_bytes()
            + queues
            + self.histogram_bytes
    }

    pub(super) fn window(&self, after_ms: i64, until_ms: i64, window: &mut Window) {
        self.each_float(after_ms, until_ms, |point| {
            if !crate::value::is_stale(point.value) {
                window.floats.push(point);
            }
        });
        let start = self
            .histograms
            .partition_point(|point| point.at_ms <= after_ms);
        for point in self
            .histograms
            .range(start..)
            .take_while(|point| point.at_ms <= until_ms)
        {
            if !crate::value::is_stale(point.value.sum) {
                window.histograms.push(point.clone());
            }
        }
    }

    pub(super) fn last(&self, after_ms: i64, until_ms: i64) -> Option<Point> {
        let mut newest = None;
        self.each_float(after_ms, until_ms, |point| newest = Some(point));
        let float = newest.map(|point| Point {
            at_ms: point.at_ms,
            start_ms: point.start_ms,
            value: point.value.into(),
        });
        let end = self
            .histograms
            .partition_point(|point| point.at_ms <= until_ms);
        let histogram = end.checked_sub(1).and_then(|at| self.histograms.get(at));
        let histogram = histogram
            .filter(|point| point.at_ms > after_ms)
            .map(|point| Point {
                at_ms: point.at_ms,
                start_ms: point.start_ms,
                value: SampleValue::Histogram(point.value.clone()),
            });
        match (float, histogram) {
            (Some(a), Some(b)) => Some(if a.at_ms > b.at_ms { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    fn each_float(&self, after_ms: i64, until_ms: i64, mut take: impl FnMut(FloatPoint)) {
        let chunks = self.closed.iter().chain(std::iter::once(&self.open));
        for chunk in chunks.filter(|chunk| chunk.len() > 0 && chunk.end_ms() > after_ms) {
            for point in chunk.iter() {
                if point.at_ms > until_ms {
                    return;
                }
                if point.at_ms > after_ms {
                    take(point);
                }
            }
        }
    }
}
