//! Retransmitted segments against the kernel's RetransSegs, and needless ones against what DSACK
//! told it. Only the two peers' sockets are in the namespaces that are asked, and only they have the
//! services that are asked for.

use std::time::{Duration, Instant};

use weir::event;
use weir::metrics::{self, Source as _};

use weir_ebpf::change::Fact;

use crate::agent::{Agent, Numbers};
use crate::change::Changes;
use crate::fact::{count_in_tries, fact, may_run};
use crate::network::{B, Network};
use crate::peer::Peer;

pub(crate) const KINDS: [&str; 5] = ["rto", "fast", "tlp", "syn", "synack"];

/// Segments of each kind that a service sent again.
pub(crate) fn kinds(numbers: &Numbers, service: &str) -> [u64; 5] {
    KINDS.map(|kind| numbers.int(&metrics::TCP_RETRANSMITS, service, &[("kind", kind)]))
}

/// A connection from `a` to `b` over port 5001, by number 0 on both sides.
pub(crate) fn connected(net: &Network) -> (Peer, Peer) {
    let (mut client, mut server) = (Peer::new("client", &net.a), Peer::new("server", &net.b));
    server.ask("listen 5001");
    assert_eq!(client.ask(&format!("connect {B} 5001")), "0");
    assert_eq!(server.ask("accept"), "0");
    (client, server)
}

/// Waits until nothing is sent any more, then gives what the kernel counted under a name.
fn settled(net: &Network, space: &str, name: &str) -> u64 {
    let mut last = net.counters(space)[name];
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        std::thread::sleep(Duration::from_millis(700));
        let now = net.counters(space)[name];
        if now == last || Instant::now() > end {
            return now;
        }
        last = now;
    }
}

/// Sends through loss until there are `wanted` retransmits, and compares.
pub(crate) fn lose(agent: &Agent, wanted: u64, figures: &mut Vec<String>) {
    let net = Network::new();
    let (mut client, mut server) = connected(&net);
    server.ask("sink 0");
    net.rule(&net.b, "tcp dport 5001 numgen random mod 100 < 3 drop");
    let end = Instant::now() + Duration::from_secs(60);
    while net.counters(&net.a)["TcpRetransSegs"] < wanted && Instant::now() < end {
        client.ask("send 0 4000000 65536");
    }
    net.clear(&net.b);
    client.ask("close 0");
    let (mut truth, mut failed) = (0, 0);
    for space in [&net.a, &net.b] {
        truth += settled(&net, space, "TcpRetransSegs");
        failed += net.counters(space)["TcpExtTCPRetransFail"];
    }
    let numbers = agent.look();
    let by_kind = kinds(&numbers, &client.service);
    let of_server = kinds(&numbers, &server.service);
    let seen: u64 = by_kind.iter().chain(&of_server).sum();
    let missed = numbers.missed();
    let other: u64 = kinds(&numbers, "other").iter().sum();
    figures.push(format!(
        "weir={seen} RetransSegs={truth} RetransFail={failed} kinds={by_kind:?}"
    ));
    figures.push(format!("missed={missed} other={other}"));
    assert!(truth >= wanted, "only {truth} segments were sent again");
    assert!(seen <= truth, "{figures:?}");
    // A program does not run inside itself: a retransmit in an interrupt of another's is not seen,
    // and the kernel says so.
    assert!(missed > 0 || truth - seen <= failed, "{figures:?}");
}

#[test]
fn retransmits_are_the_kernels_own_to_the_segment() {
    count_in_tries(compare_retransmits);
}

fn compare_retransmits() {
    if may_run("retransmits") {
        let agent = Agent::new();
        fact("retransmits", agent.rung("tcp_retransmit"), |figures| {
            lose(&agent, 500, figures)
        });
    }
}

#[test]
fn a_perf_buffer_carries_what_a_ring_does() {
    count_in_tries(compare_transports);
}

fn compare_transports() {
    if !may_run("perf-transport") {
        return;
    }
    for transport in ["perf", "ring"] {
        fact("records", transport, |figures| {
            let agent = Agent::with(&format!("transport = \"{transport}\"")).unwrap();
            let mut records = agent
                .collector()
                .with_kernel(|kernel| kernel.records())
                .unwrap();
            let owner: [(&str, &str); 1] = [("kind", "owner")];
            // Until now there was nobody to take records.
            let before = agent.look();
            let since = |now: &Numbers, metric| {
                now.int(metric, "", &owner) - before.int(metric, "", &owner)
            };
            records.drain(|_| ());
            lose(&agent, 50, figures);
            let (mut decoded, mut broken) = (0, 0);
            records.drain(|bytes| match event::decode(bytes) {
                Ok(event) => {
                    decoded += 1;
                    agent.collector().apply(&event);
                }
                Err(_) => broken += 1,
            });
            let numbers = agent.look();
            let sent = since(&numbers, &metrics::RECORDS_SENT);
            let lost = since(&numbers, &metrics::RECORDS_LOST);
            figures.push(format!(
                "sent={sent} received={decoded} lost={lost} broken={broken}"
            ));
            assert!(decoded >= 2 && broken == 0 && lost == 0, "{figures:?}");
            // Others on this machine may begin between the two looks.
            assert!(sent >= decoded && sent - decoded <= 5, "{figures:?}");
            assert!(agent.collector().snapshot().points() > 0);
        });
    }
}

#[test]
fn needless_retransmits_are_those_that_dsack_reported() {
    count_in_tries(compare_needless);
}

fn compare_needless() {
    if !may_run("spurious") {
        return;
    }
    let agent = Agent::new();
    let mut changes = Changes::of(&agent);
    changes.ask(Fact::Needless.into());
    fact("spurious", agent.rung("tcp_congestion"), |figures| {
        let net = Network::new();
        let (mut client, mut server) = connected(&net);
        server.ask("sink 0");
        client.ask("send 0 200000 10000");
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..3 {
            // All data arrives, but no confirmation for longer than a timeout.
            net.rule(&net.a, "tcp sport 5001 drop");
            client.ask("send 0 20000 5000");
            std::thread::sleep(Duration::from_millis(1000));
            net.clear(&net.a);
            std::thread::sleep(Duration::from_millis(1500));
        }
        let counters = net.counters(&net.a);
        let retransmitted = counters["TcpRetransSegs"];
        // The kernel counts segments since 5.10.
        let reported = counters["TcpExtTCPDSACKRecvSegs"];
        let by_ss = net.sockets(&net.a, 5001)[0].number("dsack_dups");
        let seen = agent
            .look()
            .int(&metrics::TCP_RETRANSMITS_SPURIOUS, &client.service, &[]);
        figures.push(format!(
            "weir={seen} DSACKRecvSegs={reported} ss={by_ss} RetransSegs={retransmitted}"
        ));
        figures.push(format!("undo={}", counters["TcpExtTCPDSACKUndo"]));
        assert!(reported > 0, "no segment was sent needlessly: {figures:?}");
        assert_eq!(by_ss, reported);
        // An episode that was undone before its DSACK came may be counted as a whole as well.
        assert_eq!(seen, reported, "{figures:?}");
        assert!(seen <= retransmitted);
        let told = changes.told();
        let needless = (client.service.clone(), Fact::Needless);
        figures.push(format!("told={}", told.len()));
        // Without that probe (before 5.19) nobody sees an episode end: a tick finds the count.
        let sees_ends = agent.rung("tcp_congestion") != "-";
        assert_eq!(told.contains(&needless), sees_ends, "{told:?} {figures:?}");
    });
}
