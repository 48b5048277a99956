//! One rule of a group: its evaluation, and the series that it writes.

use std::collections::HashSet;

use weir_promql::labels::Labels;
use weir_promql::value::{STALE_NAN, SampleValue};

use super::{Evaluation, Unwritten};
use crate::alert::part::Part;
use crate::alert::rule::{Context, Health, Outcome, Rule};
use crate::alert::source::{Append, Query};

/// What came of a rule's evaluation.
#[derive(Default)]
pub(super) struct Step {
    /// Whether its alerts changed.
    pub(super) changed: bool,
    /// The part of its alerts whose series are to be written.
    pub(super) unwritten: Option<Option<Part>>,
}

/// Evaluates one rule and writes what it records.
pub(super) fn step<S: Query + Append>(
    rule: &mut Rule,
    source: &mut S,
    context: &Context<'_>,
    clock_ns: &dyn Fn() -> u64,
    evaluation: &mut Evaluation,
) -> Step {
    let start = clock_ns();
    let mut step = Step::default();
    let outcome = rule.evaluate(source, context);
    let is_untouched = |outcome: &Outcome| outcome.part.as_ref().is_some_and(Part::is_empty);
    if outcome.as_ref().is_ok_and(is_untouched) {
        return step;
    }
    rule.evaluated_at_ms = Some(context.at_ms);
    match outcome {
        Err(why) => {
            evaluation.failures += 1;
            rule.health = Health::Err;
            rule.last_error = Some(why);
        }
        Ok(outcome) => {
            rule.health = if outcome.complaint.is_some() {
                Health::Err
            } else {
                Health::Ok
            };
            evaluation.failures += u64::from(outcome.complaint.is_some());
            rule.last_error = outcome.complaint;
            step.changed = outcome.changed;
            evaluation.transitions.extend(outcome.transitions);
            evaluation.reminders.extend(outcome.reminders);
            evaluation.expansion_failures += outcome.expansion_failures;
            evaluation.expansion_error = outcome
                .expansion_error
                .or(evaluation.expansion_error.take());
            if rule.is_alert() {
                step.unwritten = Some(outcome.part);
            } else {
                let at_ms = context.at_ms.saturating_sub(context.query_offset_ms);
                write(rule, source, outcome.samples, None, at_ms, evaluation);
            }
        }
    }
    rule.took_ns = clock_ns().saturating_sub(start);
    step
}

/// Writes the series of a rule's alerts.
pub(super) fn settle<S: Append>(
    rule: &mut Rule,
    source: &mut S,
    unwritten: &Unwritten,
    evaluation: &mut Evaluation,
) {
    let part = unwritten.part.as_ref();
    let samples = rule.told(part);
    write(rule, source, samples, part, unwritten.at_ms, evaluation);
}

/// Writes a rule's series, and marks those as ended that it no longer has.
fn write<S: Append>(
    rule: &mut Rule,
    source: &mut S,
    samples: Vec<(Labels, SampleValue)>,
    part: Option<&Part>,
    at_ms: i64,
    evaluation: &mut Evaluation,
) {
    let mut wrote = HashSet::with_capacity(samples.len());
    for (labels, value) in samples {
        match source.append(&labels, at_ms, value) {
            Ok(()) => evaluation.written += 1,
            Err(why) => {
                evaluation.refused += 1;
                rule.health = Health::Err;
                rule.last_error = Some(format!("{labels}: {why}"));
            }
        }
        wrote.insert(labels);
    }
    // Of other parts nothing is known: they stay.
    let is_part = |labels: &Labels| part.is_none_or(|part| part.has(labels));
    wrote.extend(rule.wrote.extract_if(|labels| !is_part(labels)));
    for labels in rule.wrote.difference(&wrote) {
        if let Err(why) = source.append(labels, at_ms, SampleValue::Float(STALE_NAN)) {
            evaluation.refused += 1;
            tracing::debug!(%labels, %why, "the end of a series could not be marked");
        }
    }
    rule.wrote = wrote;
}
