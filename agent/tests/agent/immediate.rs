//! From a kernel event to a page, with groups whose ticks are too far apart to bring it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::running::Agent;
use crate::webhook::Receiver;

/// Two groups: one waits for connections that fail, one only knows what is frequent.
const RULES: &str = r#"
groups:
- name: connections
  rules:
  - alert: Refused
    expr: increase(weir_tcp_connections_total{outcome="refused"}[1m]) > 0
    annotations: {summary: "{{ $value }} refused"}
- name: sends
  rules:
  - alert: Busy
    expr: rate(weir_tcp_send_duration_seconds_count[1m]) > 1e12
"#;

fn write(dir: &Path, rules: &str) -> String {
    let file = dir.join("rules.yaml");
    std::fs::write(&file, rules).unwrap();
    file.display().to_string()
}

fn config(rules: &str, webhook: SocketAddr, immediate: &str) -> String {
    format!(
        "[alert]\nrule_files = ['{rules}']\nimmediate = [{immediate}]\nevaluation_seconds = 86400\n\
         state_dir = ''\n[[alert.webhook]]\nname = 'w'\nurl = 'http://{webhook}/'\n"
    )
}

/// An address that refuses connections.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Services that are said to be refused, in order.
fn refused(webhook: &Receiver) -> Vec<String> {
    let seen = webhook.seen();
    let alerts = seen.iter().flat_map(crate::webhook::Seen::alerts);
    let alerts = alerts.filter(|alert| alert["labels"]["alertname"] == "Refused");
    alerts
        .map(|alert| alert["labels"]["service"].as_str().unwrap().to_owned())
        .collect()
}

/// Records of changes that the kernel has sent.
fn changes(agent: &Agent) -> f64 {
    let series = agent.scrape();
    series.one("weir_records_sent_total", &[("kind", "change")])
}

/// This process as a service.
fn own_name() -> String {
    let program = std::env::current_exe().unwrap();
    program.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_refused_connection_pages_without_a_tick() {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let rules = write(dir.path(), RULES);
    let closed = closed();
    let both = config(&rules, webhook.address, "'connections', 'sends'");
    let agent = Agent::start(&both);
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains("on its tick only"));
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() == 1 && lines[0].contains("sends"), "{log}");

    assert!(TcpStream::connect(closed).is_err());
    webhook.until("the page is there", |webhook| {
        refused(webhook).contains(&own_name())
    });
    assert!(changes(&agent) > 0.0);
    let told = || {
        refused(&webhook)
            .iter()
            .filter(|name| **name == own_name())
            .count()
    };
    // What goes on firing is no news.
    for _ in 0..100 {
        assert!(TcpStream::connect(closed).is_err());
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(told(), 1, "{:?}", webhook.seen());
}

#[test]
fn only_what_immediate_groups_select_is_asked_for_also_after_a_reload() {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let rules = write(dir.path(), RULES);
    let closed = closed();
    let mut agent = Agent::start(&config(&rules, webhook.address, "'sends'"));
    for _ in 0..100 {
        assert!(TcpStream::connect(closed).is_err());
    }
    assert_eq!(changes(&agent), 0.0, "nothing was asked for");
    agent.reload(&config(&rules, webhook.address, "'connections'"));
    agent.until("it asks", |agent| {
        assert!(TcpStream::connect(closed).is_err());
        changes(agent) > 0.0
    });
    webhook.until("the page is there", |webhook| {
        refused(webhook).contains(&own_name())
    });
}
