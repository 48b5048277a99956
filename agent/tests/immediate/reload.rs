//! What is asked of the kernel follows the rules; what cannot be immediate is said.

use std::time::Duration;

use weir_ebpf::change::EVERY_NS;

use crate::network::Network;
use crate::peer::Peer;
use crate::receiver::Receiver;
use crate::running::{Agent, fail};
use crate::setup::{REFUSED, changes, config, group, refuse, settle, wait, write};

const RETRANSMITS: &str =
    "sum by (service) (increase(weir_tcp_retransmits_total{service=~\"peer-.*\"}[1m]))";
const FREQUENT: &str = "rate(weir_tcp_send_duration_seconds_count[1m]) > 1e12";

#[test]
fn only_what_immediate_groups_select_is_asked_for_also_after_a_reload() {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let groups = [
        group("Refused", &format!("{REFUSED} > 0")),
        group("Lost", &format!("{RETRANSMITS} > 0")),
        group("Busy", FREQUENT),
    ];
    let rules = write(dir.path(), &groups);
    let agent = Agent::start(&config(&rules, &["Lost"], webhook.address));
    settle(&agent);
    let net = Network::new();
    let mut client = Peer::new("peer", &net.a);
    // What others on the machine do meanwhile is told of, too.
    assert!(
        told(&agent, &mut client) < ROUNDS / 2.0,
        "nobody waits for it"
    );
    agent.reload(&config(&rules, &["Refused"], webhook.address));
    wait_for(|| told(&agent, &mut client) >= ROUNDS / 2.0);
    wait(&webhook, "Refused", &client.service);
    agent.reload(&config(&rules, &["Lost"], webhook.address));
    wait_for(|| told(&agent, &mut client) < ROUNDS / 2.0);
}

/// Connections that are refused one after the other, far enough apart to be told of each.
const ROUNDS: f64 = 40.0;

/// How many records of changes come while they are.
fn told(agent: &Agent, client: &mut Peer) -> f64 {
    let before = changes(agent);
    for _ in 0..ROUNDS as usize {
        refuse(client, 1);
        std::thread::sleep(Duration::from_nanos(EVERY_NS + EVERY_NS / 2));
    }
    changes(agent) - before
}

fn wait_for(is_so: impl FnMut() -> bool) {
    let tries = std::iter::repeat_with(is_so).take(50);
    assert!(tries.into_iter().any(|is_so| is_so), "never");
}

#[test]
fn a_rule_that_no_event_concerns_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = "127.0.0.1:9".parse().unwrap();
    let rules = write(dir.path(), &[group("Busy", FREQUENT)]);
    let output = fail(&config(&rules, &["Busy"], nobody), &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(text.lines().count(), 1, "{text}");
    let place = format!("{rules}: 4:5: group \"Busy\", rule 1, \"Busy\": cannot be immediate");
    assert!(text.contains(&place), "{text}");
}

#[test]
fn a_rule_that_no_event_concerns_leaves_the_old_rules_at_work() {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let good = group("Refused", &format!("{REFUSED} > 0"));
    let rules = write(dir.path(), std::slice::from_ref(&good));
    let config = config(&rules, &["Refused"], webhook.address);
    let mut agent = Agent::start(&config);
    settle(&agent);
    write(dir.path(), &[good.replace(REFUSED, "vector(1)")]);
    agent.until("the new rules are refused", |agent| {
        let refused = [("outcome", "refused")];
        agent.scrape().one("weir_rule_reloads_total", &refused) >= 1.0
    });
    assert!(
        agent.log().contains("cannot be immediate"),
        "{}",
        agent.log()
    );
    let net = Network::new();
    let mut client = Peer::new("peer", &net.a);
    refuse(&mut client, 1);
    wait(&webhook, "Refused", &client.service);
}

#[test]
fn what_no_probe_tells_of_is_said_once_and_evaluated_on_the_interval() {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let needless = "sum(weir_tcp_retransmits_spurious_total) >= 0";
    let rules = write(dir.path(), &[group("Needless", needless)]);
    let config = config(&rules, &["Needless"], webhook.address)
        .replace("evaluation_seconds = 86400", "evaluation_seconds = 1")
        + "[kernel]\ndisabled = ['tcp_congestion']\n";
    let mut agent = Agent::start(&config);
    wait(&webhook, "Needless", "");
    agent.reload(&config);
    agent.until("it has read everything again", |agent| {
        let applied = [("outcome", "applied")];
        agent.scrape().one("weir_rule_reloads_total", &applied) >= 1.0
    });
    let log = agent.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("the probes that would tell of these"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("weir_tcp_retransmits_spurious_total"),
        "{log}"
    );
}
