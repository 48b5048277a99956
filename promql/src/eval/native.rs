//! Functions on histograms, native ones and, where they take both, classic.

use std::collections::HashSet;

use super::call::string_arg;
use super::classic::{self, Classic};
use super::{Eval, Evaluated, invalid};
use crate::annotation::for_metric;
use crate::ast::{Expr, Span};
use crate::histogram::{Histogram, NanEffect};
use crate::labels::{Labels, LabelsBuilder};
use crate::number::{Kahan, open_metrics};
use crate::value::{Sample, SampleValue};

/// The histograms of a vector.
struct Histograms {
    native: Vec<Sample>,
    classic: Vec<Classic>,
}

impl Eval<'_> {
    /// `histogram_count`, `_sum`, `_avg`, `_stddev`, `_stdvar`
    pub(super) fn histogram_figure(
        &mut self,
        span: Span,
        name: &str,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let figure: fn(&Histogram) -> f64 = match name {
            "histogram_count" => |h| h.count,
            "histogram_sum" => |h| h.sum,
            "histogram_avg" => |h| h.sum / h.count,
            "histogram_stddev" => |h| variance(h).sqrt(),
            "histogram_stdvar" => variance,
            _ => {
                return Err(invalid(
                    span,
                    format!("function {name:?} is not implemented"),
                ));
            }
        };
        let mut vector = self.vector_arg(span, args, 0, at_ms)?;
        vector.retain_mut(|sample| {
            let Some(value) = sample.value.histogram().map(|histogram| figure(histogram)) else {
                return false;
            };
            sample.value = value.into();
            self.forget_name(sample);
            true
        });
        self.unique_unless_delayed(&vector, span)?;
        Ok(vector)
    }

    pub(super) fn histogram_quantile(
        &mut self,
        span: Span,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let q = self.scalar_arg(span, args, 0, at_ms)?;
        let vector = self.vector_arg(span, args, 1, at_ms)?;
        self.check_quantile(q);
        let mut histograms = self.split(vector);
        let out = self.quantiles(&mut histograms, q, |labels| labels.clone());
        self.unique_unless_delayed(&out, span)?;
        Ok(out)
    }

    pub(super) fn histogram_quantiles(
        &mut self,
        span: Span,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let vector = self.vector_arg(span, args, 0, at_ms)?;
        let label = args.get(1).map(string_arg).unwrap_or_default();
        let mut wanted = Vec::new();
        for arg in args.get(2..).unwrap_or_default() {
            let q = self.scalar(arg, at_ms)?;
            self.check_quantile(q);
            wanted.push(q);
        }
        let mut histograms = self.split(vector);
        let mut out = Vec::new();
        for q in wanted {
            let text = open_metrics(q);
            out.append(&mut self.quantiles(&mut histograms, q, |labels| {
                let mut builder = LabelsBuilder::from(labels);
                builder.set(&label, &text);
                builder.build()
            }));
        }
        self.unique_unless_delayed(&out, span)?;
        Ok(out)
    }

    fn check_quantile(&mut self, q: f64) {
        if !(0.0..=1.0).contains(&q) {
            self.notes.quantile_range(q);
        }
    }

    fn quantiles(
        &mut self,
        histograms: &mut Histograms,
        q: f64,
        labels: impl Fn(&Labels) -> Labels,
    ) -> Vec<Sample> {
        let mut out = Vec::new();
        for sample in &histograms.native {
            let Some(histogram) = sample.value.histogram() else {
                continue;
            };
            let (value, effect) = histogram.quantile(q);
            self.note_nan(effect, sample.labels.name());
            out.push(self.figure(labels(&sample.labels), value));
        }
        for Classic {
            labels: own,
            buckets,
        } in &mut histograms.classic
        {
            let (value, forced) = classic::quantile(q, buckets);
            if forced {
                self.notes.info(format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/\
                     #histogram_quantile){}",
                    for_metric(own.name())
                ));
            }
            out.push(self.figure(labels(own), value));
        }
        out
    }

    pub(super) fn histogram_fraction(
        &mut self,
        span: Span,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let lower = self.scalar_arg(span, args, 0, at_ms)?;
        let upper = self.scalar_arg(span, args, 1, at_ms)?;
        let vector = self.vector_arg(span, args, 2, at_ms)?;
        let histograms = self.split(vector);
        let mut out = Vec::new();
        for sample in histograms.native {
            let Some(histogram) = sample.value.histogram() else {
                continue;
            };
            let (value, effect) = histogram.fraction(lower, upper);
            self.note_nan(effect, sample.labels.name());
            out.push(self.figure(sample.labels, value));
        }
        for Classic { labels, buckets } in histograms.classic {
            let value = classic::fraction(lower, upper, &buckets);
            out.push(self.figure(labels, value));
        }
        self.unique_unless_delayed(&out, span)?;
        Ok(out)
    }

    fn figure(&self, labels: Labels, value: f64) -> Sample {
        let mut sample = Sample::new(labels, value);
        self.forget_name(&mut sample);
        sample
    }

    fn note_nan(&mut self, effect: Option<NanEffect>, metric: &str) {
        let (function, text) = match effect {
            None => return,
            Some(NanEffect::Result) => ("quantile", "result is NaN"),
            Some(NanEffect::Skew) => ("quantile", "result is skewed higher"),
            Some(NanEffect::Excluded) => ("fraction", "which are excluded from all fractions"),
        };
        self.notes.info(format!(
            "input to histogram_{function} has NaN observations, {text}{}",
            for_metric(metric)
        ));
    }

    /// Native and classic histograms of a vector. Where both have the same
    /// labels neither is used.
    fn split(&mut self, vector: Vec<Sample>) -> Histograms {
        let mut classic = classic::collect(&vector, &mut self.notes);
        let is_native = |sample: &Sample| matches!(sample.value, SampleValue::Histogram(_));
        let mut native: Vec<Sample> = vector.into_iter().filter(is_native).collect();
        let bounds: HashSet<&Labels> = classic.iter().map(|classic| &classic.labels).collect();
        let mut both = HashSet::new();
        for sample in native
            .iter()
            .filter(|sample| bounds.contains(&sample.labels))
        {
            self.notes.warn(format!(
                "vector contains a mix of classic and native histograms{}",
                for_metric(sample.labels.name())
            ));
            both.insert(sample.labels.clone());
        }
        native.retain(|sample| !both.contains(&sample.labels));
        classic.retain(|classic| !both.contains(&classic.labels));
        Histograms { native, classic }
    }
}

/// The variance, each bucket's observations taken to lie at its middle: the
/// arithmetic one of custom buckets, the geometric one of exponential ones.
fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut total = Kahan::default();
    for bucket in histogram
        .buckets()
        .iter()
        .filter(|bucket| bucket.count != 0.0)
    {
        let value = if histogram.is_custom() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let delta = value - mean;
        total = total.add(bucket.count * delta * delta);
    }
    (total.sum + total.c) / histogram.count
}
