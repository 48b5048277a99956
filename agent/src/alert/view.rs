//! The rules as the HTTP API shows them.

use super::api;
use super::duration;
use super::file::{Action, Text};
use super::group::Group;
use super::rule::{Health, Rule};
use super::set::RuleSet;
use super::state::{Alert, State};

/// All groups with their rules and alerts.
pub fn groups(set: &RuleSet) -> Vec<api::Group> {
    set.groups.iter().map(group).collect()
}

fn group(group: &Group) -> api::Group {
    api::Group {
        name: group.name.clone(),
        file: group.file.to_string(),
        rules: group.rules.iter().map(rule).collect(),
        interval: duration::seconds(group.interval_ms),
        limit: group.limit as u64,
        evaluation_time: group.took_ns as f64 / 1e9,
        last_evaluation: group.evaluated_at_ms.unwrap_or(0),
    }
}

fn rule(rule: &Rule) -> api::Rule {
    api::Rule {
        name: rule.written.name.clone(),
        query: rule.written.expr.text().to_owned(),
        labels: rule.written.labels.clone(),
        health: match rule.health {
            Health::Unknown => api::Health::Unknown,
            Health::Ok => api::Health::Ok,
            Health::Err => api::Health::Err,
        },
        last_error: rule.last_error.clone().unwrap_or_default(),
        evaluation_time: rule.took_ns as f64 / 1e9,
        last_evaluation: rule.evaluated_at_ms.unwrap_or(0),
        kind: kind(rule),
    }
}

fn kind(rule: &Rule) -> api::RuleKind {
    let Action::Alert(written) = &rule.written.action else {
        return api::RuleKind::Recording {};
    };
    let annotations = written.annotations.iter();
    api::RuleKind::Alerting {
        state: match rule.evaluated_at_ms {
            None => api::AlertState::Unknown,
            Some(_) => state(rule.alerts.state()),
        },
        duration: duration::seconds(written.for_ms),
        keep_firing_for: duration::seconds(written.keep_firing_for_ms),
        annotations: annotations
            .map(|(name, text)| match text {
                Text::Template(template) => (name.clone(), template.text().to_owned()),
                Text::Broken(why) => (name.clone(), why.clone()),
            })
            .collect(),
        alerts: rule.alerts.active().map(alert).collect(),
    }
}

fn alert(alert: &Alert) -> api::ActiveAlert {
    let labels = alert.labels.iter();
    api::ActiveAlert {
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        annotations: alert.said(),
        state: state(alert.state),
        active_at: alert.active_at_ms,
        keep_firing_since: alert.keep_firing_since_ms,
        value: alert.value,
    }
}

fn state(state: State) -> api::AlertState {
    match state {
        State::Inactive => api::AlertState::Inactive,
        State::Pending => api::AlertState::Pending,
        State::Firing => api::AlertState::Firing,
    }
}
