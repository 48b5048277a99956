//! Rules, configuration, and what came of them.

use std::net::SocketAddr;
use std::path::Path;

use crate::network::{B, Network};
use crate::peer::Peer;
use crate::receiver::Receiver;
use crate::running::Agent;

/// Where peers listen.
pub(crate) const OPEN: u16 = 5001;
/// Where nobody does.
pub(crate) const CLOSED: u16 = 5009;

/// Connections that fail.
pub(crate) const REFUSED: &str =
    "increase(weir_tcp_connections_total{outcome=\"refused\", service=~\"peer-.*\"}[1m])";

/// A group of one alert by the group's name.
pub(crate) fn group(name: &str, expr: &str) -> String {
    format!(
        "- name: {name}\n  rules:\n  - alert: {name}\n    expr: '{expr}'\n    \
         for: 0s\n    annotations: {{summary: \"{{{{ $value }}}}\"}}\n"
    )
}

/// Writes a rule file; gives its path.
pub(crate) fn write(dir: &Path, groups: &[String]) -> String {
    let file = dir.join("rules.yaml");
    std::fs::write(&file, format!("groups:\n{}", groups.concat())).unwrap();
    file.display().to_string()
}

/// Immediate groups with a day between evaluations, and one webhook.
pub(crate) fn config(rules: &str, immediate: &[&str], webhook: SocketAddr) -> String {
    format!(
        "[alert]\nrule_files = ['{rules}']\nimmediate = {immediate:?}\n\
         evaluation_seconds = 86400\nstate_dir = ''\n{}",
        receiver("w", webhook)
    )
}

/// A webhook's section.
pub(crate) fn receiver(name: &str, address: SocketAddr) -> String {
    format!(
        "[[alert.webhook]]\nname = '{name}'\nurl = 'http://{address}/'\ntimeout_seconds = 1.0\n"
    )
}

/// Services of which a webhook was told that an alert fires for them, in order.
pub(crate) fn fired(webhook: &Receiver, alert: &str) -> Vec<String> {
    let seen = webhook.seen();
    let alerts = seen.iter().flat_map(crate::receiver::Seen::alerts);
    let alerts =
        alerts.filter(|page| page["labels"]["alertname"] == alert && page["status"] == "firing");
    alerts
        .map(|page| page["labels"]["service"].as_str().unwrap_or("").to_owned())
        .collect()
}

/// Waits for the page of a service.
pub(crate) fn wait(webhook: &Receiver, alert: &str, service: &str) {
    webhook.until(&format!("{alert} of {service}"), |webhook| {
        fired(webhook, alert).iter().any(|name| name == service)
    });
}

/// Waits until the agent has asked the kernel: it does so before it answers for the first time.
pub(crate) fn settle(agent: &Agent) {
    assert!(agent.scrape().sum("weir_rules", &[]) > 0.0);
}

/// Evaluations because of events.
pub(crate) fn reactions(agent: &Agent) -> f64 {
    agent.scrape().sum("weir_rule_reactions_total", &[])
}

/// Records of changes that the kernel has sent.
pub(crate) fn changes(agent: &Agent) -> f64 {
    let series = agent.scrape();
    series.one("weir_records_sent_total", &[("kind", "change")])
}

/// A client and a server with a connection, and the numbers of its sockets at either.
pub(crate) fn connected(net: &Network) -> (Peer, Peer) {
    let (mut client, mut server) = (Peer::new("peer", &net.a), Peer::new("server", &net.b));
    server.ask(&format!("listen {OPEN}"));
    assert_eq!(client.ask(&format!("connect {B} {OPEN}")), "0");
    assert_eq!(server.ask("accept"), "0");
    (client, server)
}

/// Connections that are refused.
pub(crate) fn refuse(client: &mut Peer, times: usize) {
    assert_eq!(client.number(&format!("visit {B} {CLOSED} {times}")), 0);
}
