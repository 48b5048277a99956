//! Round trips against `ss -ti`, deliveries against the application's own clock.

use std::time::Duration;

use weir::metrics;

use crate::agent::{Agent, bound, bucket, quantile};
use crate::fact::{assert_near, fact, in_tries, may_run};
use crate::network::Network;
use crate::retransmit::connected;

#[test]
fn the_round_trip_is_that_of_ss() {
    in_tries(compare_round_trip);
}

fn compare_round_trip() {
    if !may_run("rtt") {
        return;
    }
    let agent = Agent::new();
    fact("rtt", agent.rung("tcp_ack"), |figures| {
        let net = Network::new();
        // The queue before the narrow link is as long as the send buffer lets it: a long round trip
        // that does not change.
        net.single_segments();
        net.limit_rate(&net.a, "2mbit");
        let (mut client, mut server) = connected(&net);
        client.ask("option 0 sndbuf 100000");
        server.ask("sink 0");
        client.tell("send 0 1000000 20000");
        let mut samples = Vec::new();
        for _ in 0..12 {
            std::thread::sleep(Duration::from_millis(250));
            samples.push(net.sockets(&net.a, 5001)[0].rtt());
        }
        let histogram = agent.look().histogram(&metrics::TCP_RTT, &client.service);
        client.answer();
        samples.sort_by(f64::total_cmp);
        let truth = samples[samples.len() / 2];
        let seen = bound(quantile(&histogram, 0.5)) * (-1.0_f64 / 16.0).exp2();
        let count = histogram.count();
        figures.push(format!("weir={seen:.5} ss={truth:.5} samples={count}"));
        assert!(truth > 0.005 && (10..=60).contains(&count), "{figures:?}");
        assert_near("median round trip", seen, truth, 0.10);
    });
}

#[test]
fn a_delivery_takes_as_long_as_the_peer_waits() {
    in_tries(compare_delivery);
}

fn compare_delivery() {
    if !may_run("delivery") {
        return;
    }
    let agent = Agent::new();
    fact("delivery", agent.rung("tcp_ack"), |figures| {
        let net = Network::new();
        net.sysctl(&net.a, "net/ipv4/tcp_early_retrans", "0");
        let (mut client, mut server) = connected(&net);
        client.ask("option 0 nodelay 1");
        server.ask("echo 0 1000");
        for _ in 0..50 {
            client.number("call 0 1000");
        }
        let usual = agent
            .look()
            .histogram(&metrics::TCP_DELIVERY_DURATION, &client.service);
        let before = usual.count();
        // One that is lost twice: the answer carries the confirmation.
        net.rule(
            &net.b,
            "tcp dport 5001 ip length > 1000 numgen inc mod 1000000 < 2 drop",
        );
        let truth = client.number("call 0 1000") as f64 / 1e9;
        let all = agent
            .look()
            .histogram(&metrics::TCP_DELIVERY_DURATION, &client.service);
        let (seen, truth_bucket) = (quantile(&all, 1.0), bucket(truth));
        figures.push(format!(
            "weir<={:.4} truth={truth:.4} samples={}",
            bound(seen),
            all.count()
        ));
        assert_eq!(before, 50, "each send of a call is a delivery");
        assert_eq!(all.count(), 51);
        assert!(truth > 0.4, "it was not lost: {figures:?}");
        assert!((seen - truth_bucket).abs() <= 1, "{figures:?}");
        assert!(
            bound(quantile(&usual, 0.5)) < 0.02,
            "half of the rest took longer"
        );
    });
}
