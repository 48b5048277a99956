//! `info`: labels of info metrics, such as `target_info`, joined by instance
//! and job.

use std::collections::{HashMap, HashSet};

use super::{Eval, EvalError, Evaluated, invalid};
use crate::ast::{Expr, ExprKind, Offset, Span};
use crate::labels::{Labels, LabelsBuilder, NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::storage::SeriesId;
use crate::value::{Sample, SampleValue};

/// Labels that say of what a metric is.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info metric if none is named.
const DEFAULT_INFO: &str = "target_info";

/// What an info metric is called.
const ANY_INFO: &str = ".+_info";

fn is_positive(matcher: &Matcher) -> bool {
    matches!(matcher.op, MatchOp::Equal | MatchOp::Regex)
}

/// What the second argument asks for.
struct Wanted {
    names: Vec<Matcher>,
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(arg: Option<&Expr>) -> Self {
        let matchers = match arg.map(|arg| &arg.unwrap_parens().kind) {
            Some(ExprKind::Vector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<_>, Vec<_>) = matchers
            .into_iter()
            .partition(|matcher| matcher.name == NAME);
        if names.is_empty() && arg.is_none() {
            names.push(Matcher::equal(NAME, DEFAULT_INFO));
        }
        // Names that are only excluded leave the other info metrics.
        if !names.is_empty() && !names.iter().any(is_positive) {
            names.extend(Matcher::new(NAME, MatchOp::Regex, ANY_INFO));
        }
        Self { names, data }
    }

    /// Whether a series is itself an info series of this query.
    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.name();
        !self.names.is_empty() && self.names.iter().all(|matcher| matcher.matches(name))
    }

    fn asks_for(&self, label: &str) -> bool {
        label != NAME
            && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name == label))
    }
}

impl Eval<'_> {
    pub(super) fn info(&mut self, span: Span, args: &[Expr], at_ms: i64) -> Evaluated<Vec<Sample>> {
        let base = self.vector_arg(span, args, 0, at_ms)?;
        let wanted = Wanted::new(args.get(1));
        let enriched: Vec<&Sample> = base
            .iter()
            .filter(|sample| !wanted.is_info(&sample.labels))
            .collect();
        let offset = args
            .first()
            .and_then(first_offset)
            .cloned()
            .unwrap_or_default();
        let info_at = self.reference(&offset, span, at_ms)?;
        let infos = self.info_series(span, &enriched, &wanted, info_at)?;
        let optional = wanted.data.iter().all(|matcher| matcher.matches(""));
        let mut out = Vec::with_capacity(base.len());
        for sample in &base {
            if wanted.is_info(&sample.labels) {
                out.push(sample.clone());
                continue;
            }
            let found = infos
                .get(&identity(&sample.labels))
                .map_or(&[][..], Vec::as_slice);
            if found.is_empty() && !optional {
                continue;
            }
            let labels = join(&sample.labels, found, &wanted, span)?;
            out.push(Sample {
                labels,
                ..sample.clone()
            });
        }
        self.check_unique(&out, span)?;
        Ok(out)
    }

    /// The newest info series of each info metric, by what identifies them.
    fn info_series(
        &mut self,
        span: Span,
        base: &[&Sample],
        wanted: &Wanted,
        at_ms: i64,
    ) -> Evaluated<HashMap<Labels, Vec<Labels>>> {
        let identities: HashSet<Labels> =
            base.iter().map(|sample| identity(&sample.labels)).collect();
        if identities.iter().all(Labels::is_empty) {
            return Ok(HashMap::new());
        }
        let mut matchers = wanted.names.clone();
        if matchers.is_empty() {
            matchers.push(Matcher::equal(NAME, DEFAULT_INFO));
        }
        matchers.extend(wanted.data.iter().cloned());
        let limit = self.options.limits.series;
        let mut ids: Vec<SeriesId> = Vec::new();
        self.storage
            .select(&matchers, limit, &mut ids)
            .map_err(|_| EvalError::Series { span, limit })?;
        self.spend(ids.len() as u64)?;
        let mut newest: HashMap<(Labels, String), (i64, Labels)> = HashMap::new();
        let after_ms = at_ms.saturating_sub(self.options.lookback_ms);
        for id in ids {
            let labels = self.storage.labels(id);
            let identity = identity(labels);
            let Some(point) = self.storage.last(id, after_ms, at_ms) else {
                continue;
            };
            if !identities.contains(&identity) || point.value.is_stale() {
                continue;
            }
            if let SampleValue::Histogram(_) = point.value {
                let message =
                    format!("this should be an info metric, with float samples: {labels}");
                return Err(invalid(span, message));
            }
            let key = (identity, labels.name().to_owned());
            match newest.get(&key) {
                Some((at, _)) if *at > point.at_ms => {}
                Some((at, other)) if *at == point.at_ms => {
                    let message = format!(
                        "found duplicate series for info metric: existing {other} @ {at}, new \
                         {labels} @ {at}"
                    );
                    return Err(invalid(span, message));
                }
                _ => {
                    newest.insert(key, (point.at_ms, labels.clone()));
                }
            }
        }
        Ok(by_identity(newest))
    }
}

/// The newest info series of each identity, in order of the metrics' names.
fn by_identity(newest: HashMap<(Labels, String), (i64, Labels)>) -> HashMap<Labels, Vec<Labels>> {
    let mut sorted: Vec<_> = newest.into_iter().collect();
    sorted.sort();
    let mut infos: HashMap<Labels, Vec<Labels>> = HashMap::new();
    for ((identity, _), (_, labels)) in sorted {
        infos.entry(identity).or_default().push(labels);
    }
    infos
}

fn identity(labels: &Labels) -> Labels {
    labels.only(&IDENTIFYING.map(str::to_owned))
}

/// Adds the labels asked for that the series does not have.
fn join(base: &Labels, infos: &[Labels], wanted: &Wanted, span: Span) -> Evaluated<Labels> {
    let mut builder = LabelsBuilder::from(base);
    for (name, value) in infos.iter().flat_map(Labels::iter) {
        if !wanted.asks_for(name) || !base.get(name).is_empty() {
            continue;
        }
        let have = builder.get(name);
        if !have.is_empty() && have != value {
            return Err(invalid(span, format!("conflicting label: {name}")));
        }
        builder.set(name, value);
    }
    Ok(builder.build())
}

/// The time modifiers of the first selector in an expression.
fn first_offset(expr: &Expr) -> Option<&Offset> {
    match &expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => Some(&selector.offset),
        _ => expr.children().find_map(first_offset),
    }
}
