//! The store as rules see it; what a template asks for besides is read from a snapshot.

use std::cell::OnceCell;

use weir_promql::eval::{self, Options};
use weir_promql::labels::Labels;
use weir_promql::store::{Refused, Store};
use weir_promql::value::{SampleValue, Value};

use crate::alert::excerpt;
use crate::alert::expression::Expression;
use crate::alert::part::Part;
use crate::alert::source::{Append, Query, Series};
use crate::metrics::{Family, Snapshot, Source};

/// Where the present comes from.
pub(super) enum Live<'a> {
    /// Was read already.
    Snapshot(&'a Snapshot),
    /// Is read if a template asks; these are what an event changed.
    Event(&'a dyn Source, &'a [Family]),
}

impl Live<'_> {
    /// What an event changed.
    pub(super) fn news(&self) -> &[Family] {
        match self {
            Live::Snapshot(_) => &[],
            Live::Event(_, news) => news,
        }
    }

    pub(super) fn series<'a>(
        &'a self,
        store: &'a mut Store,
        options: &'a Options,
        target: &'a [(String, String)],
    ) -> LiveSeries<'a> {
        LiveSeries {
            series: Series::new(store, options),
            target,
            live: self,
            read: OnceCell::new(),
        }
    }
}

pub(super) struct LiveSeries<'a> {
    series: Series<'a>,
    target: &'a [(String, String)],
    live: &'a Live<'a>,
    read: OnceCell<Snapshot>,
}

impl Query for LiveSeries<'_> {
    fn instant(&self, expr: &Expression, at_ms: i64) -> Result<Value, String> {
        self.series.instant(expr, at_ms)
    }

    fn part(&self, expr: &Expression, at_ms: i64, part: &Part) -> Result<Value, String> {
        self.series.part(expr, at_ms, part)
    }

    fn other(&self, expr: &Expression, at_ms: i64) -> Result<Value, String> {
        let snapshot = match self.live {
            Live::Snapshot(snapshot) => snapshot,
            Live::Event(source, _) => self.read.get_or_init(|| source.snapshot()),
        };
        let options = self.series.options;
        let mut excerpt =
            excerpt::of(self.series.store, expr.tree(), at_ms, 0).map_err(|why| why.to_string())?;
        excerpt::refresh(&mut excerpt, snapshot, self.target, expr.tree(), at_ms)
            .map_err(|why| why.to_string())?;
        eval::instant(&excerpt, expr.tree(), at_ms, options)
            .map(|outcome| outcome.value)
            .map_err(|why| why.to_string())
    }
}

impl Append for LiveSeries<'_> {
    fn append(&mut self, labels: &Labels, at_ms: i64, value: SampleValue) -> Result<(), Refused> {
        self.series.append(labels, at_ms, value)
    }
}
