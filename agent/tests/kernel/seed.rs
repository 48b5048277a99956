//! Connections from before the agent against those from after.

use std::time::Duration;

use weir::metrics;

use crate::agent::{Agent, Numbers};
use crate::fact::{fact, may_run};
use crate::flow::{TICK, clocks_by_ss};
use crate::network::Network;
use crate::peer::Peer;
use crate::retransmit::connected;

/// Moves data both ways. The reader comes late, so that its window is a limit for a while; and there
/// is a pause for the last confirmations.
fn transfer(client: &mut Peer, server: &mut Peer) {
    for (from, to, bytes) in [(0, 1, 3_000_000), (1, 0, 500_000)] {
        let peers = [&mut *client, &mut *server];
        peers[from].tell(&format!("send 0 {bytes} 20000"));
        std::thread::sleep(Duration::from_millis(400));
        let peers = [&mut *client, &mut *server];
        peers[to].ask(&format!("receive 0 {bytes}"));
        let peers = [&mut *client, &mut *server];
        peers[from].answer();
    }
    std::thread::sleep(Duration::from_millis(300));
}

/// Bytes out, bytes in, confirmed, open, sends.
fn seen(numbers: &Numbers, peer: &Peer) -> [u64; 5] {
    let service = &peer.service;
    let io = |direction| numbers.int(&metrics::TCP_IO, service, &[("direction", direction)]);
    [
        io("transmit"),
        io("receive"),
        numbers.int(&metrics::TCP_ACKED, service, &[]),
        numbers.int(&metrics::TCP_OPEN, service, &[]),
        numbers
            .histogram(&metrics::TCP_SEND_DURATION, service)
            .count(),
    ]
}

fn closed(numbers: &Numbers, peer: &Peer, role: &str) -> u64 {
    let labels = [("role", role), ("outcome", "closed")];
    numbers.int(&metrics::TCP_CONNECTIONS, &peer.service, &labels)
}

#[test]
fn a_connection_from_before_counts_like_one_from_after() {
    if !may_run("seeding") {
        return;
    }
    let (old_net, new_net) = (Network::new(), Network::new());
    let (mut old_client, mut old_server) = connected(&old_net);
    old_server.ask("option 0 rcvbuf 65536");
    transfer(&mut old_client, &mut old_server);
    let before = clocks_by_ss(&old_net.sockets(&old_net.a, 5001)[0]);
    let agent = Agent::new();
    fact("seeding", agent.rung("tcp_state"), |figures| {
        let numbers = agent.look();
        for peer in [&old_client, &old_server] {
            assert_eq!(
                seen(&numbers, peer),
                [0, 0, 0, 1, 0],
                "counted from before the agent"
            );
        }
        let (mut client, mut server) = connected(&new_net);
        server.ask("option 0 rcvbuf 65536");
        transfer(&mut old_client, &mut old_server);
        transfer(&mut client, &mut server);
        let numbers = agent.look();
        let old = [&old_client, &old_server].map(|peer| seen(&numbers, peer));
        let mut new = [&client, &server].map(|peer| seen(&numbers, peer));
        figures.push(format!("before={old:?} after={new:?}"));
        // The SYN, which only the new client sent while it was looked at.
        new[0][0] -= 1;
        new[0][2] -= 1;
        assert_eq!(old, new);
        let of = |limit| {
            let service = &old_client.service;
            numbers.seconds(&metrics::TCP_LIMITED_TIME, service, &[("limit", limit)])
        };
        let after = clocks_by_ss(&old_net.sockets(&old_net.a, 5001)[0]);
        for (at, limit) in ["busy", "receive_window", "send_buffer"]
            .into_iter()
            .enumerate()
        {
            let (weir, truth) = (of(limit), after[at] - before[at]);
            figures.push(format!("{limit}: weir={weir:.3} ss={truth:.3}"));
            assert!((weir - truth).abs() <= TICK + 1e-6, "{figures:?}");
        }
        assert!(
            before[1] > 0.2 && of("receive_window") > 0.2,
            "no limit: {figures:?}"
        );
        for peer in [&mut client, &mut server, &mut old_client, &mut old_server] {
            peer.ask("close 0");
        }
        let is_done = |now: &Numbers| closed(now, &old_server, "accepted") == 1;
        let numbers = agent.look_until(is_done);
        assert_eq!(closed(&numbers, &old_client, "connected"), 1);
        assert_eq!(closed(&numbers, &old_server, "accepted"), 1);
        assert_eq!(seen(&numbers, &old_client)[3], 0);
    });
}
