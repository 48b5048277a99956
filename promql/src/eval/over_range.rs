//! Functions over ranges: one call for every series.

use super::call::absent;
use super::memo::{CallKey, Results};
use super::selector::{Computed, Source};
use super::{Eval, Evaluated, instant_rate, invalid, over_time, rate, regression};
use crate::annotation::Annotations;
use crate::ast::{Expr, ExprKind, Selector, Span};
use crate::labels::{Labels, NAME, TYPE, UNIT};
use crate::storage::{SeriesId, Window};
use crate::value::{Sample, SampleValue};

/// One series in a range, as a function over ranges sees it.
pub(super) struct Range<'a> {
    pub(super) labels: &'a Labels,
    pub(super) window: &'a Window,
    /// The range's begin, not part of it.
    pub(super) after_ms: i64,
    /// The range's end.
    pub(super) until_ms: i64,
    /// When the expression is evaluated.
    pub(super) at_ms: i64,
    pub(super) anchored: bool,
    pub(super) smoothed: bool,
    pub(super) start_timestamps: bool,
    /// The other arguments.
    pub(super) scalars: &'a [f64],
}

impl Range<'_> {
    pub(super) fn metric(&self) -> &str {
        self.labels.name()
    }

    /// The range's length in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.until_ms.saturating_sub(self.after_ms) as f64 / 1000.0
    }
}

/// A function over the range of one series; a reason if an argument is bad.
pub(super) type RangeFunction =
    fn(&Range<'_>, &mut Annotations) -> Result<Option<SampleValue>, String>;

fn find(name: &str) -> Option<RangeFunction> {
    let change = rate::find(name).or_else(|| instant_rate::find(name));
    change
        .or_else(|| over_time::find(name))
        .or_else(|| regression::find(name))
}

impl Eval<'_> {
    pub(super) fn call_over_range(
        &mut self,
        span: Span,
        name: &str,
        (args, range_at): (&[Expr], usize),
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let keeps_name = matches!(name, "last_over_time" | "first_over_time");
        let names_unread = std::mem::take(&mut self.names_unread) && !keeps_name;
        let mut scalars = Vec::with_capacity(args.len());
        for (_, arg) in args.iter().enumerate().filter(|(at, _)| *at != range_at) {
            scalars.push(self.scalar(arg, at_ms)?);
        }
        let Some(arg) = args.get(range_at).map(Expr::unwrap_parens) else {
            return Err(invalid(span, "expected a range vector"));
        };
        let selector = match &arg.kind {
            ExprKind::Matrix { selector, .. } => Some(&**selector),
            _ => None,
        };
        check_extended(span, name, selector)?;
        let ranges = self.ranges(arg, at_ms)?;
        let function = find(name)
            .ok_or_else(|| invalid(span, format!("function {name:?} is not implemented")))?;
        let mut call = RangeCall {
            name,
            function,
            span,
            at_ms,
            scalars: &scalars,
            anchored: selector.is_some_and(|selector| selector.anchored),
            smoothed: selector.is_some_and(|selector| selector.smoothed),
            bounds: (ranges.after_ms, ranges.until_ms),
            keeps_name: keeps_name || names_unread,
            counters_seen: None,
            out: Vec::new(),
        };
        self.each_range(&mut call, ranges.source)?;
        if name == "absent_over_time" {
            return Ok(absent(!call.out.is_empty(), Some(arg)));
        }
        if names_unread {
            self.drop_unread(&mut call.out, span)?;
        } else {
            self.unique_unless_delayed(&call.out, span)?;
        }
        Ok(call.out)
    }

    fn each_range(&mut self, call: &mut RangeCall<'_>, source: Source) -> Evaluated<()> {
        match source {
            Source::Stored {
                ids,
                read_after_ms,
                read_until_ms,
                stats_only,
            } => {
                let stored = Stored {
                    read_ms: (read_after_ms, read_until_ms),
                    stats_only,
                };
                let key = self.memo.is_some().then(|| call.key(self, &stored));
                let memo = self.memo.as_deref_mut().zip(key.as_ref());
                let mut known = memo.map(|(memo, key)| memo.take(key));
                for id in ids.iter() {
                    call.series(self, *id, &stored, known.as_mut())?;
                }
                if let (Some(memo), Some(key), Some(known)) = (self.memo.as_deref_mut(), key, known)
                {
                    memo.give_back(key, known);
                }
            }
            Source::Computed(list) => {
                for Computed {
                    labels,
                    drop_name,
                    window,
                } in &list
                {
                    let value = call.compute(self, labels, window)?;
                    call.add(self, labels, *drop_name, value);
                }
            }
        }
        Ok(())
    }

    /// Takes the names off that a function leaves behind, unless nobody reads
    /// them and they tell nothing apart.
    fn drop_unread(&self, vector: &mut [Sample], span: Span) -> Evaluated<()> {
        let name = vector
            .first()
            .map_or("", |sample| sample.labels.name())
            .to_owned();
        let is_alike = |sample: &Sample| {
            let is_other = |(label, value): (&str, &str)| match label {
                NAME => value != name,
                _ => label == TYPE || label == UNIT,
            };
            sample.value.float().is_some()
                && !sample
                    .labels
                    .iter()
                    .take_while(|(label, _)| *label <= UNIT)
                    .any(is_other)
        };
        if !name.is_empty() && vector.iter().all(is_alike) {
            return Ok(());
        }
        for sample in &mut *vector {
            sample.labels = sample.labels.without_metadata();
        }
        self.check_unique(vector, span)
    }
}

/// How series are read from the storage.
struct Stored {
    read_ms: (i64, i64),
    stats_only: bool,
}

/// One call of a function over the ranges of many series.
struct RangeCall<'a> {
    name: &'a str,
    function: RangeFunction,
    span: Span,
    at_ms: i64,
    scalars: &'a [f64],
    anchored: bool,
    smoothed: bool,
    bounds: (i64, i64),
    keeps_name: bool,
    /// A series of the last metric whose name was looked at, to look at each once.
    counters_seen: Option<Labels>,
    out: Vec<Sample>,
}

impl RangeCall<'_> {
    /// What tells this call's results from those of others.
    fn key(&self, eval: &Eval<'_>, stored: &Stored) -> CallKey {
        let (after_ms, until_ms) = self.bounds;
        let (read_after_ms, read_until_ms) = stored.read_ms;
        CallKey {
            function: self.name.to_owned(),
            scalars: self.scalars.iter().map(|number| number.to_bits()).collect(),
            times: [after_ms, until_ms, read_after_ms, read_until_ms, self.at_ms],
            extended: (self.anchored, self.smoothed),
            start_timestamps: eval.options.start_timestamps,
            stats_only: stored.stats_only,
        }
    }

    /// Adds the result of a stored series, from memory if another query had it.
    fn series(
        &mut self,
        eval: &mut Eval<'_>,
        id: SeriesId,
        stored: &Stored,
        mut known: Option<&mut Results>,
    ) -> Evaluated<()> {
        let storage = eval.storage;
        if let Some((value, samples)) = known.as_ref().and_then(|known| known.get(id)) {
            eval.spend(samples)?;
            self.add(eval, storage.labels(id), false, value.map(Into::into));
            return Ok(());
        }
        let told = eval.notes.told();
        let (after_ms, until_ms) = stored.read_ms;
        let window = eval.read(id, after_ms, until_ms, stored.stats_only)?;
        let value = if window.is_empty() {
            None
        } else {
            self.compute(eval, storage.labels(id), &window)?
        };
        let number = value.as_ref().map(SampleValue::float);
        if let Some(known) = &mut known
            && number != Some(None)
            && told == eval.notes.told()
        {
            known.insert(id, (number.flatten(), window.weight().max(1)));
        }
        eval.window = window;
        self.add(eval, storage.labels(id), false, value);
        Ok(())
    }

    fn compute(
        &self,
        eval: &mut Eval<'_>,
        labels: &Labels,
        window: &Window,
    ) -> Evaluated<Option<SampleValue>> {
        let range = Range {
            labels,
            window,
            after_ms: self.bounds.0,
            until_ms: self.bounds.1,
            at_ms: self.at_ms,
            anchored: self.anchored,
            smoothed: self.smoothed,
            start_timestamps: eval.options.start_timestamps,
            scalars: self.scalars,
        };
        (self.function)(&range, &mut eval.notes).map_err(|reason| invalid(self.span, reason))
    }

    fn add(
        &mut self,
        eval: &mut Eval<'_>,
        labels: &Labels,
        drop_name: bool,
        value: Option<SampleValue>,
    ) {
        let Some(value) = value else {
            return;
        };
        if matches!(self.name, "rate" | "increase") && value.float().is_some() {
            self.doubt_counter(eval, labels);
        }
        let mut sample = Sample {
            labels: labels.clone(),
            value,
            drop_name,
        };
        if !self.keeps_name {
            eval.forget_name(&mut sample);
        }
        self.out.push(sample);
    }

    /// Says so if a metric's name or type does not look like a counter's.
    fn doubt_counter(&mut self, eval: &mut Eval<'_>, labels: &Labels) {
        let name = labels.name();
        if name.is_empty() {
            return;
        }
        if eval.options.type_and_unit {
            let kind = labels.get(crate::labels::TYPE);
            if !matches!(kind, "counter" | "histogram") {
                eval.notes.info(format!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \
                     \"histogram\", got {kind:?}: {name:?}"
                ));
            }
            return;
        }
        if self.counters_seen.as_ref().map(Labels::name) == Some(name) {
            return;
        }
        if !["_total", "_sum", "_count", "_bucket"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            eval.notes.info(format!(
                "metric might not be a counter, name does not end in \
                 _total/_sum/_count/_bucket: {name:?}"
            ));
        }
        self.counters_seen = Some(labels.clone());
    }
}

fn check_extended(span: Span, name: &str, selector: Option<&Selector>) -> Evaluated<()> {
    let (word, allowed): (&str, &[&str]) = match selector {
        Some(selector) if selector.anchored => (
            "anchored",
            &["changes", "delta", "increase", "rate", "resets"],
        ),
        Some(selector) if selector.smoothed => ("smoothed", &["delta", "increase", "rate"]),
        _ => return Ok(()),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    let list = allowed.join(", ");
    Err(invalid(
        span,
        format!("{word} modifier can only be used with: {list} - not with {name}"),
    ))
}
