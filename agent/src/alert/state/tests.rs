use proptest::prelude::*;
use weir_promql::labels::Labels;

use super::{Alert, Alerts, Candidate, RESOLVED_RETENTION_MS, Sending, State, Terms};
use crate::alert::page::Status;

const MINUTE: i64 = 60_000;

fn candidate(name: &str) -> Candidate {
    Candidate {
        labels: Labels::new([("alertname", "A"), ("on", name)]),
        annotations: [("summary".to_owned(), name.to_owned())].into(),
        value: 1.0,
    }
}

fn terms(for_minutes: i64, keep_minutes: i64) -> Terms {
    Terms {
        for_ms: for_minutes * MINUTE,
        keep_firing_for_ms: keep_minutes * MINUTE,
        limit: 0,
        holds: false,
    }
}

const SENDING: Sending = Sending {
    interval_ms: MINUTE,
    resend_ms: MINUTE,
};

/// Evaluates once a minute; `x` in the pattern means that the expression holds. Gives the state
/// after every evaluation: p, f, i or - for no alert.
fn walk(terms: &Terms, pattern: &str) -> String {
    let mut alerts = Alerts::default();
    let mut states = String::new();
    for (minute, mark) in pattern.chars().enumerate() {
        let given = if mark == 'x' {
            vec![candidate("a")]
        } else {
            vec![]
        };
        alerts.update(given, terms, minute as i64 * MINUTE).unwrap();
        states.push(match alerts.iter().next().map(|alert| alert.state) {
            None => '-',
            Some(State::Pending) => 'p',
            Some(State::Firing) => 'f',
            Some(State::Inactive) => 'i',
        });
    }
    states
}

#[test]
fn the_machine_is_prometheuss() {
    for (for_minutes, keep_minutes, pattern, states) in [
        (0, 0, "x.x", "fif"),
        (2, 0, "xxxx.x", "ppffip"),
        (2, 0, "xx.xxx", "pp-ppf"),
        (1, 2, "xx..xx", "pfffff"),
        (1, 2, "xx....", "pfffii"),
        (1, 2, "x..x", "p--p"),
        (0, 1, "x.x..", "ffffi"),
        (0, 1, "x..", "ffi"),
        (0, 0, "x................x", "fiiiiiiiiiiiiiiiif"),
        (0, 0, "x.................", "fiiiiiiiiiiiiiiii-"),
    ] {
        let got = walk(&terms(for_minutes, keep_minutes), pattern);
        assert_eq!(
            got, states,
            "for {for_minutes} keep {keep_minutes}: {pattern}"
        );
    }
}

#[test]
fn timestamps_tell_what_happened_when() {
    let terms = terms(1, 1);
    let mut alerts = Alerts::default();
    for minute in 0..=1 {
        alerts
            .update(vec![candidate("a")], &terms, minute * MINUTE)
            .unwrap();
    }
    let alert = alerts.iter().next().unwrap().clone();
    assert_eq!((alert.active_at_ms, alert.fired_at_ms), (0, Some(MINUTE)));
    alerts.update(vec![], &terms, 2 * MINUTE).unwrap();
    let keeps = alerts.iter().next().unwrap();
    assert_eq!(keeps.keep_firing_since_ms, Some(2 * MINUTE));
    alerts.update(vec![], &terms, 3 * MINUTE).unwrap();
    let over = alerts.iter().next().unwrap();
    assert_eq!(
        (over.state, over.resolved_at_ms),
        (State::Inactive, Some(3 * MINUTE))
    );
}

#[test]
fn the_series_tell_about_pending_and_firing_alerts_only() {
    let mut alerts = Alerts::default();
    alerts
        .update(vec![candidate("a")], &terms(1, 0), 90_500)
        .unwrap();
    let shown: Vec<_> = alerts
        .samples()
        .iter()
        .map(|(l, v)| format!("{l} {v}"))
        .collect();
    assert_eq!(
        shown,
        [
            r#"{__name__="ALERTS", alertname="A", alertstate="pending", on="a"} 1"#,
            r#"{__name__="ALERTS_FOR_STATE", alertname="A", on="a"} 90"#,
        ]
    );
    alerts.update(vec![], &terms(1, 0), 150_500).unwrap();
    assert!(alerts.samples().is_empty());
}

#[test]
fn firing_and_resolved_alerts_are_sent_and_said_again() {
    let terms = terms(1, 0);
    let mut alerts = Alerts::default();
    let mut sent = Vec::new();
    for half in 0..12 {
        let at_ms = half * MINUTE / 2;
        let given = if half <= 6 {
            vec![candidate("a")]
        } else {
            vec![]
        };
        alerts.update(given, &terms, at_ms).unwrap();
        let due = alerts.take_due(at_ms, &SENDING, "url");
        assert_eq!(due.transitions.len(), usize::from(half == 2 || half == 7));
        for page in due.transitions.into_iter().chain(due.reminders) {
            sent.push((half, page.status, page.starts_at_ms, page.ends_at_ms));
        }
    }
    let fired = MINUTE;
    let until = |half: i64| half * MINUTE / 2 + 4 * MINUTE;
    let over = 7 * MINUTE / 2;
    assert_eq!(
        sent,
        [
            (2, Status::Firing, fired, until(2)),
            (5, Status::Firing, fired, until(5)),
            (7, Status::Resolved, fired, over),
            (10, Status::Resolved, fired, over),
        ]
    );
}

#[test]
fn two_elements_with_the_same_labels_change_nothing() {
    let mut alerts = Alerts::default();
    alerts
        .update(vec![candidate("a")], &terms(0, 0), 0)
        .unwrap();
    let before = alerts.clone();
    let twice = vec![candidate("b"), candidate("b")];
    let why = alerts.update(twice, &terms(0, 0), MINUTE).unwrap_err();
    assert!(why.contains("same labelset"), "{why}");
    assert_eq!(alerts, before);
}

#[test]
fn over_the_limit_the_first_stay_and_one_alert_says_the_rest() {
    let limited = Terms {
        limit: 2,
        ..terms(0, 0)
    };
    let mut alerts = Alerts::default();
    alerts.update(vec![candidate("m")], &limited, 0).unwrap();
    let all = ["a", "b", "m", "z"].map(candidate).to_vec();
    let update = alerts.update(all, &limited, MINUTE).unwrap();
    assert_eq!(update.left_out, 2);
    let on: Vec<_> = alerts
        .active()
        .map(|alert| alert.labels.get("on").to_owned())
        .collect();
    let summary: Vec<_> = alerts
        .active()
        .filter(|a| a.labels.get("weir_over_limit") == "true")
        .collect();
    assert!(on.contains(&"m".to_owned()), "what was there stays: {on:?}");
    assert!(
        on.contains(&"a".to_owned()) && !on.contains(&"z".to_owned()),
        "{on:?}"
    );
    assert_eq!(summary.len(), 1);
    assert_eq!(
        summary[0].annotations["summary"],
        "2 more alerts of A than its group's limit of 2"
    );
    let update = alerts
        .update(vec![candidate("a"), candidate("m")], &limited, 2 * MINUTE)
        .unwrap();
    assert_eq!(update.left_out, 0);
    assert_eq!(alerts.active().count(), 2, "the summary is resolved");
}

#[test]
fn a_longer_for_takes_the_alert_back_and_says_so() {
    let mut alerts = Alerts::default();
    alerts
        .update(vec![candidate("a")], &terms(0, 0), 0)
        .unwrap();
    assert_eq!(alerts.take_due(0, &SENDING, "").transitions.len(), 1);
    let update = alerts
        .update(vec![candidate("a")], &terms(5, 0), MINUTE)
        .unwrap();
    assert_eq!(alerts.state(), State::Pending);
    assert_eq!(update.demoted.len(), 1);
    assert_eq!(
        update.demoted[0].page(MINUTE, &SENDING, "").status,
        Status::Resolved
    );
    assert_eq!(alerts.take_due(MINUTE, &SENDING, ""), super::Due::default());
    alerts
        .update(vec![candidate("a")], &terms(5, 0), 5 * MINUTE)
        .unwrap();
    assert_eq!(
        alerts.take_due(5 * MINUTE, &SENDING, "").transitions.len(),
        1
    );
}

#[test]
fn a_clock_that_steps_back_does_not_hold_an_alert_up() {
    let hour = 60 * MINUTE;
    let mut alerts = Alerts::default();
    alerts
        .update(vec![candidate("a")], &terms(2, 0), 10 * hour)
        .unwrap();
    alerts
        .update(vec![candidate("a")], &terms(2, 0), 9 * hour)
        .unwrap();
    alerts
        .update(vec![candidate("a")], &terms(2, 0), 9 * hour + 2 * MINUTE)
        .unwrap();
    assert_eq!(alerts.state(), State::Firing);
}

#[test]
fn a_restart_keeps_every_timestamp() {
    let terms = terms(2, 3);
    let mut alerts = Alerts::default();
    for minute in 0..=4 {
        let given = ["a", "b"]
            .map(candidate)
            .into_iter()
            .take(if minute < 4 { 2 } else { 1 });
        alerts
            .update(given.collect(), &terms, minute * MINUTE)
            .unwrap();
        alerts.take_due(minute * MINUTE, &SENDING, "");
    }
    let text = serde_json::to_string(&alerts.save(4 * MINUTE)).unwrap();
    let now = 9 * MINUTE;
    let mut again = Alerts::restore(serde_json::from_str(&text).unwrap(), now, now);
    let strip = |alert: &Alert| Alert {
        restored: false,
        ..alert.clone()
    };
    assert!(again.iter().map(strip).eq(alerts.iter().cloned()));
    let given = vec![candidate("a")];
    alerts.update(given.clone(), &terms, now).unwrap();
    again.update(given, &terms, now).unwrap();
    assert!(
        again.iter().map(strip).eq(alerts.iter().map(strip)),
        "both go on alike"
    );
}

#[test]
fn an_outage_is_no_time_in_which_the_expression_held() {
    let mut alerts = Alerts::default();
    alerts
        .update(vec![candidate("a")], &terms(5, 0), 0)
        .unwrap();
    let saved = alerts.save(2 * MINUTE);
    let mut soon = Alerts::restore(saved.clone(), 10 * MINUTE, 0);
    soon.update(vec![candidate("a")], &terms(5, 0), 12 * MINUTE)
        .unwrap();
    assert_eq!(soon.state(), State::Pending);
    soon.update(vec![candidate("a")], &terms(5, 0), 13 * MINUTE)
        .unwrap();
    assert_eq!(soon.state(), State::Firing);
    let late = Alerts::restore(saved, 100 * MINUTE, 0);
    assert_eq!(late.iter().count(), 0, "after an hour it starts anew");
}

#[test]
fn an_alert_stays_until_its_windows_are_full_again() {
    let mut alerts = Alerts::default();
    alerts
        .update(vec![candidate("a")], &terms(0, 0), 0)
        .unwrap();
    let mut again = Alerts::restore(alerts.save(0), MINUTE, 5 * MINUTE);
    again.update(vec![], &terms(0, 0), 4 * MINUTE).unwrap();
    assert_eq!(again.state(), State::Firing);
    again.update(vec![], &terms(0, 0), 5 * MINUTE).unwrap();
    assert_eq!(again.state(), State::Inactive);
    let mut seen = Alerts::restore(alerts.save(0), MINUTE, 5 * MINUTE);
    seen.update(vec![candidate("a")], &terms(0, 0), 2 * MINUTE)
        .unwrap();
    seen.update(vec![], &terms(0, 0), 3 * MINUTE).unwrap();
    assert_eq!(
        seen.state(),
        State::Inactive,
        "once seen, it is an alert like any other"
    );
}

fn steps() -> impl Strategy<Value = Vec<(i64, Vec<u8>)>> {
    let step = (-2 * MINUTE..5 * MINUTE, prop::collection::vec(0u8..6, 0..6));
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn invariants_hold(steps in steps(), for_ms in 0..5 * MINUTE, keep_ms in 0..3 * MINUTE, limit in 0usize..4) {
        let terms = Terms { for_ms, keep_firing_for_ms: keep_ms, limit, holds: false };
        let mut alerts = Alerts::default();
        let mut now = 0;
        for (passed, present) in steps {
            now += passed;
            let mut names: Vec<String> = present.iter().map(u8::to_string).collect();
            names.sort();
            names.dedup();
            let given: Vec<_> = names.iter().map(|name| candidate(name)).collect();
            let before = alerts.active().count();
            let update = alerts.update(given.clone(), &terms, now).unwrap();
            for alert in alerts.iter() {
                prop_assert!(alert.active_at_ms <= now);
                let is_given = given.iter().any(|c| c.labels == alert.labels);
                let is_summary = !alert.labels.get("weir_over_limit").is_empty();
                match alert.state {
                    State::Pending => {
                        prop_assert!(is_given || is_summary);
                        prop_assert!(now - alert.active_at_ms < for_ms);
                        prop_assert!(alert.fired_at_ms.is_none() && alert.resolved_at_ms.is_none());
                    }
                    State::Firing => {
                        prop_assert!(is_given || is_summary || keep_ms > 0);
                        prop_assert!(alert.fired_at_ms.is_some() && alert.resolved_at_ms.is_none());
                    }
                    State::Inactive => {
                        prop_assert!(!is_given || limit > 0);
                        let resolved = alert.resolved_at_ms.unwrap();
                        prop_assert!(now - resolved <= RESOLVED_RETENTION_MS);
                    }
                }
            }
            if limit > 0 {
                prop_assert!(alerts.active().count() <= before.max(limit) + 1);
            } else {
                prop_assert_eq!(update.left_out, 0);
                for wanted in &given {
                    prop_assert!(alerts.active().any(|alert| alert.labels == wanted.labels));
                }
            }
            prop_assert_eq!(alerts.samples().len(), 2 * alerts.active().count());
            let due = alerts.take_due(now, &SENDING, "");
            for page in due.transitions.iter().chain(&due.reminders) {
                prop_assert!(page.starts_at_ms <= page.ends_at_ms);
            }
            let text = serde_json::to_string(&alerts.save(now)).unwrap();
            let saved: super::Saved = serde_json::from_str(&text).unwrap();
            prop_assert!(saved.alerts.iter().eq(alerts.iter()));
        }
    }
}
