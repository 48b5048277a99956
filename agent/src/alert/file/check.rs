//! Prometheus's checks of a rule file (`model/rulefmt/rulefmt.go`); all problems are collected.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::schema;
use super::{Action, Alert, Group, Problem, Rule, RuleName, Text};
use crate::alert::expression::Expression;
use crate::alert::template::Template;
use crate::alert::{duration, name};

/// Turns what is written into what is meant, or says everything that is wrong with it.
pub(super) fn groups(file: schema::File) -> Result<Vec<Group>, Vec<Problem>> {
    let mut checker = Checker::default();
    let mut names = BTreeSet::new();
    let mut groups = Vec::with_capacity(file.groups.len());
    for spanned in file.groups {
        let place = place(&spanned);
        let written = spanned.value;
        let name = written.name.clone().unwrap_or_default();
        if name.is_empty() {
            checker.at(place, "Groupname must not be empty");
        }
        if !names.insert(name.clone()) {
            checker.at(
                place,
                format!("groupname: \"{name}\" is repeated in the same file"),
            );
        }
        groups.push(checker.group(name, written));
    }
    if checker.problems.is_empty() {
        Ok(groups)
    } else {
        Err(checker.problems)
    }
}

type Place = (u64, u64);

fn place<T>(spanned: &Spanned<T>) -> Place {
    (spanned.referenced.line(), spanned.referenced.column())
}

/// The text of a key, empty if it is missing or null.
fn text(written: Option<&schema::Text>) -> &str {
    written
        .and_then(|spanned| spanned.value.as_deref())
        .unwrap_or_default()
}

#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
    /// The rule that is being checked.
    rule: Option<Box<RuleName>>,
}

impl Checker {
    fn at(&mut self, place: impl Into<Option<Place>>, message: impl Into<String>) {
        self.problems.push(Problem {
            place: place.into(),
            other_place: None,
            rule: self.rule.clone(),
            message: message.into(),
        });
    }

    fn duration(&mut self, written: Option<&schema::Text>) -> Option<i64> {
        let spanned = written?;
        match duration::parse(spanned.value.as_deref()?) {
            Ok(span_ms) => Some(span_ms),
            Err(why) => {
                self.at(place(spanned), why);
                None
            }
        }
    }

    fn group(&mut self, name: String, written: schema::Group) -> Group {
        let interval_ms = self.duration(written.interval.as_ref());
        let query_offset_ms = self.duration(written.query_offset.as_ref());
        let labels = self.map(written.labels, |checker, label, _| checker.label(label));
        let mut rules = Vec::with_capacity(written.rules.len());
        for (index, rule) in written.rules.into_iter().enumerate() {
            let (alert, record) = (
                text(rule.value.alert.as_ref()),
                text(rule.value.record.as_ref()),
            );
            let rule_name = if alert.is_empty() { record } else { alert }.to_owned();
            self.rule = Some(Box::new(RuleName {
                group: name.clone(),
                number: index + 1,
                name: rule_name.clone(),
            }));
            rules.extend(self.rule(rule_name, rule, &labels));
        }
        self.rule = None;
        Group {
            name,
            // Prometheus takes 0 for "not set".
            interval_ms: interval_ms.filter(|interval| *interval > 0),
            query_offset_ms,
            limit: usize::try_from(written.limit.unwrap_or(0)).unwrap_or(0),
            rules,
        }
    }

    /// Labels or annotations, each name checked at the place of its value.
    fn map(
        &mut self,
        written: schema::Map,
        check: impl Fn(&mut Self, &str, Place) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for (key, value) in written.unwrap_or_default() {
            let place = place(&value);
            if let Err(why) = check(self, &key, place) {
                self.at(place, why);
            }
            map.insert(key, value.value.unwrap_or_default());
        }
        map
    }

    #[expect(
        clippy::unused_self,
        reason = "it is one of the checks that `map` takes"
    )]
    fn label(&mut self, label: &str) -> Result<(), String> {
        if name::is_label(label) {
            Ok(())
        } else {
            Err(format!("invalid label name: {label}"))
        }
    }

    /// None if the rule's expression does not parse or it is neither alert nor record.
    fn rule(
        &mut self,
        name: String,
        written: Spanned<schema::Rule>,
        group_labels: &BTreeMap<String, String>,
    ) -> Option<Rule> {
        let here = place(&written);
        let rule = written.value;
        let records = !text(rule.record.as_ref()).is_empty();
        let alerts = !text(rule.alert.as_ref()).is_empty();
        if records && alerts {
            self.both(&rule);
        }
        if !records && !alerts {
            self.at(here, "one of 'record' or 'alert' must be set");
        }
        let expr = self.expression(rule.expr.as_ref(), here);
        let for_ms = self.duration(rule.hold.as_ref()).unwrap_or(0);
        let keep_ms = self.duration(rule.keep_firing_for.as_ref()).unwrap_or(0);
        let places = rule.annotations.iter().flatten();
        let has_annotations = places.count() > 0;
        if records {
            self.record(rule.record.as_ref(), for_ms, keep_ms, has_annotations);
        }
        let label_places = places_of(&rule.labels);
        let annotation_places = places_of(&rule.annotations);
        let mut labels = self.map(rule.labels, |checker, label, _| checker.label(label));
        let annotations = self.map(rule.annotations, |_, key, _| {
            let wrong = || format!("invalid annotation name: {key}");
            if key.is_empty() { Err(wrong()) } else { Ok(()) }
        });
        let action = if alerts {
            let annotations = self.templates(&name, "annotation", &annotations, &annotation_places);
            let mut label_texts = self.templates(&name, "label", &labels, &label_places);
            label_texts.extend(of_group(&name, group_labels, &labels));
            Action::Alert(Alert {
                for_ms,
                keep_firing_for_ms: keep_ms,
                labels: label_texts,
                annotations,
            })
        } else {
            Action::Record
        };
        for (key, value) in group_labels {
            labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
        Some(Rule {
            name,
            expr: expr?,
            labels,
            action,
            place: here,
        })
    }

    fn both(&mut self, rule: &schema::Rule) {
        self.problems.push(Problem {
            place: rule.record.as_ref().map(place),
            other_place: rule.alert.as_ref().map(place),
            rule: self.rule.clone(),
            message: "only one of 'record' and 'alert' must be set".to_owned(),
        });
    }

    fn expression(&mut self, written: Option<&schema::Text>, rule: Place) -> Option<Expression> {
        let expr = text(written);
        let here = written.map_or(rule, place);
        if expr.is_empty() {
            self.at(here, "field 'expr' must be set in rule");
            return None;
        }
        Expression::parse(expr)
            .map_err(|why| self.at(here, format!("could not parse expression: {why}")))
            .ok()
    }

    fn record(
        &mut self,
        written: Option<&schema::Text>,
        for_ms: i64,
        keep_ms: i64,
        has_annotations: bool,
    ) {
        let here = written.map(place);
        let name = text(written);
        for (is_set, field) in [
            (has_annotations, "annotations"),
            (for_ms != 0, "for"),
            (keep_ms != 0, "keep_firing_for"),
        ] {
            if is_set {
                self.at(here, format!("invalid field '{field}' in recording rule"));
            }
        }
        if !name::is_metric(name) {
            self.at(here, format!("invalid recording rule name: {name}"));
        }
        if name.contains(['{', '}']) {
            let why = "braces present in the recording rule name; should it be in expr?";
            self.at(here, format!("{why}: {name}"));
        }
    }

    fn templates(
        &mut self,
        alert: &str,
        what: &str,
        map: &BTreeMap<String, String>,
        places: &BTreeMap<String, Place>,
    ) -> Vec<(String, Text)> {
        let mut templates = Vec::with_capacity(map.len());
        for (key, value) in map {
            match Template::parse(alert, value) {
                Ok(template) => templates.push((key.clone(), Text::Template(template))),
                Err(why) => self.at(places.get(key).copied(), format!("{what} {key:?}: {why}")),
            }
        }
        templates
    }
}

fn places_of(map: &schema::Map) -> BTreeMap<String, Place> {
    let entries = map.iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), place(value)))
        .collect()
}

/// The labels of the group that the rule does not set, as templates of the alert.
fn of_group<'a>(
    alert: &'a str,
    group: &'a BTreeMap<String, String>,
    own: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (String, Text)> + 'a {
    group
        .iter()
        .filter(|(key, _)| !own.contains_key(*key))
        .map(move |(key, value)| {
            let text = match Template::parse(alert, value) {
                Ok(template) => Text::Template(template),
                Err(why) => Text::Broken(format!("error parsing template __alert_{alert}: {why}")),
            };
            (key.clone(), text)
        })
}
