//! Kinds of retransmits in cases made for one kind each; each is also told of if it was asked for,
//! and nothing else is.

use std::time::Duration;

use weir_ebpf::change::Fact;

use crate::agent::Agent;
use crate::change::Changes;
use crate::fact::{count_in_tries, fact, may_run};
use crate::network::{B, Network};
use crate::peer::Peer;
use crate::retransmit::{connected, kinds};

/// Data segments of the client.
const DATA: &str = "tcp dport 5001 ip length > 500";
/// More packets than any case has: a rule counts to it once only.
const ONCE: &str = "numgen inc mod 1000000";

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Runs a case on a fresh network. It gives the peer whose segments count and the kinds, in the order
/// of `retransmit::KINDS`, at least and at most.
fn case(name: &str, run: impl Fn(&Network, &Agent) -> Seen) {
    count_in_tries(|| try_case(name, &run));
}

fn try_case(name: &str, run: impl Fn(&Network, &Agent) -> Seen) {
    if !may_run(name) {
        return;
    }
    let agent = Agent::new();
    let mut changes = Changes::of(&agent);
    changes.ask(fact_of(name).into());
    let probe = if name == "synack" {
        "tcp_synack"
    } else {
        "tcp_retransmit"
    };
    fact(&format!("kind-{name}"), agent.rung(probe), |figures| {
        let net = Network::new();
        let seen = run(&net, &agent);
        figures.push(format!("client={:?} server={:?}", seen.client, seen.server));
        figures.push(format!("RetransSegs={:?}", seen.truth));
        assert_eq!(seen.client.iter().sum::<u64>(), seen.truth.0, "{figures:?}");
        assert_eq!(seen.server.iter().sum::<u64>(), seen.truth.1, "{figures:?}");
        let [rto, fast, tlp, syn, _] = seen.client;
        let synack = seen.server[4];
        // How often is the kernel's affair (a slow guest repairs a hole twice) and is compared above.
        let is_right = match name {
            "rto" => rto >= 1 && [fast, tlp, syn, synack] == [0; 4],
            "fast" => fast >= 1 && [rto, tlp, syn, synack] == [0; 4],
            "tlp" => tlp == 1 && [rto, fast, syn, synack] == [0; 4],
            "syn" => syn >= 1 && [rto, fast, tlp, synack] == [0; 4],
            _ => synack >= 1 && [rto, fast, tlp] == [0; 3],
        };
        assert!(is_right, "{name}: rto, fast, tlp, syn, synack: {figures:?}");
        let told = changes.told();
        figures.push(format!("told={told:?}"));
        let asked = fact_of(name);
        let whose = match name {
            "synack" => &seen.server_service,
            _ => &seen.client_service,
        };
        assert!(told.contains(&(whose.clone(), asked)), "{figures:?}");
        assert!(told.iter().all(|(_, fact)| *fact == asked), "{figures:?}");
    });
}

/// The fact that a case is made for.
fn fact_of(name: &str) -> Fact {
    match name {
        "rto" => Fact::RetransmitRto,
        "fast" => Fact::RetransmitFast,
        "tlp" => Fact::RetransmitTlp,
        "syn" => Fact::RetransmitSyn,
        _ => Fact::RetransmitSynack,
    }
}

struct Seen {
    client_service: String,
    server_service: String,
    client: [u64; 5],
    server: [u64; 5],
    truth: (u64, u64),
}

fn seen(net: &Network, agent: &Agent, client: &Peer, server: &Peer) -> Seen {
    let numbers = agent.look();
    let of = |space: &str| net.counters(space)["TcpRetransSegs"];
    Seen {
        client_service: client.service.clone(),
        server_service: server.service.clone(),
        client: kinds(&numbers, &client.service),
        server: kinds(&numbers, &server.service),
        truth: (of(&net.a), of(&net.b)),
    }
}

/// An open connection whose round trip the kernel has measured, with a reader.
fn warm(net: &Network) -> (Peer, Peer) {
    net.single_segments();
    let (mut client, mut server) = connected(net);
    server.ask("echo 0 100");
    client.ask("option 0 nodelay 1");
    for _ in 0..10 {
        client.ask("call 0 100");
    }
    (client, server)
}

#[test]
fn a_dropped_tail_is_repaired_by_a_loss_probe() {
    case("tlp", |net, agent| {
        let (mut client, server) = warm(net);
        net.rule(&net.b, &format!("{DATA} {ONCE} == 2 drop"));
        // Three segments, of which the last is dropped.
        client.ask("send 0 4200 4200");
        client.ask("receive 0 4200");
        seen(net, agent, &client, &server)
    });
}

#[test]
fn a_black_hole_makes_timeouts() {
    case("rto", |net, agent| {
        net.sysctl(&net.a, "net/ipv4/tcp_early_retrans", "0");
        let (mut client, server) = warm(net);
        net.rule(&net.b, "tcp dport 5001 drop");
        client.ask("send 0 1000 1000");
        pause(1000);
        net.clear(&net.b);
        client.ask("receive 0 1000");
        seen(net, agent, &client, &server)
    });
}

#[test]
fn a_hole_in_a_long_flight_is_repaired_fast() {
    case("fast", |net, agent| {
        // At a bounded rate, so that nothing else is lost and the flight is long.
        net.single_segments();
        net.limit_rate(&net.a, "50mbit");
        let (mut client, mut server) = connected(net);
        server.ask("sink 0");
        net.rule(&net.b, &format!("{DATA} {ONCE} == 50 drop"));
        client.ask("send 0 1000000 50000");
        pause(1500);
        seen(net, agent, &client, &server)
    });
}

#[test]
fn a_dropped_connection_request_is_sent_again() {
    case("syn", |net, agent| {
        let (mut client, mut server) = (Peer::new("client", &net.a), Peer::new("server", &net.b));
        server.ask("listen 5001");
        net.rule(&net.b, &format!("tcp dport 5001 {ONCE} == 0 drop"));
        client.ask(&format!("connect {B} 5001"));
        server.ask("accept");
        seen(net, agent, &client, &server)
    });
}

#[test]
fn a_dropped_answer_to_a_connection_request_is_sent_again() {
    case("synack", |net, agent| {
        let (mut client, mut server) = (Peer::new("client", &net.a), Peer::new("server", &net.b));
        server.ask("listen 5001");
        net.rule(&net.a, &format!("tcp sport 5001 {ONCE} == 0 drop"));
        client.ask(&format!("connect {B} 5001"));
        server.ask("accept");
        seen(net, agent, &client, &server)
    });
}
