//! A group of rules: when it is evaluated, what it writes, and what became of it
//! (`rules/group.go` of Prometheus).

mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use weir_promql::labels::Labels;
use weir_promql::value::{STALE_NAN, SampleValue};

use super::file;
use super::page::Page;
use super::part::{self, Part, Touched};
use super::rule::{Context, Remarks, Rule};
use super::source::{Append, Query};
use super::state::Sending;
use super::template::External;
use step::{settle, step};

/// What the configuration says about all groups.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Between evaluations of groups that do not say it themselves.
    pub interval_ms: i64,
    /// How far back queries of groups look that do not say it themselves.
    pub query_offset_ms: i64,
    /// An alert that goes on is said again after this.
    pub resend_ms: i64,
    /// What templates and pages are told of the agent.
    pub external: External,
}

impl Default for Settings {
    /// Prometheus's.
    fn default() -> Self {
        Self {
            interval_ms: 60_000,
            query_offset_ms: 0,
            resend_ms: 60_000,
            external: External::new(Default::default(), ""),
        }
    }
}

/// What came out of an evaluation.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Alerts that fire or were resolved, to be sent.
    pub transitions: Vec<Page>,
    /// Alerts that were sent before and still hold, to be said again.
    pub reminders: Vec<Page>,
    /// Places of rules whose alerts are to be stored anew.
    pub changed: Vec<usize>,
    /// Rules that failed.
    pub failures: u64,
    /// Samples written.
    pub written: u64,
    /// Samples that the store refused.
    pub refused: u64,
    /// Templates that could not be expanded.
    pub expansion_failures: u64,
    /// Why the last template could not be expanded.
    pub expansion_error: Option<String>,
    /// Rules whose alerts' series are still to be written.
    pub unwritten: Vec<Unwritten>,
}

/// A rule whose alerts' series are still to be written, by [`Group::settle`].
#[derive(Debug)]
pub struct Unwritten {
    place: usize,
    part: Option<Part>,
    at_ms: i64,
}

/// A group with the state of its rules.
#[derive(Debug)]
pub struct Group {
    /// The file that it stands in.
    pub file: Arc<str>,
    /// Unique in the file.
    pub name: String,
    /// Between evaluations.
    pub interval_ms: i64,
    /// How far back queries look.
    pub query_offset_ms: i64,
    /// Most alerts or series of one rule; 0 for no limit.
    pub limit: usize,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// When it was last evaluated, in milliseconds since 1970.
    pub evaluated_at_ms: Option<i64>,
    /// How long that took.
    pub took_ns: u64,
    /// Evaluations that were left out because one took too long.
    pub missed: u64,
    /// Where slots begin, if not at the group's own place.
    pub phase_ms: Option<i64>,
    /// Whether a rule selects what another, or it itself, writes.
    reads_own: bool,
    /// The slot of the last periodic evaluation.
    slot_ms: Option<i64>,
    /// Series of rules that are gone, to be marked as ended.
    ended: HashSet<Labels>,
}

impl Group {
    /// A group that was not evaluated yet.
    pub fn new(file: &Arc<str>, written: file::Group, settings: &Settings) -> Self {
        let rules = written.rules.into_iter();
        let mut rules: Vec<_> = rules
            .map(|rule| Rule::new(rule, &settings.external.url))
            .collect();
        let names: BTreeSet<_> = rules
            .iter()
            .flat_map(|rule| rule.written.writes())
            .collect();
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut reads_own = false;
        for rule in &mut rules {
            // What others write may change more than what was touched.
            if part::reads(rule.written.expr.tree(), &names) {
                rule.keys = None;
                reads_own = true;
            }
        }
        Self {
            file: Arc::clone(file),
            name: written.name,
            interval_ms: written.interval_ms.unwrap_or(settings.interval_ms).max(1),
            query_offset_ms: written.query_offset_ms.unwrap_or(settings.query_offset_ms),
            limit: written.limit,
            rules,
            reads_own,
            evaluated_at_ms: None,
            took_ns: 0,
            missed: 0,
            phase_ms: None,
            slot_ms: None,
            ended: HashSet::new(),
        }
    }

    /// The last slot that is not after `now_ms`. Slots of groups are spread over the interval by the
    /// hash of file and name, as Prometheus spreads them, unless `phase_ms` is set.
    pub fn slot(&self, now_ms: i64) -> i64 {
        let offset_ms = self.phase_ms.unwrap_or_else(|| self.own_phase());
        now_ms
            - now_ms
                .saturating_sub(offset_ms)
                .rem_euclid(self.interval_ms)
    }

    fn own_phase(&self) -> i64 {
        let labels = Labels::new([("file", &*self.file), ("name", &*self.name)]);
        let interval_ns = u64::try_from(self.interval_ms)
            .unwrap_or(1)
            .saturating_mul(1_000_000);
        (labels.hash64() % interval_ns / 1_000_000) as i64
    }

    /// The time for which the group is to be evaluated now, if it is; slots that passed meanwhile
    /// are counted as missed. The first evaluation waits for a slot.
    pub fn take_due(&mut self, now_ms: i64) -> Option<i64> {
        let slot = self.slot(now_ms);
        let Some(last) = self.slot_ms else {
            self.slot_ms = Some(slot);
            return None;
        };
        if slot < last {
            // The clock stepped back.
            self.slot_ms = Some(slot);
            return Some(slot);
        }
        let passed = (slot - last) / self.interval_ms;
        if passed == 0 {
            return None;
        }
        self.missed += passed.unsigned_abs() - 1;
        self.slot_ms = Some(slot);
        Some(slot)
    }

    /// From the slot before `now_ms` on, unless there was one.
    pub fn wait_for_slot(&mut self, now_ms: i64) {
        if self.slot_ms.is_none() {
            self.slot_ms = Some(self.slot(now_ms));
        }
    }

    /// When `take_due` will next have something.
    pub fn next_due(&self, now_ms: i64) -> i64 {
        self.slot_ms.unwrap_or_else(|| self.slot(now_ms)) + self.interval_ms
    }

    /// Evaluates all rules at one time, in order: later ones see what earlier ones wrote. A rule that
    /// fails leaves its state as it is and does not keep others from being evaluated.
    ///
    /// `remarks` are made on every alert; `clock_ns` measures how long it takes.
    pub fn evaluate<S: Query + Append>(
        &mut self,
        source: &mut S,
        at_ms: i64,
        settings: &Settings,
        remarks: &dyn Remarks,
        clock_ns: &dyn Fn() -> u64,
    ) -> Evaluation {
        let mut evaluation =
            self.evaluate_touched(source, at_ms, settings, remarks, clock_ns, None);
        let unwritten = std::mem::take(&mut evaluation.unwritten);
        self.settle(source, unwritten, &mut evaluation);
        evaluation
    }

    /// Writes the series of alerts that an evaluation left to be written, before anything else is
    /// done with the group: what was decided does not wait for them.
    pub fn settle<S: Append>(
        &mut self,
        source: &mut S,
        unwritten: Vec<Unwritten>,
        evaluation: &mut Evaluation,
    ) {
        for unwritten in unwritten {
            if let Some(rule) = self.rules.get_mut(unwritten.place) {
                settle(rule, source, &unwritten, evaluation);
            }
        }
    }

    /// Whether it has a rule that looks at all series that have the labels of one that changed.
    pub fn looks_alike(&self) -> bool {
        self.rules.iter().any(Rule::looks_alike)
    }

    /// The same if it is known which series changed since the last evaluation: of rules whose
    /// results can be taken apart, only that part. The series that tell about alerts are left to be
    /// written if no rule of the group selects them.
    pub fn evaluate_touched<S: Query + Append>(
        &mut self,
        source: &mut S,
        at_ms: i64,
        settings: &Settings,
        remarks: &dyn Remarks,
        clock_ns: &dyn Fn() -> u64,
        touched: Option<&Touched>,
    ) -> Evaluation {
        let start = clock_ns();
        let mut evaluation = Evaluation::default();
        let context = Context {
            at_ms,
            query_offset_ms: self.query_offset_ms,
            limit: self.limit,
            external: &settings.external,
            remarks,
            sending: Sending {
                interval_ms: self.interval_ms,
                resend_ms: settings.resend_ms,
            },
            touched,
        };
        for (place, rule) in self.rules.iter_mut().enumerate() {
            let step = step(rule, source, &context, clock_ns, &mut evaluation);
            if step.changed {
                evaluation.changed.push(place);
            }
            if let Some(part) = step.unwritten {
                let at_ms = at_ms.saturating_sub(self.query_offset_ms);
                let unwritten = Unwritten { place, part, at_ms };
                // Ends are marked after everything else.
                match self.reads_own || !self.ended.is_empty() {
                    true => settle(rule, source, &unwritten, &mut evaluation),
                    false => evaluation.unwritten.push(unwritten),
                }
            }
        }
        let written_at = at_ms.saturating_sub(self.query_offset_ms);
        for labels in self.ended.drain() {
            let marker = SampleValue::Float(STALE_NAN);
            // What was written by another rule meanwhile is newer and stays.
            let _ = source.append(&labels, written_at, marker);
        }
        self.evaluated_at_ms = Some(at_ms);
        self.took_ns = clock_ns().saturating_sub(start);
        evaluation
    }

    /// Takes over the state of the group that stood in this one's place. Rules are the same if name
    /// and labels are; what changed otherwise does not matter. Gives back the rules that are gone.
    pub fn inherit(&mut self, old: Self) -> Vec<Rule> {
        self.evaluated_at_ms = old.evaluated_at_ms;
        self.took_ns = old.took_ns;
        self.missed = old.missed;
        if self.interval_ms == old.interval_ms {
            self.slot_ms = old.slot_ms;
        }
        self.ended.extend(old.ended);
        let mut old_rules: Vec<Option<Rule>> = old.rules.into_iter().map(Some).collect();
        for rule in &mut self.rules {
            let same = |old: &&mut Option<Rule>| {
                old.as_ref().is_some_and(|old| {
                    old.written.name == rule.written.name
                        && old.written.labels == rule.written.labels
                        && old.is_alert() == rule.is_alert()
                })
            };
            if let Some(old) = old_rules.iter_mut().find(same).and_then(Option::take) {
                rule.alerts = old.alerts;
                rule.wrote = old.wrote;
                rule.health = old.health;
                rule.last_error = old.last_error;
                rule.evaluated_at_ms = old.evaluated_at_ms;
                rule.took_ns = old.took_ns;
            }
        }
        let gone: Vec<Rule> = old_rules.into_iter().flatten().collect();
        for rule in &gone {
            self.ended.extend(rule.wrote.iter().cloned());
        }
        gone
    }
}
