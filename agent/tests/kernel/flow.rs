//! Bytes and sender clocks against `ss -ti`, time with a shut window against the reader's sleep.

use std::time::{Duration, Instant};

use weir::metrics;

use crate::agent::{Agent, Numbers};
use crate::fact::{assert_near, fact, in_tries, is_emulated, may_run, skip};
use crate::network::{B, Network, Socket};
use crate::peer::Peer;
use crate::retransmit::connected;

/// The kernel's tick where it is longest (HZ=100).
pub(crate) const TICK: f64 = 0.010;

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

#[derive(Debug, PartialEq, Eq)]
struct Bytes {
    transmitted: u64,
    received: u64,
    acked: u64,
    open: u64,
}

fn bytes(numbers: &Numbers, service: &str) -> Bytes {
    let io = |direction| numbers.int(&metrics::TCP_IO, service, &[("direction", direction)]);
    Bytes {
        transmitted: io("transmit"),
        received: io("receive"),
        acked: numbers.int(&metrics::TCP_ACKED, service, &[]),
        open: numbers.int(&metrics::TCP_OPEN, service, &[]),
    }
}

fn by_ss(sockets: &[Socket]) -> Bytes {
    let sum = |name| sockets.iter().map(|socket| socket.number(name)).sum();
    Bytes {
        // All is confirmed when this is asked.
        transmitted: sum("bytes_acked"),
        received: sum("bytes_received"),
        acked: sum("bytes_acked"),
        open: sockets.len() as u64,
    }
}

#[test]
fn bytes_are_those_of_ss_in_both_roles() {
    if !may_run("bytes") {
        return;
    }
    let agent = Agent::new();
    fact("bytes", agent.rung("tcp_state"), |figures| {
        let net = Network::new();
        let (mut client, mut server) = connected(&net);
        for at in 1..4 {
            client.ask(&format!("connect {B} 5001"));
            server.ask("accept");
            client.tell(&format!("send {at} {} 7000", 1_000_000 * at));
            server.ask(&format!("receive {at} {}", 1_000_000 * at));
            client.answer();
            server.tell(&format!("send {at} {} 65536", 300_000 * at));
            client.ask(&format!("receive {at} {}", 300_000 * at));
            server.answer();
        }
        pause(300);
        let truth = [&net.a, &net.b].map(|space| by_ss(&net.sockets(space, 5001)));
        let numbers = agent.look();
        let seen = [&client, &server].map(|peer| bytes(&numbers, &peer.service));
        figures.push(format!("weir={seen:?} ss={truth:?}"));
        assert_eq!(seen, truth);
        let followed = numbers.int(&metrics::MAP_ENTRIES, "", &[("map", "sockets")]);
        assert!(
            followed >= 8,
            "{followed} sockets are followed, of at least 8"
        );
        close_and_compare(&agent, &mut client, &mut server, &seen);
    });
}

/// After the close the sums stay, but for the FIN that counts one.
fn close_and_compare(agent: &Agent, client: &mut Peer, server: &mut Peer, open: &[Bytes; 2]) {
    for at in 0..4 {
        client.ask(&format!("close {at}"));
        server.ask(&format!("close {at}"));
    }
    let numbers = agent.look_until(|numbers| {
        let open = |peer: &Peer| bytes(numbers, &peer.service).open;
        open(client) + open(server) == 0
    });
    for (peer, before) in [client, server].into_iter().zip(open) {
        let after = bytes(&numbers, &peer.service);
        assert_eq!(after.open, 0);
        for (after, before) in [
            (after.transmitted, before.transmitted),
            (after.received, before.received),
            (after.acked, before.acked),
        ] {
            assert!(
                (before..=before + 4).contains(&after),
                "{after} after {before}"
            );
        }
    }
}

/// Busy without the limits, limited by the window, by the buffer; seconds.
pub(crate) type Clocks = [f64; 3];

fn clocks(numbers: &Numbers, service: &str) -> Clocks {
    ["busy", "receive_window", "send_buffer"]
        .map(|limit| numbers.seconds(&metrics::TCP_LIMITED_TIME, service, &[("limit", limit)]))
}

/// The same of a socket by `ss`.
pub(crate) fn clocks_by_ss(socket: &Socket) -> Clocks {
    let limited = [
        socket.seconds("rwnd_limited"),
        socket.seconds("sndbuf_limited"),
    ];
    [
        socket.seconds("busy") - limited[0] - limited[1],
        limited[0],
        limited[1],
    ]
}

fn assert_between(seen: Clocks, before: Clocks, after: Clocks) {
    for ((seen, before), after) in seen.iter().zip(before).zip(after) {
        let range = before - TICK - 1e-6..=after + TICK + 1e-6;
        assert!(range.contains(seen), "{seen} is not in {range:?}");
    }
}

/// The sender's side while the window is shut, and after the reader has read all.
#[test]
fn limits_and_shut_windows_last_as_long_as_they_do() {
    in_tries(compare_limits);
}

fn compare_limits() {
    if !may_run("sender-limited") {
        return;
    }
    let agent = Agent::new();
    let net = Network::new();
    let (mut client, mut server) = connected(&net);
    let mut shut = (0.0, 0.0);
    // Under emulation the buffers fill slowly, so the reader sleeps for longer.
    let nap = if is_emulated() { 4500 } else { 2500 };
    fact("sender-limited", agent.rung("tcp_state"), |figures| {
        server.ask("option 0 rcvbuf 65536");
        let from = Instant::now();
        client.tell("send 0 3000000 50000");
        pause(nap);
        let ss = || clocks_by_ss(&net.sockets(&net.a, 5001)[0]);
        let before = ss();
        let seen = clocks(&agent.look(), &client.service);
        let after = ss();
        figures.push(format!("open: weir={seen:?} ss={before:?}..{after:?}"));
        assert_between(seen, before, after);
        pause(nap);
        let slept = from.elapsed().as_secs_f64();
        server.ask("receive 0 3000000");
        client.answer();
        pause(300);
        let (truth, numbers) = (ss(), agent.look());
        let seen = clocks(&numbers, &client.service);
        figures.push(format!("at rest: weir={seen:?} ss={truth:?}"));
        assert_between(seen, truth, truth);
        assert!(
            truth[1] > 2.0,
            "the window never held the sender back: {truth:?}"
        );
        let seen = numbers.seconds(&metrics::TCP_ZERO_WINDOW_TIME, &client.service, &[]);
        shut = (seen, slept);
    });
    fact("zero-window", agent.rung("tcp_ack"), |figures| {
        // The sleep is a little longer than the shut window: the last data that fits is confirmed
        // by the peer's delayed ACK (40 ms), and so is what the first window probes carry.
        let (seen, slept) = shut;
        figures.push(format!(
            "weir={seen:.3} truth={slept:.3} off={:.2}%",
            1e2 * (seen / slept - 1.0)
        ));
        assert_near("zero-window time", seen, slept, 0.05);
    });
}

#[test]
fn a_small_send_buffer_is_the_limit_it_is_in_ss() {
    in_tries(compare_send_buffer);
}

fn compare_send_buffer() {
    if !may_run("send-buffer") {
        return;
    }
    let agent = Agent::new();
    let mut limited = 0.0;
    fact("send-buffer", agent.rung("tcp_state"), |figures| {
        let net = Network::new();
        // Late confirmations and a buffer of a few segments. The kernel calls the buffer the limit
        // only where data is left to push when it finds no space, which is seldom.
        net.single_segments();
        net.limit_rate(&net.b, "100kbit");
        let (mut client, mut server) = connected(&net);
        client.ask("option 0 sndbuf 4608");
        server.ask("sink 0");
        client.ask("send 0 500000 50000");
        pause(1500);
        let truth = clocks_by_ss(&net.sockets(&net.a, 5001)[0]);
        let seen = clocks(&agent.look(), &client.service);
        figures.push(format!("weir={seen:?} ss={truth:?}"));
        assert_between(seen, truth, truth);
        limited = truth[2];
    });
    if limited == 0.0 {
        let why = "this kernel did not find the buffer to be the limit";
        skip("send-buffer-limit", agent.rung("tcp_state"), why);
    }
}
