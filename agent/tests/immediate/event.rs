//! One event of each kind, and its page.

use std::time::Duration;

use crate::network::Network;
use crate::peer::Peer;
use crate::receiver::Receiver;
use crate::running::Agent;
use crate::setup::{
    OPEN, REFUSED, changes, config, connected, fired, group, reactions, refuse, settle, wait, write,
};

/// An agent with one immediate group, and the receiver of its pages.
fn start(expr: &str) -> (Agent, Receiver, tempfile::TempDir) {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let rules = write(dir.path(), &[group("Event", expr)]);
    let agent = Agent::start(&config(&rules, &["Event"], webhook.address));
    settle(&agent);
    (agent, webhook, dir)
}

/// What evaluated the rule were events alone.
fn check(agent: &Agent) {
    let series = agent.scrape();
    let done = series.one("weir_rule_evaluations_total", &[("outcome", "done")]);
    let reacted = series.sum("weir_rule_reactions_total", &[]);
    assert!(
        reacted > 0.0 && done <= reactions(agent),
        "{done} {reacted}"
    );
    let failed = series.one("weir_rule_evaluations_total", &[("outcome", "failed")]);
    assert_eq!(failed, 0.0);
}

#[test]
fn a_segment_that_is_sent_again_pages_without_a_tick() {
    let retransmits = "weir_tcp_retransmits_total{service=~\"peer-.*\"}";
    let (agent, webhook, _dir) = start(&format!(
        "sum by (service) (increase({retransmits}[1m])) > 0"
    ));
    let net = Network::new();
    let (mut client, _server) = connected(&net);
    net.rule(&net.b, &format!("tcp dport {OPEN} drop"));
    assert_eq!(client.ask("send 0 100 100"), "ok");
    wait(&webhook, "Event", &client.service);
    check(&agent);
}

#[test]
fn a_refused_connection_pages_without_a_tick_and_once() {
    let (agent, webhook, _dir) = start(&format!("{REFUSED} > 0"));
    let net = Network::new();
    let (mut client, mut other) = (Peer::new("peer", &net.a), Peer::new("peer", &net.a));
    refuse(&mut client, 1);
    wait(&webhook, "Event", &client.service);
    assert!(changes(&agent) > 0.0);
    // What goes on firing is no news. The other's page tells that they were looked at.
    refuse(&mut client, 100);
    refuse(&mut other, 1);
    wait(&webhook, "Event", &other.service);
    let all = fired(&webhook, "Event");
    let of_client = all.iter().filter(|name| **name == client.service);
    assert_eq!(of_client.count(), 1, "{all:?}");
    check(&agent);
}

#[test]
fn a_window_that_shuts_pages_without_a_tick() {
    let shut = "weir_tcp_zero_window_time_seconds_total{service=~\"peer-.*\"}";
    let (agent, webhook, _dir) = start(&format!("increase({shut}[1m]) > 0"));
    let net = Network::new();
    let (mut client, mut server) = connected(&net);
    server.ask("option 0 rcvbuf 65536");
    // Nobody reads.
    client.tell("send 0 2000000 2000000");
    wait(&webhook, "Event", &client.service);
    server.ask("sink 0");
    assert_eq!(client.answer(), "ok");
    check(&agent);
}

#[test]
fn a_window_shorter_than_the_interval_still_sees_the_event() {
    let refused = REFUSED.replace("[1m]", "[1s]").replace("peer-.*", ".*");
    let (mut agent, webhook, _dir) = start(&format!("{refused} > 0"));
    agent.until("it knows its series", |agent| {
        agent.scrape().sum("weir_rule_series", &[]) > 0.0
    });
    // Longer than the window: neither the series' beginning nor its last sample lies in it.
    std::thread::sleep(Duration::from_secs(2));
    let net = Network::new();
    let mut client = Peer::new("peer", &net.a);
    refuse(&mut client, 1);
    wait(&webhook, "Event", &client.service);
    check(&agent);
}
