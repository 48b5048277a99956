//! Rare facts are told of as they happen: each if it was asked for, in bounded number, and without
//! harm to what is counted.

use std::collections::HashMap;
use std::time::Instant;

use weir::event::{self, Event};
use weir::kernel::ring::Records;
use weir::metrics::{self, Family};
use weir_ebpf::change::{EVERY_NS, Fact, Facts};

use crate::agent::{Agent, Numbers};
use crate::fact::{count_in_tries, fact, is_emulated, may_run};
use crate::network::{B, Network};
use crate::peer::Peer;
use crate::retransmit::{connected, lose};

/// What an agent is told.
pub(crate) struct Changes<'a> {
    agent: &'a Agent,
    records: Records,
}

impl<'a> Changes<'a> {
    /// From now on.
    pub(crate) fn of(agent: &'a Agent) -> Self {
        let collector = agent.collector();
        let records = collector.with_kernel(|kernel| kernel.records());
        Self {
            agent,
            records: records.unwrap(),
        }
    }

    /// Asks for facts, and for no others.
    pub(crate) fn ask(&self, facts: Facts) {
        self.agent.collector().ask(facts);
    }

    /// What was told since the last look: place and fact, in order.
    fn places(&mut self) -> Vec<(u32, Fact)> {
        let mut told = Vec::new();
        self.records.drain(|bytes| {
            let event = event::decode(bytes).unwrap();
            self.agent.collector().apply(&event);
            if let Event::Change { slot, fact, .. } = event {
                told.push((slot, fact));
            }
        });
        told
    }

    /// The same with services.
    pub(crate) fn told(&mut self) -> Vec<(String, Fact)> {
        let told = self.places().into_iter();
        told.filter_map(|(slot, fact)| {
            let families = self.changed(slot, fact);
            Some((service(families.first()?), fact))
        })
        .collect()
    }

    /// What a fact at a place changed.
    fn changed(&self, slot: u32, fact: Fact) -> Vec<Family> {
        let told = HashMap::from([(slot, fact.into())]);
        self.agent.collector().changed(&told).families
    }
}

fn service(family: &Family) -> String {
    let labels = &family.points[0].subject.labels;
    let label = labels.iter().find(|(name, _)| *name == "service");
    label.unwrap().1.clone()
}

fn all() -> Facts {
    Fact::ALL.into_iter().collect()
}

/// Number of records of changes so far: handed over, and refused.
fn records(numbers: &Numbers) -> (u64, u64) {
    let count = |metric| numbers.int(metric, "", &[("kind", "change")]);
    (count(&metrics::RECORDS_SENT), count(&metrics::RECORDS_LOST))
}

/// Tries connections that fail, each in its own way.
fn fail(client: &mut Peer, net: &Network) {
    net.sysctl(&net.a, "net/ipv4/tcp_syn_retries", "1");
    net.rule(
        &net.b,
        "tcp dport 5008 drop\ntcp dport 5007 reject with icmp type host-unreachable",
    );
    for (port, error) in [
        (5009, "ConnectionRefused"),
        (5008, "TimedOut"),
        (5007, "HostUnreachable"),
    ] {
        assert_eq!(client.ask(&format!("connect {B} {port}")), error);
    }
    client.ask(&format!("give-up {B} 5008"));
    net.clear(&net.b);
}

/// Facts by their service, each once, in the order of their numbers.
fn facts(told: &[(String, Fact)], peer: &Peer) -> Vec<Fact> {
    let is_told = |fact: &Fact| told.contains(&(peer.service.clone(), *fact));
    Fact::ALL.into_iter().filter(is_told).collect()
}

#[test]
fn failed_connections_are_told_of_by_their_outcome() {
    count_in_tries(compare_failures);
}

fn compare_failures() {
    if !may_run("change-failures") {
        return;
    }
    for transport in ["ring", "perf"] {
        let agent = Agent::with(&format!("transport = \"{transport}\"")).unwrap();
        fact("change-failures", transport, |figures| {
            let mut changes = Changes::of(&agent);
            let net = Network::new();
            let mut client = Peer::new("client", &net.a);
            fail(&mut client, &net);
            assert_eq!(changes.told(), [], "nothing was asked for");
            assert_eq!(records(&agent.look()), (0, 0));
            changes.ask(all());
            fail(&mut client, &net);
            let told = changes.told();
            figures.push(format!("{told:?}"));
            let failures = [
                Fact::RetransmitSyn,
                Fact::Refused,
                Fact::TimedOut,
                Fact::Unreachable,
                Fact::Aborted,
            ];
            assert_eq!(facts(&told, &client), failures);
            changes.ask(Fact::Unreachable.into());
            fail(&mut client, &net);
            assert_eq!(facts(&changes.told(), &client), [Fact::Unreachable]);
            changes.ask(Facts::NONE);
            fail(&mut client, &net);
            assert_eq!(changes.told(), []);
        });
    }
}

#[test]
fn a_window_that_shuts_is_told_of_while_it_is_shut() {
    count_in_tries(compare_window);
}

fn compare_window() {
    if !may_run("change-window") {
        return;
    }
    let agent = Agent::new();
    fact("change-window", agent.rung("tcp_ack"), |figures| {
        let mut changes = Changes::of(&agent);
        changes.ask(Fact::ZeroWindow.into());
        let net = Network::new();
        let (mut client, mut server) = connected(&net);
        server.ask("option 0 rcvbuf 65536");
        // Nobody reads.
        client.tell("send 0 2000000 2000000");
        let mut seconds = None;
        let numbers = agent.look_until(|_| {
            // A second look at once would take more than its share of the time.
            let told = changes.places().into_iter();
            let mut families = told.flat_map(|(slot, fact)| changes.changed(slot, fact));
            let of_client = families.find(|family| service(family) == client.service);
            seconds = of_client.map(|family| family.points[0].value.clone());
            seconds.is_some()
        });
        let Some(metrics::Value::Float(seconds)) = seconds else {
            panic!("{seconds:?}");
        };
        let later = agent.look();
        let of = |numbers: &Numbers| {
            numbers.seconds(&metrics::TCP_ZERO_WINDOW_TIME, &client.service, &[])
        };
        figures.push(format!("{} <= {seconds} <= {}", of(&numbers), of(&later)));
        assert!(of(&numbers) <= seconds && seconds <= of(&later));
        assert!(seconds > 0.0, "it is shut now");
        server.ask("sink 0");
        assert_eq!(client.answer(), "ok");
    });
}

#[test]
fn counts_stay_exact_while_changes_are_told() {
    count_in_tries(compare_counts);
}

fn compare_counts() {
    if !may_run("change-counts") {
        return;
    }
    let agent = Agent::new();
    fact("change-counts", agent.rung("tcp_retransmit"), |figures| {
        let mut changes = Changes::of(&agent);
        changes.ask(all());
        lose(&agent, 500, figures);
        let told = changes.places();
        figures.push(format!("told={}", told.len()));
        assert!(!told.is_empty());
    });
}

#[test]
fn a_storm_is_told_of_in_bounded_number() {
    count_in_tries(compare_storm);
}

fn compare_storm() {
    if !may_run("change-storm") {
        return;
    }
    let agent = Agent::with("transport = \"ring\"").unwrap();
    fact("change-storm", "ring", |figures| {
        let mut changes = Changes::of(&agent);
        changes.ask(Fact::Refused.into());
        let net = Network::new();
        let mut client = Peer::new("client", &net.a);
        let storm = if is_emulated() { 10_000 } else { 100_000 };
        let begun = Instant::now();
        assert_eq!(client.number(&format!("visit {B} 5009 {storm}")), 0);
        let most = begun.elapsed().as_nanos() as u64 / EVERY_NS + 1;
        let numbers = agent.look();
        let (sent, lost) = records(&numbers);
        let labels = [("role", "connected"), ("outcome", "refused")];
        let refused = numbers.int(&metrics::TCP_CONNECTIONS, &client.service, &labels);
        figures.push(format!(
            "refused={refused} sent={sent} lost={lost} most={most}"
        ));
        assert_eq!(refused, storm);
        let told = changes.places().len() as u64;
        assert_eq!((told, lost), (sent, 0), "{figures:?}");
        assert!(sent > 0 && sent <= most, "{figures:?}");
    });
}
