//! Very many events: pages come, evaluations and memory stay bounded.

use std::time::Instant;

use crate::network::{B, Network};
use crate::peer::Peer;
use crate::receiver::Receiver;
use crate::running::Agent;
use crate::setup::{CLOSED, REFUSED, config, fired, group, settle, wait, write};

/// Services, and connections of each that are refused.
const SERVICES: usize = 8;
const TIMES: usize = 5_000;
/// Immediate groups.
const GROUPS: usize = 4;
/// Least milliseconds between two evaluations of a group.
const SPACING_MS: u128 = 50;

/// Resident bytes of a process.
fn resident(agent: &Agent) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() << 10
}

#[test]
fn a_storm_pages_for_everyone_and_is_evaluated_in_bounded_number() {
    let (dir, webhook) = (tempfile::tempdir().unwrap(), Receiver::start());
    let names: Vec<_> = (0..GROUPS).map(|n| format!("Group{n}")).collect();
    let groups: Vec<_> = names
        .iter()
        .map(|name| group(name, &format!("{REFUSED} > 0")))
        .collect();
    let rules = write(dir.path(), &groups);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let agent = Agent::start(&config(&rules, &names, webhook.address));
    settle(&agent);
    let before = resident(&agent);
    let net = Network::new();
    let mut peers: Vec<_> = (0..SERVICES).map(|_| Peer::new("peer", &net.a)).collect();
    for peer in &mut peers {
        peer.tell(&format!("visit {B} {CLOSED} {TIMES}"));
    }
    for peer in &mut peers {
        assert_eq!(peer.answer(), "0");
    }
    for (peer, name) in peers
        .iter()
        .flat_map(|peer| names.iter().map(move |n| (peer, n)))
    {
        wait(&webhook, name, &peer.service);
    }
    let series = agent.scrape();
    let most = GROUPS as u128 * (begun.elapsed().as_millis() / SPACING_MS + 1);
    let reactions = series.sum("weir_rule_reactions_total", &[]);
    assert!(
        reactions > 0.0 && reactions <= most as f64,
        "{reactions} of {most}"
    );
    let grown = resident(&agent).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    let refused: f64 = peers
        .iter()
        .map(|peer| {
            let labels = [("outcome", "refused"), ("service", peer.service.as_str())];
            series.sum("weir_tcp_connections_total", &labels)
        })
        .sum();
    assert_eq!(refused, (SERVICES * TIMES) as f64);
    for name in &names {
        let mut all = fired(&webhook, name);
        let pages = all.len();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), pages), (SERVICES, SERVICES), "{all:?}");
    }
}
