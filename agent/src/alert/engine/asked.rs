//! Which kernel events immediate groups wait for, and which rules cannot wait for any.

use std::collections::BTreeSet;

use tokio::sync::watch;
use weir_ebpf::change::Facts;

use super::{Inner, Rules};
use crate::alert::demand::selectors;
use crate::alert::file::{FileError, Group, Problem, Rule, RuleFile, RuleName};
use crate::alert::part::reads;
use crate::metrics::change::{CHANGES, facts_selected};

impl Rules {
    /// The rare facts of which the kernel should tell: those that change what immediate groups
    /// select. Changes when rules are reloaded.
    pub fn asked(&self) -> watch::Receiver<Facts> {
        self.asked.subscribe()
    }
}

impl Inner {
    /// The facts that immediate groups wait for.
    pub(super) fn asked(&self) -> Facts {
        let places = self.immediate.keys();
        let groups = places.filter_map(|place| self.set.groups.get(*place));
        let rules = groups.flat_map(|group| &group.rules);
        rules.fold(Facts::NONE, |all, rule| all.and(facts_of(&rule.written)))
    }
}

fn facts_of(rule: &Rule) -> Facts {
    let selectors = selectors(rule.expr.tree()).into_iter();
    selectors.fold(Facts::NONE, |all, selector| {
        all.and(facts_selected(&selector.matchers))
    })
}

/// Checks groups of a name that are to be immediate: events must change what each rule selects,
/// itself or by way of an earlier rule of its group.
///
/// # Errors
/// With all rules that can only be evaluated on an interval.
pub(super) fn check(files: &[RuleFile], name: &str) -> Result<(), Vec<FileError>> {
    let errors = files.iter().filter_map(|file| {
        let groups = file.groups.iter().filter(|group| group.name == name);
        let problems: Vec<_> = groups.flat_map(unfit).collect();
        (!problems.is_empty()).then(|| FileError {
            path: file.path.to_string(),
            problems,
        })
    });
    let errors: Vec<_> = errors.collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn unfit(group: &Group) -> Vec<Problem> {
    let mut written = Vec::new();
    let mut problems = Vec::new();
    for (at, rule) in group.rules.iter().enumerate() {
        if facts_of(rule) == Facts::NONE && !reads(rule.expr.tree(), &written) {
            problems.push(problem(group, at + 1, rule));
            continue;
        }
        written.extend(rule.writes().map(str::to_owned));
    }
    problems
}

fn problem(group: &Group, number: usize, rule: &Rule) -> Problem {
    let known: BTreeSet<_> = CHANGES
        .iter()
        .map(|row| row.metric.prometheus_name())
        .collect();
    let known: Vec<_> = known.iter().map(AsRef::as_ref).collect();
    Problem {
        place: Some(rule.place),
        other_place: None,
        rule: Some(Box::new(RuleName {
            group: group.name.clone(),
            number,
            name: rule.name.clone(),
        })),
        message: format!(
            "cannot be immediate: no kernel event changes what it selects (events tell of {}); move it to a group that is not in alert.immediate",
            known.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rules: &str) -> Vec<String> {
        let text = format!("groups:\n- name: g\n  rules:\n{rules}");
        let file = RuleFile::parse("rules.yaml", &text, false).unwrap();
        let errors = check(&[file], "g").err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_no_event_concerns_is_told_with_its_place() {
        let errors = checked(
            "  - {alert: A, expr: 'increase(weir_tcp_retransmits_total[1m]) > 0'}\n  \
               - {alert: B, expr: 'rate(weir_tcp_send_duration_seconds_count[1m]) > 1'}\n  \
               - {alert: C, expr: vector(1)}\n",
        );
        let lines: Vec<_> = errors[0].lines().collect();
        let begin = |line: &str, with: &str| assert!(line.starts_with(with), "{line}");
        begin(
            lines[0],
            "rules.yaml: 5:5: group \"g\", rule 2, \"B\": cannot be immediate",
        );
        begin(
            lines[1],
            "rules.yaml: 6:5: group \"g\", rule 3, \"C\": cannot be immediate",
        );
        assert!(lines[0].contains("weir_tcp_zero_window_time_seconds_total"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_rule_may_rest_on_what_an_earlier_one_writes() {
        let rules = "  - {record: r, expr: 'rate(weir_tcp_retransmits_total[1m])'}\n  \
                     - {alert: A, expr: r > 1}\n  \
                     - {alert: B, expr: 'ALERTS{alertname=\"A\"} > 0'}\n";
        assert!(checked(rules).is_empty());
        let turned = "  - {alert: A, expr: r > 1}\n  \
                      - {record: r, expr: 'rate(weir_tcp_retransmits_total[1m])'}\n";
        assert_eq!(checked(turned).len(), 1);
    }
}
