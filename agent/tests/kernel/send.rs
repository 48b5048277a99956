//! Time in the send routine, on every rung that the kernel has, against a sender with a clock around
//! each send.

use weir::metrics;

use crate::agent::{Agent, bound, bucket, quantile};
use crate::fact::{fact, may_run, skip};
use crate::network::Network;
use crate::retransmit::connected;

/// Quantiles and times of a case may be disturbed: other programs take the CPU between the sender's
/// clock and the kernel's. So each case has some tries, all of which are told.
const TRIES: usize = 5;

const RUNGS: [&str; 4] = ["fentry", "kprobe", "tracepoint", "syscall"];

struct Case {
    name: &'static str,
    /// How the other side reads.
    reader: &'static str,
    /// What the sender does before.
    prepare: &'static [&'static str],
    /// The sends.
    sends: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "blocking-on-a-full-buffer",
        reader: "sip 0 65536 2000",
        prepare: &["option 0 sndbuf 32768"],
        sends: "timed 0 300 200000 0",
    },
    Case {
        name: "64-KB",
        reader: "sink 0",
        prepare: &["option 0 sndbuf 2000000"],
        sends: "timed 0 3000 65536 150",
    },
    Case {
        name: "non-blocking",
        reader: "sip 0 262144 1000",
        prepare: &["option 0 sndbuf 4000000", "polite 0"],
        sends: "timed 0 2000 262144 20",
    },
];

/// One try; whether both quantiles are within a bucket.
fn compare(agent: &Agent, case: &Case, figures: &mut Vec<String>) -> bool {
    let net = Network::new();
    let (mut client, mut server) = connected(&net);
    // The reader's wake-up must not push the sender off its CPU between its clock and the kernel's.
    server.ask("pin 0");
    client.ask("pin 1");
    client.ask("hurry");
    server.ask("option 0 rcvbuf 200000");
    server.ask(case.reader);
    case.prepare
        .iter()
        .for_each(|command| drop(client.ask(command)));
    let answer = client.ask(case.sends);
    let mut took: Vec<f64> = answer
        .split(' ')
        .map(|ns| ns.parse::<f64>().unwrap() / 1e9)
        .collect();
    took.sort_by(f64::total_cmp);
    let numbers = agent.look();
    let histogram = numbers.histogram(&metrics::TCP_SEND_DURATION, &client.service);
    let counts = (histogram.count(), took.len() as u64);
    assert_eq!(
        counts.0,
        counts.1,
        "sends of {}: {}",
        client.service,
        numbers.services()
    );
    let mut is_near = true;
    for q in [0.5, 0.99] {
        let truth = took[(took.len() as f64 * q).ceil() as usize - 1];
        let seen = quantile(&histogram, q);
        let off = seen - bucket(truth);
        figures.push(format!(
            "p{:.0}: weir<={:.1}us truth={:.1}us off={off}",
            q * 100.0,
            bound(seen) * 1e6,
            truth * 1e6
        ));
        is_near &= off.abs() <= 1;
    }
    is_near
}

#[test]
fn sends_take_as_long_as_the_sender_measures() {
    if !may_run("send") {
        return;
    }
    let mut rungs = 0;
    for rung in RUNGS {
        let text = format!("send_rung = \"{rung}\"");
        let agent = match Agent::with(&text) {
            Ok(agent) => agent,
            Err(why) => {
                skip("send", rung, &why);
                continue;
            }
        };
        rungs += 1;
        for case in &CASES {
            fact(&format!("send-{}", case.name), rung, |figures| {
                let is_near = (0..TRIES).any(|_| compare(&agent, case, figures));
                assert!(
                    is_near,
                    "off by more than a bucket in {TRIES} tries: {figures:?}"
                );
            });
        }
    }
    assert!(rungs > 0, "no rung measures sends");
}
