//! Connections by outcome and role, many and short.

use weir::metrics;

use crate::agent::{Agent, Numbers};
use crate::fact::{count_in_tries, fact, is_emulated, may_run, skip};
use crate::network::{B, Network};
use crate::peer::Peer;
use crate::retransmit::connected;

fn count(numbers: &Numbers, peer: &Peer, role: &str, outcome: &str) -> u64 {
    let labels = [("role", role), ("outcome", outcome)];
    numbers.int(&metrics::TCP_CONNECTIONS, &peer.service, &labels)
}

/// All outcomes of a role, in this order.
const OUTCOMES: [&str; 7] = [
    "opened",
    "closed",
    "refused",
    "timed_out",
    "reset",
    "unreachable",
    "aborted",
];

fn all(numbers: &Numbers, peer: &Peer, role: &str) -> [u64; 7] {
    OUTCOMES.map(|outcome| count(numbers, peer, role, outcome))
}

#[test]
fn ten_thousand_short_connections_are_counted_exactly() {
    count_in_tries(compare_short_connections);
}

fn compare_short_connections() {
    if !may_run("connections") {
        return;
    }
    let agent = Agent::new();
    fact("connections", agent.rung("tcp_state"), |figures| {
        let wanted = if is_emulated() { 3_000 } else { 10_000 };
        let net = Network::new();
        let (mut client, mut server) = (Peer::new("client", &net.a), Peer::new("server", &net.b));
        server.ask("listen 5001");
        server.ask("serve");
        assert_eq!(client.number(&format!("visit {B} 5001 {wanted}")), wanted);
        let numbers = agent.look_until(|now| count(now, &server, "accepted", "closed") == wanted);
        let connected = all(&numbers, &client, "connected");
        let accepted = all(&numbers, &server, "accepted");
        let truth = (net.counters(&net.a), net.counters(&net.b));
        figures.push(format!("connected={connected:?} accepted={accepted:?}"));
        assert_eq!(truth.0["TcpActiveOpens"], wanted);
        assert_eq!(truth.1["TcpPassiveOpens"], wanted);
        assert_eq!(connected, [wanted, wanted, 0, 0, 0, 0, 0]);
        assert_eq!(accepted, [wanted, wanted, 0, 0, 0, 0, 0]);
        assert_eq!(all(&numbers, &client, "accepted"), [0; 7]);
        assert_eq!(all(&numbers, &server, "connected"), [0; 7]);
        for peer in [&client, &server] {
            let lives = numbers.histogram(&metrics::TCP_CONNECTION_DURATION, &peer.service);
            assert_eq!(lives.count(), wanted, "lives of {}", peer.service);
            assert_eq!(numbers.int(&metrics::TCP_OPEN, &peer.service, &[]), 0);
        }
    });
}

#[test]
fn connections_that_fail_say_how() {
    count_in_tries(compare_failures);
}

fn compare_failures() {
    if !may_run("failures") {
        return;
    }
    let agent = Agent::new();
    fact("failures", agent.rung("tcp_state"), |figures| {
        let net = Network::new();
        net.sysctl(&net.a, "net/ipv4/tcp_syn_retries", "1");
        let mut client = Peer::new("client", &net.a);
        for _ in 0..25 {
            assert_eq!(
                client.ask(&format!("connect {B} 5009")),
                "ConnectionRefused"
            );
        }
        net.rule(
            &net.b,
            "tcp dport 5008 drop\ntcp dport 5007 reject with icmp type host-unreachable",
        );
        for _ in 0..2 {
            assert_eq!(client.ask(&format!("connect {B} 5008")), "TimedOut");
        }
        for _ in 0..3 {
            assert_eq!(client.ask(&format!("connect {B} 5007")), "HostUnreachable");
        }
        for _ in 0..4 {
            client.ask(&format!("give-up {B} 5008"));
        }
        let numbers = agent.look();
        let seen = all(&numbers, &client, "connected");
        let missed = numbers.missed();
        figures.push(format!(
            "{OUTCOMES:?}={seen:?} missed={missed} lost={}",
            numbers.services()
        ));
        assert_eq!(seen, [0, 0, 25, 2, 0, 3, 4]);
        // The kernel counts what failed from SYN_SENT, however it did.
        assert_eq!(net.counters(&net.a)["TcpActiveOpens"], 25 + 2 + 3 + 4);
    });
    skip(
        "failures-reset",
        agent.rung("tcp_state"),
        "a reset before the connection is open: the kernel answers ECONNREFUSED to one in SYN_SENT, and SYN_RECV sockets are open within the same packet",
    );
}

#[test]
fn a_reset_closes_what_was_open() {
    if !may_run("reset") {
        return;
    }
    let agent = Agent::new();
    fact("reset-when-open", agent.rung("tcp_state"), |figures| {
        let net = Network::new();
        let (mut client, mut server) = connected(&net);
        server.ask("sink 0");
        client.ask("send 0 100 100");
        client.ask("reset 0");
        let numbers = agent.look_until(|now| count(now, &server, "accepted", "closed") == 1);
        let seen = [
            all(&numbers, &client, "connected"),
            all(&numbers, &server, "accepted"),
        ];
        figures.push(format!("connected={:?} accepted={:?}", seen[0], seen[1]));
        assert_eq!(seen, [[1, 1, 0, 0, 0, 0, 0]; 2]);
    });
}
