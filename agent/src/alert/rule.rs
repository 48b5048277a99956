//! A rule at work: its expression becomes samples, and alerts their state.

mod expander;

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_promql::labels::{Labels, NAME};
use weir_promql::store::needs;
use weir_promql::value::{Sample, SampleValue};

use super::demand;
use super::file::{self, Action};
use super::page::{Page, Pairs};
use super::part::{Alone, Keys, Part, Touched};
use super::source::{Query, vector};
use super::state::{Alerts, Sending, Terms};
use super::template::{self, External, Scope};
use expander::{Expander, query};

/// How long a value counts (Prometheus's default).
pub const LOOKBACK_MS: i64 = 300_000;

/// Whether a rule works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It was not evaluated yet.
    #[default]
    Unknown,
    /// The last evaluation worked.
    Ok,
    /// The last evaluation failed.
    Err,
}

/// What is known about a rule's alerts beside its own result.
pub trait Remarks {
    /// What is said of an alert with these labels beside its annotations.
    fn annotations(&self, rule: &Rule, alert: &Labels) -> Pairs;

    /// Whether no alert of the rule may begin to fire now.
    fn holds(&self, rule: &Rule) -> bool;
}

/// The same for all.
impl Remarks for Pairs {
    fn annotations(&self, _: &Rule, _: &Labels) -> Pairs {
        self.clone()
    }

    fn holds(&self, _: &Rule) -> bool {
        false
    }
}

/// What an evaluation is told beside the rule.
pub struct Context<'a> {
    /// Time of the evaluation in milliseconds since 1970.
    pub at_ms: i64,
    /// How far back the expression is evaluated, and its results are written.
    pub query_offset_ms: i64,
    /// The group's limit; 0 for none.
    pub limit: usize,
    /// What templates and pages are told of the agent.
    pub external: &'a External,
    /// What is known beside the rule's own result: causes, completeness.
    pub remarks: &'a dyn Remarks,
    /// When pages are sent.
    pub sending: Sending,
    /// The only series that changed since the last evaluation, if that is known.
    pub touched: Option<&'a Touched>,
}

/// What came out of an evaluation.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Series to be written; those that tell about alerts left out.
    pub samples: Vec<(Labels, SampleValue)>,
    /// The part of the rule's series that these are; none if they are all.
    pub part: Option<Part>,
    /// Alerts that fire or were resolved, to be sent.
    pub transitions: Vec<Page>,
    /// Alerts that were sent before and still hold, to be said again.
    pub reminders: Vec<Page>,
    /// Whether the alerts' state is to be stored anew.
    pub changed: bool,
    /// The rule works, but not all of it: the limit.
    pub complaint: Option<String>,
    /// Templates that could not be expanded, and why the last could not.
    pub expansion_failures: u64,
    /// Why the last one could not.
    pub expansion_error: Option<String>,
}

/// A rule with its state.
#[derive(Debug)]
pub struct Rule {
    /// What the file says.
    pub written: Arc<file::Rule>,
    /// Its alerts; empty for a recording rule.
    pub alerts: Alerts,
    /// Whether it works.
    pub health: Health,
    /// Why it does not.
    pub last_error: Option<String>,
    /// When it was last evaluated, in milliseconds since 1970.
    pub evaluated_at_ms: Option<i64>,
    /// How long that took.
    pub took_ns: u64,
    /// How far back it looks, in milliseconds.
    pub window_ms: i64,
    /// Metrics that it selects; none if it does not name them.
    pub inputs: Option<Vec<String>>,
    /// Series that the last evaluation wrote.
    pub(super) wrote: HashSet<Labels>,
    /// By what the expression can be evaluated in parts.
    pub(super) keys: Option<Keys>,
    alone: Option<Alone>,
    generator_url: String,
}

impl Rule {
    /// A rule that was not evaluated yet.
    pub fn new(written: file::Rule, external_url: &str) -> Self {
        let link = template::table_link(written.expr.text());
        let needs = needs(written.expr.tree(), LOOKBACK_MS, 0).unwrap_or_default();
        let keys = Keys::of(written.expr.tree());
        let alone = keys.as_ref();
        let alone =
            alone.and_then(|keys| Alone::of(written.expr.tree(), keys, written.labels.keys()));
        Self {
            alone,
            window_ms: needs.iter().map(|need| need.window_ms).max().unwrap_or(0),
            inputs: demand::metrics(written.expr.tree()),
            keys,
            generator_url: format!("{}{link}", external_url.trim_end_matches('/')),
            written: Arc::new(written),
            alerts: Alerts::default(),
            health: Health::Unknown,
            last_error: None,
            evaluated_at_ms: None,
            took_ns: 0,
            wrote: HashSet::new(),
        }
    }

    /// Whether it alerts.
    pub fn is_alert(&self) -> bool {
        matches!(self.written.action, Action::Alert(_))
    }

    /// Where the expression can be seen.
    pub fn generator_url(&self) -> &str {
        &self.generator_url
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    /// With what keeps it from having a result; the state stays as it is then.
    pub fn evaluate(
        &mut self,
        source: &dyn Query,
        context: &Context<'_>,
    ) -> Result<Outcome, String> {
        let asked_ms = context.at_ms.saturating_sub(context.query_offset_ms);
        let part = self.part(context);
        if part.as_ref().is_some_and(Part::is_empty) {
            return Ok(Outcome {
                part,
                ..Outcome::default()
            });
        }
        let expr = &self.written.expr;
        let result = vector(match &part {
            Some(part) => source.part(expr, asked_ms, part)?,
            None => source.instant(expr, asked_ms)?,
        })?;
        let written = Arc::clone(&self.written);
        match &written.action {
            Action::Record => record(&written, result, context.limit),
            Action::Alert(alert) => self.alert(&written, alert, &result, part, source, context),
        }
    }

    /// The part of the result that has to be evaluated; none for all of it.
    fn part(&self, context: &Context<'_>) -> Option<Part> {
        let (touched, keys) = (context.touched?, self.keys.as_ref()?);
        if !self.is_alert() || context.limit > 0 {
            return None;
        }
        if let Some(alone) = &self.alone {
            return alone.part(touched);
        }
        Part::of(
            self.written.expr.tree(),
            keys,
            self.written.labels.keys(),
            touched,
        )
    }

    /// Whether it looks at all series that have the labels of one that changed.
    pub(super) fn looks_alike(&self) -> bool {
        self.alone.is_none() && self.keys == Some(Keys::All)
    }

    fn alert(
        &mut self,
        written: &file::Rule,
        alert: &file::Alert,
        result: &[Sample],
        part: Option<Part>,
        source: &dyn Query,
        context: &Context<'_>,
    ) -> Result<Outcome, String> {
        let query = |text: &str| query(source, text, context.at_ms);
        let mut expander = Expander {
            scope: Scope {
                now_ms: context.at_ms,
                address: context.external.address.as_deref(),
                query: &query,
            },
            external: context.external,
            failures: 0,
            error: None,
        };
        let candidates = result.iter();
        let candidates: Vec<_> = candidates
            .map(|sample| expander.candidate(&written.name, alert, sample))
            .collect();
        let (failures, error) = (expander.failures, expander.error);
        let terms = Terms {
            for_ms: alert.for_ms,
            keep_firing_for_ms: alert.keep_firing_for_ms,
            limit: context.limit,
            holds: !candidates.is_empty() && context.remarks.holds(self),
        };
        let is_part = |labels: &Labels| part.as_ref().is_none_or(|part| part.has(labels));
        let (at_ms, sending) = (context.at_ms, &context.sending);
        let update = self
            .alerts
            .update_part(candidates, &terms, at_ms, is_part)?;
        // What is said of those that go on was said when they began, and is said again at each tick.
        let all = context.touched.is_none();
        let mut alerts = std::mem::take(&mut self.alerts);
        alerts.remark(at_ms, sending, all, |labels| {
            context.remarks.annotations(self, labels)
        });
        self.alerts = alerts;
        let url = &self.generator_url;
        let demoted = update.demoted.iter();
        let mut transitions: Vec<_> = demoted
            .map(|alert| alert.page(at_ms, sending, url))
            .collect();
        let due = self.alerts.take_due(at_ms, sending, url);
        transitions.extend(due.transitions);
        Ok(Outcome {
            samples: Vec::new(),
            changed: update.changed || !transitions.is_empty(),
            transitions,
            reminders: due.reminders,
            complaint: (update.left_out > 0).then(|| {
                let all = context.limit + update.left_out;
                format!("exceeded limit of {} with {all} alerts", context.limit)
            }),
            expansion_failures: failures,
            expansion_error: error,
            part,
        })
    }

    /// The series that tell about the alerts of a part.
    pub(super) fn told(&self, part: Option<&Part>) -> Vec<(Labels, SampleValue)> {
        let is_part = |labels: &Labels| part.is_none_or(|part| part.has(labels));
        let samples = self.alerts.samples_of(is_part).into_iter();
        samples
            .map(|(labels, value)| (labels, value.into()))
            .collect()
    }
}

/// A recording rule's result under the rule's name and labels.
fn record(rule: &file::Rule, result: Vec<Sample>, limit: usize) -> Result<Outcome, String> {
    if limit > 0 && result.len() > limit {
        return Err(format!(
            "exceeded limit of {limit} with {} series",
            result.len()
        ));
    }
    let mut samples = Vec::with_capacity(result.len());
    let mut seen = HashSet::with_capacity(result.len());
    for sample in result {
        let own = rule.labels.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
        let changes: Vec<_> = [(NAME, rule.name.as_str())]
            .into_iter()
            .chain(own)
            .collect();
        let labels = sample.labels.with(&changes);
        if !seen.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels"
                    .to_owned(),
            );
        }
        samples.push((labels, sample.value));
    }
    Ok(Outcome {
        samples,
        ..Outcome::default()
    })
}
