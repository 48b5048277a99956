//! Function calls: finds what implements a function and gives it its
//! arguments.

use super::{Data, Eval, Evaluated, clock, invalid, math, sort};
use crate::ast::{Expr, ExprKind, Span, Type};
use crate::labels::{Labels, LabelsBuilder, NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::value::Sample;

impl Eval<'_> {
    pub(super) fn call(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Data> {
        if let Some(at) = args.iter().position(|arg| arg.value_type() == Type::Matrix) {
            return self
                .call_over_range(span, name, (args, at), at_ms)
                .map(Data::Vector);
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

    fn scalar_call(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Data> {
        if name == "scalar" {
            let vector = self.vector_arg(span, args, 0, at_ms)?;
            let mut floats = vector.iter().filter_map(|sample| sample.value.float());
            let only = floats.next().filter(|_| floats.next().is_none());
            return Ok(Data::Scalar(only.unwrap_or(f64::NAN)));
        }
        let (a, b) = (
            self.scalar_arg(span, args, 0, at_ms)?,
            self.scalar_arg(span, args, 1, at_ms)?,
        );
        let max = name == "max_of";
        Ok(Data::Scalar(if max {
            math::max(a, b)
        } else {
            math::min(a, b)
        }))
    }

    fn vector_call(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        if name.starts_with("sort") && self.range.start_ms != self.range.end_ms {
            self.notes.warn(
                "sort is ineffective for range queries since results are always ordered by labels",
            );
        }
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
                Ok(sort::by_label(
                    vector,
                    &labels,
                    name == "sort_by_label_desc",
                ))
            }
            "label_replace" => self.label_replace(span, args, at_ms),
            "label_join" => self.label_join(span, args, at_ms),
            "info" => self.info(span, args, at_ms),
            "histogram_quantile" => self.histogram_quantile(span, args, at_ms),
            "histogram_quantiles" => self.histogram_quantiles(span, args, at_ms),
            "histogram_fraction" => self.histogram_fraction(span, args, at_ms),
            name if name.starts_with("histogram_") => {
                self.histogram_figure(span, name, args, at_ms)
            }
            "clamp" | "clamp_min" | "clamp_max" | "round" => {
                self.bounded_math(span, name, args, at_ms)
            }
            _ => match (clock::find(name), math::find(name)) {
                (Some(part), _) => self.clock(span, part, args, at_ms),
                (None, Some(function)) => self.map_floats(span, args, at_ms, function),
                (None, None) => Err(invalid(
                    span,
                    format!("function {name:?} is not implemented"),
                )),
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

    pub(super) fn vector_arg(
        &mut self,
        span: Span,
        args: &[Expr],
        at: usize,
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let arg = args
            .get(at)
            .ok_or_else(|| invalid(span, "missing argument"))?;
        self.vector(arg, at_ms)
    }

    pub(super) fn scalar_arg(
        &mut self,
        span: Span,
        args: &[Expr],
        at: usize,
        at_ms: i64,
    ) -> Evaluated<f64> {
        let arg = args
            .get(at)
            .ok_or_else(|| invalid(span, "missing argument"))?;
        self.scalar(arg, at_ms)
    }
}

/// The result of `absent`: one sample with the labels that a selector names.
pub(super) fn absent(present: bool, arg: Option<&Expr>) -> Vec<Sample> {
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
