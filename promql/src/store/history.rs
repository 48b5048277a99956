//! The past of one series: a chunk of numbers that grows at its end and is cut
//! at its beginning, and what only long windows and histograms have.

use std::collections::VecDeque;

use super::chunk::{CHUNK_SAMPLES, Chunk, Closed};
use crate::storage::{FloatPoint, HistogramPoint, Window};
use crate::value::{Point, SampleValue};

/// Points of one series, oldest first.
#[derive(Clone, Default)]
pub(super) struct History {
    open: Chunk,
    more: Option<Box<More>>,
}

/// What most series do not have.
#[derive(Clone, Default)]
struct More {
    /// Numbers before the open chunk.
    closed: VecDeque<Closed>,
    histograms: VecDeque<HistogramPoint>,
    /// Of both.
    samples: u64,
    /// Of both, the queues themselves left out.
    bytes: usize,
}

impl History {
    pub(super) fn push(&mut self, point: &Point) {
        match &point.value {
            SampleValue::Histogram(value) => {
                let more = self.more.get_or_insert_default();
                more.samples += 1;
                more.bytes += value.heap_bytes();
                more.histograms.push_back(HistogramPoint {
                    at_ms: point.at_ms,
                    start_ms: point.start_ms,
                    value: value.clone(),
                });
            }
            SampleValue::Float(value) => {
                if self.open.len() >= CHUNK_SAMPLES {
                    let closed = std::mem::take(&mut self.open).close();
                    let more = self.more.get_or_insert_default();
                    more.samples += u64::from(closed.len());
                    more.bytes += closed.heap_bytes();
                    more.closed.push_back(closed);
                }
                self.open.push(FloatPoint {
                    at_ms: point.at_ms,
                    start_ms: point.start_ms,
                    value: *value,
                });
            }
        }
    }

    /// Drops what is not newer than `until_ms`; of a long window, chunk by chunk.
    pub(super) fn drop_until(&mut self, until_ms: i64) {
        let Some(more) = &mut self.more else {
            self.open.drop_until(until_ms);
            return;
        };
        let is_old = |old: &mut Closed| old.end_ms() <= until_ms;
        while let Some(old) = more.closed.pop_front_if(is_old) {
            more.samples -= u64::from(old.len());
            more.bytes -= old.heap_bytes();
        }
        let is_old = |old: &mut HistogramPoint| old.at_ms <= until_ms;
        while let Some(old) = more.histograms.pop_front_if(is_old) {
            more.samples -= 1;
            more.bytes -= old.value.heap_bytes();
        }
        if more.closed.is_empty() {
            self.open.drop_until(until_ms);
        }
    }

    /// Samples held.
    pub(super) fn len(&self) -> u64 {
        let more = self.more.as_ref().map_or(0, |more| more.samples);
        more + u64::from(self.open.len())
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            size_of::<More>()
                + more.closed.capacity() * size_of::<Closed>()
                + more.histograms.capacity() * size_of::<HistogramPoint>()
                + more.bytes
        });
        size_of::<Self>() + self.open.heap_bytes() + more
    }

    pub(super) fn window(&self, after_ms: i64, until_ms: i64, window: &mut Window) {
        window.floats.reserve(usize::from(self.open.len()));
        self.each_float(after_ms, until_ms, |point| {
            if !crate::value::is_stale(point.value) {
                window.floats.push(point);
            }
        });
        let Some(more) = &self.more else {
            return;
        };
        let points = &more.histograms;
        let start = points.partition_point(|point| point.at_ms <= after_ms);
        let points = points.range(start..);
        for point in points.take_while(|point| point.at_ms <= until_ms) {
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
        let histogram = self.more.as_ref().and_then(|more| {
            let points = &more.histograms;
            let end = points.partition_point(|point| point.at_ms <= until_ms);
            points.get(end.checked_sub(1)?)
        });
        let histogram = histogram.filter(|point| point.at_ms > after_ms);
        let histogram = histogram.map(|point| Point {
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
        let closed = self.more.iter().flat_map(|more| &more.closed);
        let closed = closed.filter(|chunk| chunk.end_ms() > after_ms);
        let open = std::iter::once(&self.open).filter(|chunk| chunk.len() > 0);
        let open = open.filter(|chunk| chunk.end_ms() > after_ms);
        for points in closed.map(Closed::iter).chain(open.map(Chunk::iter)) {
            for point in points {
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
