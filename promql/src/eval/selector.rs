//! Selectors: which series, at which time, interpolated if asked for.

use std::rc::Rc;
use std::sync::Arc;

use super::{Eval, EvalError, Evaluated, extended, invalid};
use crate::ast::{At, Duration, Expr, ExprKind, Offset, Selector, Span};
use crate::histogram::{Histogram, ResetHint};
use crate::labels::Labels;
use crate::storage::{SeriesId, Window};
use crate::value::{Point, Sample, SampleValue, Series};

/// Series found by a range selector or a subquery, and how to read them.
pub(super) struct Ranges {
    /// Points are after this time.
    pub(super) after_ms: i64,
    /// Points are not after this time.
    pub(super) until_ms: i64,
    pub(super) source: Source,
}

pub(super) enum Source {
    /// Read from the storage, more than the range if its ends are extended.
    Stored {
        ids: Rc<[SeriesId]>,
        read_after_ms: i64,
        read_until_ms: i64,
        stats_only: bool,
    },
    /// Computed by a subquery.
    Computed(Vec<Computed>),
}

pub(super) struct Computed {
    pub(super) labels: Labels,
    pub(super) drop_name: bool,
    pub(super) window: Window,
}

impl Eval<'_> {
    /// The time that a selector or subquery looks at.
    pub(super) fn reference(&self, offset: &Offset, span: Span, at_ms: i64) -> Evaluated<i64> {
        let base = match offset.at {
            Some(At::Time(ms)) => ms,
            Some(At::Start) => self.range.start_ms,
            Some(At::End) => self.range.end_ms,
            None => at_ms,
        };
        let back = match &offset.offset {
            Some(duration) => self.duration_ms(duration, span)?,
            None => 0,
        };
        Ok(base.saturating_sub(back))
    }

    pub(super) fn duration_ms(&self, duration: &Duration, span: Span) -> Evaluated<i64> {
        let range_ms = self.range.end_ms.saturating_sub(self.range.start_ms);
        let resolved = duration.resolve_ms(self.range.step_ms, range_ms);
        resolved.map_err(|message| invalid(span, message))
    }

    pub(super) fn positive_ms(&self, duration: &Duration, span: Span) -> Evaluated<i64> {
        match self.duration_ms(duration, span)? {
            ms @ 1.. => Ok(ms),
            _ => Err(invalid(span, "duration must be greater than 0")),
        }
    }

    /// The series of a selector, looked up once per query.
    pub(super) fn select(&mut self, selector: &Selector, span: Span) -> Evaluated<Rc<[SeriesId]>> {
        if self.selected.len() <= selector.id {
            self.selected.resize(selector.id + 1, None);
        }
        if let Some(Some(ids)) = self.selected.get(selector.id) {
            return Ok(ids.clone());
        }
        let mut found = Vec::new();
        let limit = self.options.limits.series;
        self.storage
            .select(&selector.matchers, limit, &mut found)
            .map_err(|_| EvalError::Series { span, limit })?;
        let ids: Rc<[SeriesId]> = found.into();
        self.selected[selector.id] = Some(ids.clone());
        Ok(ids)
    }

    /// Calls `take` with the newest point of every series within the lookback.
    pub(super) fn each_last(
        &mut self,
        selector: &Selector,
        span: Span,
        at_ms: i64,
        mut take: impl FnMut(&Labels, Point),
    ) -> Evaluated<()> {
        let at_ms = self.reference(&selector.offset, span, at_ms)?;
        let ids = self.select(selector, span)?;
        self.spend(ids.len() as u64)?;
        let after_ms = at_ms.saturating_sub(self.options.lookback_ms);
        for id in ids.iter() {
            let Some(mut point) = self.storage.last(*id, after_ms, at_ms) else {
                continue;
            };
            if point.value.is_stale() {
                continue;
            }
            if let SampleValue::Histogram(histogram) = &mut point.value {
                if selector.stats_only {
                    tell_reset(histogram);
                }
                self.samples = self.samples.saturating_add(histogram.weight());
            }
            take(self.storage.labels(*id), point);
        }
        self.spend(0)
    }

    pub(super) fn instant_selector(
        &mut self,
        selector: &Selector,
        span: Span,
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        if selector.smoothed {
            return self.smoothed_selector(selector, span, at_ms);
        }
        let mut vector = Vec::new();
        self.each_last(selector, span, at_ms, |labels, point| {
            vector.push(Sample::new(labels.clone(), point.value));
        })?;
        Ok(vector)
    }

    fn smoothed_selector(
        &mut self,
        selector: &Selector,
        span: Span,
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let at_ms = self.reference(&selector.offset, span, at_ms)?;
        let ids = self.select(selector, span)?;
        let lookback = self.options.lookback_ms;
        let (after, until) = (
            at_ms.saturating_sub(lookback),
            at_ms.saturating_add(lookback),
        );
        let mut vector = Vec::new();
        for id in ids.iter() {
            let window = self.read(*id, after, until, selector.stats_only)?;
            let labels = self.storage.labels(*id).clone();
            let value = extended::value_at(&window, at_ms, labels.name(), &mut self.notes);
            self.window = window;
            vector.extend(value.map(|value| Sample::new(labels, value)));
        }
        Ok(vector)
    }

    /// Reads a window into the query's scratch memory, which the caller gives
    /// back by storing the window again.
    pub(super) fn read(
        &mut self,
        id: SeriesId,
        after_ms: i64,
        until_ms: i64,
        stats_only: bool,
    ) -> Evaluated<Window> {
        let mut window = std::mem::take(&mut self.window);
        window.clear();
        self.storage.window(id, after_ms, until_ms, &mut window);
        if stats_only {
            for point in &mut window.histograms {
                tell_reset(&mut point.value);
            }
        }
        self.spend(window.weight().max(1))?;
        Ok(window)
    }

    /// The series and bounds of a range selector or subquery.
    pub(super) fn ranges(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Ranges> {
        let span = expr.span;
        match &expr.unwrap_parens().kind {
            ExprKind::Matrix { selector, range } => {
                let until_ms = self.reference(&selector.offset, span, at_ms)?;
                let after_ms = until_ms.saturating_sub(self.positive_ms(range, span)?);
                let ids = self.select(selector, span)?;
                let lookback = self.options.lookback_ms;
                let before = if selector.anchored || selector.smoothed {
                    lookback
                } else {
                    0
                };
                let behind = if selector.smoothed { lookback } else { 0 };
                let source = Source::Stored {
                    ids,
                    read_after_ms: after_ms.saturating_sub(before),
                    read_until_ms: until_ms.saturating_add(behind),
                    stats_only: selector.stats_only,
                };
                Ok(Ranges {
                    after_ms,
                    until_ms,
                    source,
                })
            }
            ExprKind::Subquery { .. } => self.subquery(expr.unwrap_parens(), at_ms),
            _ => Err(invalid(span, "expected a range vector")),
        }
    }

    /// A range vector that is the query's result itself.
    pub(super) fn plain_matrix(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Vec<Series>> {
        let ranges = self.ranges(expr, at_ms)?;
        let (after, until) = (ranges.after_ms, ranges.until_ms);
        let mut matrix = Vec::new();
        match ranges.source {
            Source::Stored {
                ids, stats_only, ..
            } => {
                for id in ids.iter() {
                    let window = self.read(*id, after, until, stats_only)?;
                    let labels = self.storage.labels(*id).clone();
                    matrix.extend(series(labels, &window));
                    self.window = window;
                }
            }
            Source::Computed(list) => {
                for Computed {
                    labels,
                    drop_name,
                    window,
                } in list
                {
                    let labels = if drop_name {
                        labels.without_metadata()
                    } else {
                        labels
                    };
                    matrix.extend(series(labels, &window));
                }
            }
        }
        Ok(matrix)
    }
}

fn series(labels: Labels, window: &Window) -> Option<Series> {
    let floats = window.floats.iter().map(|point| Point {
        at_ms: point.at_ms,
        start_ms: point.start_ms,
        value: point.value.into(),
    });
    let histograms = window.histograms.iter().map(|point| Point {
        at_ms: point.at_ms,
        start_ms: point.start_ms,
        value: SampleValue::Histogram(point.value.clone()),
    });
    let mut points: Vec<Point> = floats.chain(histograms).collect();
    points.sort_by_key(|point| point.at_ms);
    (!points.is_empty()).then_some(Series { labels, points })
}

/// Where only counts and sums are read, Prometheus compares neighbours and so
/// knows of resets that a chunk does not tell; this does the same.
fn tell_reset(histogram: &mut Arc<Histogram>) {
    if histogram.reset_seen && histogram.hint == ResetHint::Unknown {
        Arc::make_mut(histogram).hint = ResetHint::Reset;
    }
}
