//! How long it takes from a kernel event to the decision of the rules that wait for it.
//!
//! Real rules, store and log in memory; then, as root, also the real kernel: a refused connection,
//! from its record in the ring to the decision. Each event comes 51 ms after the one before, so that
//! no group is held back by its spacing, and caches are as cold as they are in practice: the processor
//! sleeps meanwhile. One case keeps it awake, to tell what the code takes from what the sleep takes.
//!
//! `cargo run --release -p weir --example decide -- [EVENTS]` prints a line of JSON per case.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should say where"
)]

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir::alert::api::Engine as _;
use weir::alert::config::Alert;
use weir::alert::engine::{Rules, load};
use weir::alert::log::Log;
use weir::config::Config;
use weir::metrics::{self, Family, Labels, Metric, Point, Snapshot, Source, Subject, Value};
use weir::reader::Reader;

/// Services of the node.
const SERVICES: usize = 200;
/// More than the least time between two evaluations of a group.
const SPACING: Duration = Duration::from_millis(51);

fn main() {
    let events = std::env::args().nth(1);
    let events = events.map_or(1_000, |text| text.parse().unwrap());
    let threshold = |rule| format!("increase(weir_tcp_retransmits_total[1m]) > {rule}");
    for (name, rules, pause) in [
        ("1 rule", 1, sleep as fn(Duration)),
        ("1 rule, processor awake", 1, stay_awake),
        ("1 group of 50 rules", 50, sleep),
    ] {
        let text = file(1, rules, |_, rule| threshold(rule));
        report(name, rules, &synthetic(&text, events, |_| 0, pause));
    }
    // Each event is the first of its service: one of these rules begins to fire.
    let own = |group| format!("increase(weir_tcp_retransmits_total{{service='s{group}'}}[1m]) > 0");
    let text = file(SERVICES, 1, |group, _| own(group));
    let events_of_own = events.min(SERVICES);
    report(
        "200 groups of 1 rule, 1 begins to fire",
        1,
        &synthetic(&text, events_of_own, |event| event, sleep),
    );
    if rustix::process::geteuid().is_root() {
        let refused = "increase(weir_tcp_connections_total{outcome='refused'}[1m]) > ";
        for (name, rules) in [("kernel, 1 rule", 1), ("kernel, 1 group of 50 rules", 50)] {
            let text = file(1, rules, |_, rule| format!("{refused}{rule}"));
            report(name, rules, &live(&text, events));
        }
    } else {
        eprintln!("SKIP the kernel's part: loading probes needs root");
    }
}

/// A rule file.
fn file(groups: usize, rules: usize, expr: impl Fn(usize, usize) -> String) -> String {
    let mut text = "groups:\n".to_owned();
    for group in 0..groups {
        writeln!(text, "- name: g{group}\n  rules:").unwrap();
        for rule in 0..rules {
            let expr = expr(group, rule);
            writeln!(text, "  - {{alert: A{rule}, expr: \"{expr}\"}}").unwrap();
        }
    }
    text
}

/// Rules of a file, all of whose groups are immediate and without ticks.
fn rules(text: &str, dir: &Path, source: Arc<dyn Source>) -> Rules {
    let file = dir.join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("- name: "));
    let config = Alert {
        rule_files: vec![file.display().to_string()],
        immediate: names.map(str::to_owned).collect(),
        evaluation_seconds: 86_400.0,
        ..Alert::default()
    };
    let files = load(&config).unwrap();
    let log = Log::in_memory(config.log_limits());
    Rules::new(&config, files, source, log, Arc::default())
}

fn stay_awake(length: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// Families as the collector makes them of one service, to the decision.
fn synthetic(
    text: &str,
    events: usize,
    whose: impl Fn(usize) -> usize,
    pause: fn(Duration),
) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(Node::new());
    let rules = rules(text, dir.path(), node.clone());
    // Takes all series of all services in.
    rules.tick();
    let took = (0..events).map(|event| {
        pause(SPACING);
        let families = [node.retransmits(whose(event), event as u64 + 1)];
        let begun = Instant::now();
        let decided = rules.change(&families, node.start_ms());
        let took = begun.elapsed();
        assert!(decided, "event {event} was not evaluated");
        rules.tick();
        took.as_nanos() as f64 / 1e3
    });
    took.collect()
}

/// A record of the kernel in the ring, to the decision: what a look of the reader takes.
fn live(text: &str, events: usize) -> Vec<f64> {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::default();
    let mut kernel = weir::start::kernel(&config).unwrap();
    let records = kernel.records().unwrap();
    let collector = Arc::new(weir::start::collector(&config, kernel));
    collector.seed();
    let rules = Arc::new(rules(text, dir.path(), collector.clone()));
    rules.tick();
    collector.ask(*rules.asked().borrow());
    let mut reader = Reader::new(records, collector, Some(rules.clone()));
    let closed = closed();
    let mut took = Vec::new();
    for _ in 0..events + 1 {
        let before_ms = rules.groups().first().map(|group| group.last_evaluation);
        let _ = TcpStream::connect(closed);
        let begun = Instant::now();
        assert!(reader.look(), "no record came");
        took.push(begun.elapsed().as_nanos() as f64 / 1e3);
        let evaluated_ms = rules.groups().first().map(|group| group.last_evaluation);
        assert!(evaluated_ms > before_ms, "it was not evaluated");
        rules.tick();
        sleep(SPACING);
        // The second look at the same event, and whatever else happened.
        while reader.look() {
            sleep(SPACING);
        }
        sleep(SPACING);
    }
    // The first names this process.
    took.split_off(1)
}

/// An address that refuses connections.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A node of some services.
struct Node {
    services: Vec<Arc<Subject>>,
    start_unix_ns: u64,
}

impl Node {
    fn new() -> Self {
        let labels = |n| vec![("service", format!("s{n}"))];
        let subject = |n| Arc::new(Subject { labels: labels(n) });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            services: (0..SERVICES).map(subject).collect(),
            start_unix_ns: now.as_nanos() as u64,
        }
    }

    fn start_ms(&self) -> i64 {
        (self.start_unix_ns / 1_000_000) as i64
    }

    fn retransmits(&self, service: usize, segments: u64) -> Family {
        const KINDS: [Labels; 5] = [
            &[("kind", "rto")],
            &[("kind", "fast")],
            &[("kind", "tlp")],
            &[("kind", "syn")],
            &[("kind", "synack")],
        ];
        let metric: &'static Metric = &metrics::TCP_RETRANSMITS;
        // All of one kind, as a tail loss makes them.
        let points = KINDS.map(|labels| Point {
            subject: Arc::clone(&self.services[service]),
            labels,
            value: Value::Int(if labels[0].1 == "tlp" { segments } else { 0 }),
        });
        Family {
            metric,
            points: points.into(),
        }
    }
}

impl Source for Node {
    fn snapshot(&self) -> Snapshot {
        let all = (0..SERVICES).flat_map(|service| self.retransmits(service, 0).points);
        Snapshot {
            start_unix_ns: self.start_unix_ns,
            at_unix_ns: self.start_unix_ns,
            families: vec![Family {
                metric: &metrics::TCP_RETRANSMITS,
                points: all.collect(),
            }],
        }
    }
}

fn report(name: &str, rules: usize, took_us: &[f64]) {
    println!(
        "{}",
        serde_json::json!({"name": name, "rules": rules, "took_us": took_us})
    );
}
