use std::sync::Arc;

use weir_promql::labels::Labels;

use super::ledger::{Fact, Ledger, Totals};
use super::{CAUSES, PEER_GROUPS, SERVICES, annotations, causes};
use crate::metrics::{
    self, Family, Histogram, Labels as PointLabels, Metric, Point, Subject, Value,
};

fn subject(service: &str, group: &str) -> Arc<Subject> {
    let labels = [("peer_group", group), ("service", service)];
    Arc::new(Subject {
        labels: labels.map(|(name, value)| (name, value.to_owned())).into(),
    })
}

fn family(
    metric: &'static Metric,
    subject: &Arc<Subject>,
    labels: PointLabels,
    value: Value,
) -> Family {
    let point = Point {
        subject: Arc::clone(subject),
        labels,
        value,
    };
    Family {
        metric,
        points: vec![point],
    }
}

fn timeouts(subject: &Arc<Subject>, segments: u64) -> Family {
    let labels = &[("kind", "rto")];
    family(
        &metrics::TCP_RETRANSMITS,
        subject,
        labels,
        Value::Int(segments),
    )
}

fn shut(subject: &Arc<Subject>, seconds: f64) -> Family {
    family(
        &metrics::TCP_ZERO_WINDOW_TIME,
        subject,
        &[],
        Value::Float(seconds),
    )
}

fn alert(labels: &[(&str, &str)]) -> Labels {
    Labels::new(labels.iter().copied())
}

/// What the annotation of the service `web` says.
fn web(ledger: &Ledger, window_ms: i64) -> String {
    let pairs = annotations(ledger, &alert(&[("service", "web")]), window_ms);
    pairs.get(CAUSES).cloned().unwrap_or_default()
}

#[test]
fn the_causes_of_the_window_are_told_and_not_those_before() {
    let (service, mut ledger) = (subject("web", "cable"), Ledger::default());
    for (at_s, segments) in [(0, 50), (60, 50), (120, 50), (180, 53), (190, 54)] {
        ledger.note(&[timeouts(&service, segments)], at_s * 1_000);
    }
    assert_eq!(
        web(&ledger, 60_000),
        "loss_timeout: 4 segments sent again after a timeout"
    );
    assert!(
        web(&ledger, 600_000).contains(": 54 "),
        "counted from its birth"
    );
    for at_s in (200..900).step_by(10) {
        ledger.note(&[timeouts(&service, 54)], at_s * 1_000);
    }
    let said = web(&ledger, 300_000);
    assert!(
        said.starts_with("unknown: ") && said.ends_with("in the last 5m"),
        "{said}"
    );
}

#[test]
fn what_an_event_changed_is_told_before_the_next_snapshot() {
    let (service, mut ledger) = (subject("web", "cable"), Ledger::default());
    ledger.note(&[timeouts(&service, 0)], 0);
    ledger.touch(&[timeouts(&service, 2)]);
    assert!(web(&ledger, 60_000).contains(": 2 segments"));
}

#[test]
fn who_suffers_most_is_named_unless_the_alert_does() {
    let (web, chat) = (subject("web", "cable"), subject("chat", "mobile"));
    let mut ledger = Ledger::default();
    ledger.note(&[shut(&web, 1.0), shut(&chat, 3.0), timeouts(&chat, 0)], 0);
    let pairs = annotations(&ledger, &alert(&[("alertname", "A")]), 60_000);
    assert_eq!(pairs[SERVICES], "chat (75 %), web (25 %)");
    assert_eq!(pairs[PEER_GROUPS], "mobile (75 %), cable (25 %)");
    assert_eq!(
        pairs[CAUSES],
        "receiver_window: peers' windows were shut for 4.0 s"
    );
    let pairs = annotations(&ledger, &alert(&[("service", "web")]), 60_000);
    assert_eq!(pairs[PEER_GROUPS], "cable (100 %)");
    assert!(!pairs.contains_key(SERVICES));
    assert!(annotations(&ledger, &alert(&[("service", "none")]), 60_000).is_empty());
}

#[test]
fn counters_that_go_on_under_other_labels_are_no_burst() {
    let mut ledger = Ledger::default();
    ledger.note(&[timeouts(&subject("web", "a"), 50)], 0);
    ledger.begin_anew();
    let renamed = subject("web", "b");
    ledger.note(&[timeouts(&renamed, 50)], 1_000);
    ledger.note(&[timeouts(&renamed, 51)], 2_000);
    assert!(web(&ledger, 60_000).contains(": 1 segment "));
}

#[test]
fn a_clock_that_was_set_moves_the_past_along() {
    let (service, mut ledger) = (subject("web", "cable"), Ledger::default());
    ledger.note(&[timeouts(&service, 50)], 0);
    ledger.note(&[timeouts(&service, 51)], 100_000);
    ledger.shift(-1_000_000);
    ledger.note(&[timeouts(&service, 52)], -890_000);
    assert!(web(&ledger, 60_000).contains(": 2 segments"));
}

#[test]
fn a_service_that_is_gone_is_forgotten() {
    let mut ledger = Ledger::default();
    ledger.note(&[timeouts(&subject("web", "a"), 1)], 0);
    ledger.note(&[], 1_000);
    assert_eq!(web(&ledger, 60_000), "");
}

#[test]
fn causes_are_ranked_by_the_time_that_they_took() {
    let (mut counts, mut before) = (Totals::default(), Totals::default());
    counts.set(Fact::Rto, 5.0);
    counts.set(Fact::ZeroWindow, 2.0);
    counts.set(Fact::Tlp, 3.0);
    counts.set(Fact::Refused, 3.0);
    counts.set(Fact::TimedOut, 1.0);
    counts.set(Fact::RoundTripTime, 30.0);
    counts.set(Fact::RoundTrips, 100.0);
    before.set(Fact::RoundTripTime, 2.0);
    before.set(Fact::RoundTrips, 100.0);
    counts.set(Fact::Sched, 5.9);
    let all = causes(&counts, &before, 60_000);
    let names: Vec<_> = all.iter().map(|cause| cause.name).collect();
    let expected = [
        "path_delay",
        "connections",
        "receiver_window",
        "loss_timeout",
        "tail_loss",
    ];
    assert_eq!(names, expected);
    assert_eq!(all[0].told, "round trips took 300 ms, before 20 ms");
    assert_eq!(all[1].told, "connections failed: 3 refused, 1 timed out");
    counts.set(Fact::Sched, 6.1);
    let all = causes(&counts, &before, 60_000);
    assert!(all.iter().any(|cause| cause.name == "cpu_starved"));
}

#[test]
fn a_long_path_that_was_always_long_is_no_cause() {
    let (mut counts, mut before) = (Totals::default(), Totals::default());
    for totals in [&mut counts, &mut before] {
        totals.set(Fact::RoundTripTime, 30.0);
        totals.set(Fact::RoundTrips, 100.0);
    }
    assert_eq!(causes(&counts, &before, 60_000), []);
}

#[test]
fn round_trips_are_read_from_the_histogram() {
    let (service, mut ledger) = (subject("web", "cable"), Ledger::default());
    let rtt = |count: u64, sum: f64| {
        let histogram = Histogram {
            zero_count: count,
            sum,
            ..Histogram::default()
        };
        family(
            &metrics::TCP_RTT,
            &service,
            &[],
            Value::Histogram(histogram),
        )
    };
    ledger.note(&[rtt(0, 0.0)], 0);
    ledger.note(&[rtt(100, 1.0)], 60_000);
    ledger.note(&[rtt(120, 7.0)], 90_000);
    assert_eq!(
        web(&ledger, 30_000),
        "path_delay: round trips took 300 ms, before 10 ms"
    );
}
