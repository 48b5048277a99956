//! What the HTTP API asks: each query works on its own excerpt, so rules do not wait for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use weir_promql::annotation::Severity;
use weir_promql::ast::{Expr, ExprKind};
use weir_promql::eval::{self, EvalError, Limits, Options, Outcome, TimeRange};
use weir_promql::histogram::Histogram;
use weir_promql::labels::Labels;
use weir_promql::matcher::Matcher;
use weir_promql::number::plain;
use weir_promql::parse;
use weir_promql::storage::Storage as _;
use weir_promql::store::Store;
use weir_promql::value::{self, SampleValue};

use super::{Rules, wall_ms};
use crate::alert::api::{
    Answer, Engine, Failure, Group, Kind, Metadata, Number, Point, Query, Series, Span, Value,
};
use crate::alert::page::Pairs;
use crate::alert::{excerpt, view};
use crate::metrics;

/// What was asked no longer ago than this is the present.
const PRESENT_MS: i64 = 10_000;
/// Most series that one request may list.
const MAX_LISTED: usize = 100_000;

impl Engine for Rules {
    fn instant(&self, query: Query<'_>, at_ms: i64) -> Result<Answer, Failure> {
        let expr = parsed(query.text)?;
        let store = self.excerpt(&expr, at_ms)?;
        let outcome = eval::instant(&store, &expr, at_ms, &options(&query)).map_err(failed)?;
        Ok(answer(outcome, at_ms))
    }

    fn range(&self, query: Query<'_>, span: Span) -> Result<Answer, Failure> {
        let expr = parsed(query.text)?;
        let store = self.excerpt(&expr, span.end_ms)?;
        let range = TimeRange {
            start_ms: span.start_ms,
            end_ms: span.end_ms,
            step_ms: span.step_ms,
        };
        let outcome = eval::range(&store, &expr, range, &options(&query)).map_err(failed)?;
        Ok(answer(outcome, span.end_ms))
    }

    fn series(
        &self,
        selectors: &[String],
        between_ms: (i64, i64),
        limit: usize,
    ) -> Result<Vec<Pairs>, Failure> {
        let wanted = matchers(selectors)?;
        let most = if limit == 0 {
            MAX_LISTED
        } else {
            limit.min(MAX_LISTED)
        };
        let mut found = BTreeSet::new();
        let is_present = between_ms.1 >= wall_ms().saturating_sub(PRESENT_MS);
        let snapshot = is_present.then(|| self.source.snapshot());
        let target = {
            let inner = self.lock();
            for matchers in &wanted {
                let mut ids = Vec::new();
                let selected = inner.store.select(matchers, MAX_LISTED, &mut ids);
                selected.map_err(|_| too_many())?;
                let is_there = |id: &_| {
                    let (after, until) = (between_ms.0.saturating_sub(1), between_ms.1);
                    let last = inner.store.last(*id, after, until);
                    last.is_some_and(|point| !point.value.is_stale())
                };
                let there = ids.into_iter().filter(is_there);
                found.extend(there.map(|id| inner.store.labels(id).clone()));
            }
            inner.feed.target().to_vec()
        };
        let wanted: Vec<&[Matcher]> = wanted.iter().map(|matchers| &**matchers).collect();
        if let Some(snapshot) = snapshot {
            excerpt::each(&snapshot, &target, &wanted, |labels, _, _| {
                if found.len() <= MAX_LISTED {
                    found.insert(labels.clone());
                }
            });
        }
        if limit == 0 && found.len() > MAX_LISTED {
            return Err(too_many());
        }
        Ok(found.iter().take(most).map(pairs).collect())
    }

    fn metadata(&self) -> BTreeMap<String, Vec<Metadata>> {
        let of = |metric: &&metrics::Metric| {
            let kind = match metric.kind {
                metrics::Kind::Counter => "counter",
                metrics::Kind::Gauge => "gauge",
                metrics::Kind::TimeHistogram | metrics::Kind::SizeHistogram => "histogram",
            };
            let metadata = Metadata {
                kind: kind.to_owned(),
                help: metric.help.to_owned(),
                unit: metric.unit.suffix().unwrap_or_default().to_owned(),
            };
            (metric.prometheus_name(), vec![metadata])
        };
        metrics::ALL.iter().map(of).collect()
    }

    fn groups(&self) -> Vec<Group> {
        view::groups(&self.lock().set)
    }
}

impl Rules {
    /// What an expression selects up to a time: the past from the rules' store, the present from a
    /// snapshot of its own. What stands for the present is as of `until_ms` if that was a moment
    /// ago, and as of now if it is yet to come; of the past, only rules know.
    fn excerpt(&self, expr: &Expr, until_ms: i64) -> Result<Store, Failure> {
        let fits = |why| Failure::execution(format!("the query selects too much: {why}"));
        let (mut store, target) = {
            let inner = self.lock();
            let store = excerpt::of(&inner.store, expr, until_ms, PRESENT_MS).map_err(fits)?;
            (store, inner.feed.target().to_vec())
        };
        let now_ms = wall_ms();
        if until_ms >= now_ms.saturating_sub(PRESENT_MS) {
            let snapshot = self.source.snapshot();
            let at_ms = until_ms.min(now_ms);
            excerpt::refresh(&mut store, &snapshot, &target, expr, at_ms).map_err(fits)?;
        }
        Ok(store)
    }
}

fn parsed(text: &str) -> Result<Expr, Failure> {
    parse::parse(text)
        .map_err(|why| Failure::bad_data(format!("invalid parameter \"query\": {why}")))
}

/// The conditions of each selector; without any, one that everything satisfies.
fn matchers(selectors: &[String]) -> Result<Vec<Vec<Matcher>>, Failure> {
    if selectors.is_empty() {
        return Ok(vec![Vec::new()]);
    }
    let invalid = |why: String| Failure::bad_data(format!("invalid parameter \"match[]\": {why}"));
    let of = |text: &String| {
        let expr = parse::parse(text).map_err(|why| invalid(why.to_string()))?;
        match &expr.kind {
            ExprKind::Vector(selector) => Ok(selector.matchers.clone()),
            _ => Err(invalid("give a series selector".to_owned())),
        }
    };
    selectors.iter().map(of).collect()
}

fn options(query: &Query<'_>) -> Options {
    let defaults = Options::default();
    Options {
        lookback_ms: query.lookback_ms.unwrap_or(defaults.lookback_ms),
        limits: Limits {
            deadline: Some(query.deadline),
            ..defaults.limits
        },
        ..defaults
    }
}

fn failed(why: EvalError) -> Failure {
    let kind = match why {
        EvalError::Time => Kind::Timeout,
        _ => Kind::Execution,
    };
    let message = why.to_string();
    Failure { kind, message }
}

fn too_many() -> Failure {
    Failure::execution(format!(
        "there are more than {MAX_LISTED} series: give a narrower match[]"
    ))
}

fn answer(outcome: Outcome, at_ms: i64) -> Answer {
    let mut answer = Answer::default();
    for note in outcome.annotations.iter() {
        match note.severity {
            Severity::Warning => &mut answer.warnings,
            Severity::Info => &mut answer.infos,
        }
        .push(note.to_string());
    }
    answer.value = match outcome.value {
        value::Value::Scalar(value) => Value::Scalar(Point {
            at_ms,
            number: Number::Float(value),
        }),
        value::Value::String(text) => Value::String(at_ms, text),
        value::Value::Vector(samples) => {
            let element = |sample: value::Sample| {
                let number = number(&sample.value);
                (pairs(&sample.labels), Point { at_ms, number })
            };
            Value::Vector(samples.into_iter().map(element).collect())
        }
        value::Value::Matrix(all) => Value::Matrix(all.into_iter().map(series).collect()),
    };
    answer
}

fn series(series: value::Series) -> Series {
    let point = |point: &value::Point| Point {
        at_ms: point.at_ms,
        number: number(&point.value),
    };
    Series {
        labels: pairs(&series.labels),
        points: series.points.iter().map(point).collect(),
    }
}

fn number(value: &SampleValue) -> Number {
    match value {
        SampleValue::Float(value) => Number::Float(*value),
        SampleValue::Histogram(histogram) => Number::Histogram(json(histogram)),
    }
}

/// As Prometheus writes a histogram: the rule says which bounds belong to the bucket (0 the upper, 1
/// the lower, 3 both).
fn json(histogram: &Histogram) -> Json {
    let buckets = histogram.buckets();
    let filled = buckets.iter().filter(|bucket| bucket.count != 0.0);
    let bucket = |bucket: &weir_promql::histogram::Bucket| {
        let rule = match bucket.side {
            0 => 3,
            1 => 0,
            _ => 1,
        };
        json!([
            rule,
            plain(bucket.lower),
            plain(bucket.upper),
            plain(bucket.count)
        ])
    };
    json!({
        "count": plain(histogram.count),
        "sum": plain(histogram.sum),
        "buckets": filled.map(bucket).collect::<Vec<_>>(),
    })
}

fn pairs(labels: &Labels) -> Pairs {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    labels.iter().map(own).collect()
}
