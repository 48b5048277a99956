use std::sync::{Arc, Mutex};

use super::*;
use crate::alert::group::Group;
use crate::alert::page::{Page, Status};
use crate::alert::rule::Health;
use crate::metrics::{self, Family, Labels, Metric, Point, Subject, Value};

const RTO: Labels = &[("kind", "rto")];

/// A node whose counters the test sets.
#[derive(Default)]
struct Node(Mutex<Snapshot>);

impl Source for Node {
    fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap().clone()
    }
}

/// Rules over such a node, and the time that the test gives them.
struct Bench {
    rules: Rules,
    node: Arc<Node>,
    wall_ms: i64,
    steady_ms: i64,
    _dir: tempfile::TempDir,
}

fn subject(service: &str) -> Arc<Subject> {
    let labels = vec![("service", service.to_owned())];
    Arc::new(Subject { labels })
}

fn family(metric: &'static Metric, labels: Labels, values: &[(&str, u64)]) -> Family {
    let point = |(service, value): &(&str, u64)| Point {
        subject: subject(service),
        labels,
        value: Value::Int(*value),
    };
    Family {
        metric,
        points: values.iter().map(point).collect(),
    }
}

/// Segments that services sent again.
fn again(values: &[(&str, u64)]) -> Family {
    family(&metrics::TCP_RETRANSMITS, RTO, values)
}

fn open(values: &[(&str, u64)]) -> Family {
    family(&metrics::TCP_OPEN, &[], values)
}

impl Bench {
    /// One group that is evaluated each second; counting began an hour ago.
    fn new(rules: &str, config: Alert) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.yaml");
        std::fs::write(&file, format!("groups:\n- name: g\n  rules:\n{rules}")).unwrap();
        let config = Alert {
            rule_files: vec![file.display().to_string()],
            evaluation_seconds: 1.0,
            ..config
        };
        let (node, wall_ms) = (Arc::<Node>::default(), wall_ms());
        let start_ms = u64::try_from(wall_ms - 3_600_000).unwrap();
        node.0.lock().unwrap().start_unix_ns = start_ms * 1_000_000;
        let log = Log::in_memory(config.log_limits());
        let files = load(&config).unwrap();
        Self {
            rules: Rules::new(&config, files, node.clone(), log, Arc::default()),
            node,
            wall_ms,
            steady_ms: 0,
            _dir: dir,
        }
    }

    fn with(rules: &str) -> Self {
        Self::new(rules, Alert::default())
    }

    fn start_ms(&self) -> i64 {
        self.wall_ms - 3_600_000
    }

    fn set(&self, families: Vec<Family>) {
        self.node.0.lock().unwrap().families = families;
    }

    /// Goes on for some seconds, a tick in each.
    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.steady_ms += 1_000;
            self.wall_ms += 1_000;
            self.rules.tick_at(self.wall_ms, self.steady_ms);
        }
    }

    /// Names and services of what fires.
    fn firing(&self) -> Vec<String> {
        let pages = self.rules.log.firing();
        let text = |page: &Page| format!("{} {}", page.name(), page.labels["service"]);
        let mut all: Vec<_> = pages.iter().map(text).collect();
        all.sort();
        all
    }

    /// Transitions so far.
    fn told(&self) -> u64 {
        let counts = self.rules.log.counts();
        counts
            .transitions
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    fn group<T>(&self, look: impl FnOnce(&Group) -> T) -> T {
        look(&self.rules.lock().set.groups[0])
    }

    fn states(&self) -> Vec<&'static str> {
        self.group(|group| {
            let alerts = group.rules.iter().flat_map(|rule| rule.alerts.active());
            alerts.map(|alert| alert.state.word()).collect()
        })
    }
}

const AGAIN: &str = "  - {alert: Again, expr: 'increase(weir_tcp_retransmits_total[1m]) > 0'}\n";
const OPEN: &str = "  - {alert: Open, expr: weir_tcp_connections_open > 2}\n";

#[test]
fn the_first_count_of_a_service_that_was_born_is_an_increase() {
    let mut bench = Bench::with(AGAIN);
    bench.set(vec![again(&[("old", 100)])]);
    bench.run(3);
    assert!(bench.firing().is_empty(), "counted before the window");
    bench.set(vec![again(&[("old", 100), ("new", 1)])]);
    bench.run(1);
    assert_eq!(bench.firing(), ["Again new"]);
    bench.run(70);
    assert!(bench.firing().is_empty(), "the window has passed");
    assert_eq!(bench.told(), 2);
}

#[test]
fn a_series_that_is_gone_ends_at_once_and_may_come_again() {
    let mut bench = Bench::with(OPEN);
    bench.set(vec![open(&[("a", 3), ("b", 3)])]);
    bench.run(2);
    assert_eq!(bench.firing(), ["Open a", "Open b"]);
    bench.set(vec![open(&[("b", 3)])]);
    bench.run(1);
    assert_eq!(bench.firing(), ["Open b"]);
    bench.set(vec![open(&[("a", 4), ("b", 3)])]);
    bench.run(1);
    assert_eq!(bench.firing(), ["Open a", "Open b"]);
    assert_eq!(bench.told(), 4);
}

#[test]
fn a_service_under_new_labels_is_none_that_was_born() {
    let mut bench = Bench::with(AGAIN);
    bench.set(vec![again(&[("old", 100)])]);
    bench.run(3);
    let renamed = again(&[("renamed", 100)]);
    bench.rules.relabel(|| bench.set(vec![renamed]));
    bench.run(3);
    assert!(bench.firing().is_empty());
    bench.set(vec![again(&[("renamed", 101)])]);
    bench.run(1);
    assert_eq!(bench.firing(), ["Again renamed"]);
}

#[test]
fn a_clock_that_is_set_neither_resolves_nor_repeats_nor_fulfils_a_wait() {
    const HOUR: i64 = 3_600_000;
    for by_ms in [HOUR, -HOUR] {
        let waits = "  - {alert: Waits, expr: weir_tcp_connections_open > 2, for: 5m}\n";
        let mut bench = Bench::with(&format!("{OPEN}{waits}"));
        bench.set(vec![open(&[("a", 3)])]);
        bench.run(10);
        assert_eq!(bench.states(), ["firing", "pending"]);
        bench.wall_ms += by_ms;
        bench.run(10);
        assert_eq!(bench.states(), ["firing", "pending"], "by {by_ms}");
        assert_eq!(
            (bench.firing(), bench.told()),
            (vec!["Open a".to_owned()], 1)
        );
        bench.run(300);
        assert_eq!(bench.states(), ["firing", "firing"], "it waited its time");
        bench.set(vec![open(&[("a", 1)])]);
        bench.run(2);
        assert!(bench.firing().is_empty(), "by {by_ms}");
        assert_eq!(bench.told(), 4);
    }
}

#[test]
fn counts_go_on_over_a_clock_that_is_set() {
    for by_ms in [3_600_000, -3_600_000] {
        let mut bench = Bench::with(AGAIN);
        bench.set(vec![again(&[("a", 100)])]);
        bench.run(5);
        bench.wall_ms += by_ms;
        bench.run(5);
        assert!(bench.firing().is_empty(), "by {by_ms}");
        bench.set(vec![again(&[("a", 101)])]);
        bench.run(2);
        assert_eq!(bench.firing(), ["Again a"], "by {by_ms}");
    }
}

#[test]
fn an_event_has_an_immediate_group_evaluated_without_a_tick() {
    let config = Alert {
        immediate: vec!["g".to_owned()],
        ..Alert::default()
    };
    let mut bench = Bench::new(AGAIN, config);
    bench.set(vec![again(&[("old", 100)])]);
    bench.run(2);
    assert!(bench.firing().is_empty());
    let start_ms = bench.start_ms();
    bench.rules.change(&[again(&[("new", 1)])], start_ms);
    assert_eq!(bench.firing(), ["Again new"]);
    let pages = bench.rules.log.firing();
    let said = &pages[0].annotations["weir_causes"];
    assert_eq!(said, "loss_timeout: 1 segment sent again after a timeout");
    // What changes another rule's series is nothing to this group.
    let changed = bench.rules.change(&[open(&[("new", 9)])], start_ms);
    assert!(!changed && bench.told() == 1);
}

#[test]
fn a_page_carries_the_causes_of_its_window_until_it_is_resolved() {
    let mut bench = Bench::with(OPEN);
    bench.set(vec![again(&[("a", 0)]), open(&[("a", 0)])]);
    bench.run(2);
    bench.set(vec![again(&[("a", 7)]), open(&[("a", 3)])]);
    bench.run(1);
    let firing = bench.rules.log.firing();
    let said = &firing[0].annotations["weir_causes"];
    assert_eq!(said, "loss_timeout: 7 segments sent again after a timeout");
    assert!(!firing[0].annotations.contains_key("weir_services"));
    assert_eq!(firing[0].status, Status::Firing);
}

#[test]
fn a_rule_that_demands_completeness_waits_while_something_was_not_seen() {
    let demands =
        "  - {alert: Sure, expr: weir_tcp_connections_open > 2, labels: {complete: 'yes'}}\n";
    let config = Alert {
        complete_labels: Pairs::from([("complete".to_owned(), "yes".to_owned())]),
        ..Alert::default()
    };
    let mut bench = Bench::new(&format!("{OPEN}{demands}"), config);
    let lost = |records| Family {
        metric: &metrics::RECORDS_LOST,
        points: vec![Point {
            subject: Arc::default(),
            labels: &[("kind", "owner")],
            value: Value::Int(records),
        }],
    };
    bench.set(vec![open(&[("a", 1)]), lost(0)]);
    bench.run(2);
    bench.set(vec![open(&[("a", 3)]), lost(2)]);
    bench.run(2);
    assert_eq!(bench.firing(), ["Open a"]);
    let said = &bench.rules.log.firing()[0].annotations["weir_incomplete"];
    assert!(
        said.starts_with("records of new processes were lost"),
        "{said}"
    );
    bench.run(310);
    assert_eq!(bench.firing(), ["Open a", "Sure a"]);
}

#[test]
fn a_rule_over_more_series_than_a_query_may_select_fails_with_the_reason() {
    const SERVICES: usize = 100_001;
    let config = Alert {
        store_bytes: 1 << 30,
        ..Alert::default()
    };
    let mut bench = Bench::new(&format!("{OPEN}{AGAIN}"), config);
    let point = |number: usize| Point {
        subject: subject(&number.to_string()),
        labels: &[],
        value: Value::Int(3),
    };
    let all = Family {
        metric: &metrics::TCP_OPEN,
        points: (0..SERVICES).map(point).collect(),
    };
    bench.set(vec![all]);
    bench.run(2);
    let (health, why) = bench.group(|group| {
        let rule = &group.rules[0];
        (rule.health, rule.last_error.clone().unwrap_or_default())
    });
    assert_eq!(health, Health::Err);
    assert!(why.contains("100000") && why.contains("series"), "{why}");
    assert_eq!(bench.group(|group| group.rules[1].health), Health::Ok);
    assert!(bench.firing().is_empty());
}

#[test]
fn the_agent_is_up_to_its_rules_as_to_a_scrape() {
    let rules =
        "  - {alert: Up, expr: 'up{job=\"weir\"} == 1'}\n  - {alert: Gone, expr: absent(up)}\n";
    let config = Alert {
        external_labels: Pairs::from([("job".to_owned(), "weir".to_owned())]),
        ..Alert::default()
    };
    let mut bench = Bench::new(rules, config);
    bench.run(2);
    assert_eq!(bench.states(), ["firing"]);
    bench.run(400);
    assert_eq!(bench.states(), ["firing"]);
}
