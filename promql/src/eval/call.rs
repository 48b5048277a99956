//! Function calls: finds what implements a function and gives it its
//! arguments, once per series for those over ranges.

use super::selector::{Computed, Source};
use super::{Data, Eval, Evaluated, clock, invalid, math, over_time, rate, regression, sort};
use crate::annotation::Annotations;
use crate::ast::{Expr, ExprKind, Selector, Span, Type};
use crate::labels::{Labels, LabelsBuilder, NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::storage::Window;
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

impl Eval<'_> {
    pub(super) fn call(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Data> {
        if let Some(at) = args.iter().position(|arg| arg.value_type() == Type::Matrix) {
            return self.call_over_range(span, name, (args, at), at_ms).map(Data::Vector);
        }
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let (start, end) = (self.range.start_ms, self.range.end_ms);
        let scalar = match name {
            "time" => seconds(at_ms),
            "pi" => std::f64::consts::PI,
            "start" => seconds(start),
            "end" => seconds(end),
            "range" => seconds(end.saturating_sub(start)),
            "step" => seconds(self.range.step_ms),
            "scalar" | "max_of" | "min_of" => return self.scalar_call(span, name, args, at_ms),
            _ => return self.vector_call(span, name, args, at_ms).map(Data::Vector),
        };
        Ok(Data::Scalar(scalar))
    }

    fn scalar_call(&mut self, span: Span, name: &str, args: &[Expr], at_ms: i64) -> Evaluated<Data> {
        if name == "scalar" {
            let vector = self.vector_arg(span, args, 0, at_ms)?;
            let mut floats = vector.iter().filter_map(|sample| sample.value.float());
            let only = floats.next().filter(|_| floats.next().is_none());
            return Ok(Data::Scalar(only.unwrap_or(f64::NAN)));
        }
        let (a, b) = (self.scalar_arg(span, args, 0, at_ms)?, self.scalar_arg(span, args, 1, at_ms)?);
        let max = name == "max_of";
        Ok(Data::Scalar(if max { math::max(a, b) } else { math::min(a, b) }))
    }

    fn vector_call(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        match name {
            "vector" => {
                let value = self.scalar_arg(span, args, 0, at_ms)?;
                Ok(vec![Sample::new(Labels::empty(), value)])
            }
            "absent" => {
                let present = !self.vector_arg(span, args, 0, at_ms)?.is_empty();
                Ok(absent(present, args.first()))
            }
            "timestamp" | "start_timestamp" => self.timestamps(span, name, args, at_ms),
            "sort" | "sort_desc" => {
                let vector = self.vector_arg(span, args, 0, at_ms)?;
                Ok(sort::by_value(vector, name == "sort_desc"))
            }
            "sort_by_label" | "sort_by_label_desc" => {
                let vector = self.vector_arg(span, args, 0, at_ms)?;
                let labels = string_args(args.get(1..).unwrap_or_default());
                Ok(sort::by_label(vector, &labels, name == "sort_by_label_desc"))
            }
            "label_replace" => self.label_replace(span, args, at_ms),
            "label_join" => self.label_join(span, args, at_ms),
            "info" => self.info(span, args, at_ms),
            "histogram_quantile" => self.histogram_quantile(span, args, at_ms),
            "histogram_quantiles" => self.histogram_quantiles(span, args, at_ms),
            "histogram_fraction" => self.histogram_fraction(span, args, at_ms),
            name if name.starts_with("histogram_") => self.histogram_figure(span, name, args, at_ms),
            "clamp" | "clamp_min" | "clamp_max" | "round" => {
                self.bounded_math(span, name, args, at_ms)
            }
            _ => match (clock::find(name), math::find(name)) {
                (Some(part), _) => self.clock(span, part, args, at_ms),
                (None, Some(function)) => self.map_floats(span, args, at_ms, function),
                (None, None) => Err(invalid(span, format!("function {name:?} is not implemented"))),
            },
        }
    }

    /// Applies a function to all numbers; histograms are left out.
    pub(super) fn map_floats(
        &mut self,
        span: Span,
        args: &[Expr],
        at_ms: i64,
        function: impl Fn(f64) -> f64,
    ) -> Evaluated<Vec<Sample>> {
        let mut vector = self.vector_arg(span, args, 0, at_ms)?;
        vector.retain_mut(|sample| {
            let Some(value) = sample.value.float() else {
                return false;
            };
            sample.value = function(value).into();
            self.forget_name(sample);
            true
        });
        self.unique_unless_delayed(&vector, span)?;
        Ok(vector)
    }

    fn timestamps(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let start = name == "start_timestamp";
        let arg = args.first().map(Expr::unwrap_parens);
        let mut vector = Vec::new();
        if let Some(ExprKind::Vector(selector)) = arg.map(|arg| &arg.kind) {
            self.each_last(selector, span, at_ms, |labels, point| {
                let ms = if start { point.start_ms } else { point.at_ms };
                vector.push(Sample::new(labels.clone(), ms as f64 / 1000.0));
            })?;
        } else if !start {
            vector = self.vector_arg(span, args, 0, at_ms)?;
            for sample in &mut vector {
                sample.value = (at_ms as f64 / 1000.0).into();
            }
        }
        if start && !self.options.start_timestamps {
            vector.clear();
        }
        for sample in &mut vector {
            self.forget_name(sample);
        }
        self.unique_unless_delayed(&vector, span)?;
        Ok(vector)
    }

    fn call_over_range(
        &mut self,
        span: Span,
        name: &str,
        (args, range_at): (&[Expr], usize),
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
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
        let found = rate::find(name).or_else(|| over_time::find(name));
        let function = found.or_else(|| regression::find(name));
        let function = function.ok_or_else(|| {
            invalid(span, format!("function {name:?} is not implemented"))
        })?;
        let mut call = RangeCall {
            name,
            function,
            span,
            at_ms,
            scalars: &scalars,
            anchored: selector.is_some_and(|selector| selector.anchored),
            smoothed: selector.is_some_and(|selector| selector.smoothed),
            bounds: (ranges.after_ms, ranges.until_ms),
            counters_seen: None,
            out: Vec::new(),
        };
        match ranges.source {
            Source::Stored { ids, read_after_ms, read_until_ms, stats_only } => {
                for id in ids.iter() {
                    let window = self.read(*id, read_after_ms, read_until_ms, stats_only)?;
                    if !window.is_empty() {
                        call.apply(self, self.storage.labels(*id), false, &window)?;
                    }
                    self.window = window;
                }
            }
            Source::Computed(list) => {
                for Computed { labels, drop_name, window } in &list {
                    call.apply(self, labels, *drop_name, window)?;
                }
            }
        }
        if name == "absent_over_time" {
            return Ok(absent(!call.out.is_empty(), Some(arg)));
        }
        self.unique_unless_delayed(&call.out, span)?;
        Ok(call.out)
    }

    pub(super) fn vector_arg(
        &mut self,
        span: Span,
        args: &[Expr],
        at: usize,
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let arg = args.get(at).ok_or_else(|| invalid(span, "missing argument"))?;
        self.vector(arg, at_ms)
    }

    pub(super) fn scalar_arg(
        &mut self,
        span: Span,
        args: &[Expr],
        at: usize,
        at_ms: i64,
    ) -> Evaluated<f64> {
        let arg = args.get(at).ok_or_else(|| invalid(span, "missing argument"))?;
        self.scalar(arg, at_ms)
    }
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
    /// The last metric whose name was looked at, to look at each once.
    counters_seen: Option<String>,
    out: Vec<Sample>,
}

impl RangeCall<'_> {
    fn apply(
        &mut self,
        eval: &mut Eval<'_>,
        labels: &Labels,
        drop_name: bool,
        window: &Window,
    ) -> Evaluated<()> {
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
        let result = (self.function)(&range, &mut eval.notes);
        let Some(value) = result.map_err(|reason| invalid(self.span, reason))? else {
            return Ok(());
        };
        if matches!(self.name, "rate" | "increase") && value.float().is_some() {
            self.doubt_counter(eval, labels);
        }
        let mut sample = Sample { labels: labels.clone(), value, drop_name };
        if !matches!(self.name, "last_over_time" | "first_over_time") {
            eval.forget_name(&mut sample);
        }
        self.out.push(sample);
        Ok(())
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
        if self.counters_seen.as_deref() == Some(name) {
            return;
        }
        if !["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end)) {
            eval.notes.info(format!(
                "metric might not be a counter, name does not end in \
                 _total/_sum/_count/_bucket: {name:?}"
            ));
        }
        self.counters_seen = Some(name.to_owned());
    }
}

fn check_extended(span: Span, name: &str, selector: Option<&Selector>) -> Evaluated<()> {
    let (word, allowed): (&str, &[&str]) = match selector {
        Some(selector) if selector.anchored => {
            ("anchored", &["changes", "delta", "increase", "rate", "resets"])
        }
        Some(selector) if selector.smoothed => ("smoothed", &["delta", "increase", "rate"]),
        _ => return Ok(()),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    let list = allowed.join(", ");
    Err(invalid(span, format!("{word} modifier can only be used with: {list} - not with {name}")))
}

/// The result of `absent`: one sample with the labels that a selector names.
fn absent(present: bool, arg: Option<&Expr>) -> Vec<Sample> {
    if present {
        return Vec::new();
    }
    let matchers: &[Matcher] = match arg.map(|arg| &arg.unwrap_parens().kind) {
        Some(ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. }) => &selector.matchers,
        _ => &[],
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name != NAME) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            builder.set(&matcher.name, "");
        }
    }
    vec![Sample::new(builder.build(), 1.0)]
}

/// The texts among arguments that are string literals.
pub(super) fn string_args(args: &[Expr]) -> Vec<String> {
    args.iter().map(string_arg).collect()
}

pub(super) fn string_arg(arg: &Expr) -> String {
    match &arg.unwrap_parens().kind {
        ExprKind::String(text) => text.clone(),
        _ => String::new(),
    }
}
