//! Probes that cannot attach, and those that are shed.

use std::process::Command;

use crate::object::Objects;
use crate::running::{Agent, fail};

/// A rung that this host does not have, if it is so.
fn missing_rung() -> Option<&'static str> {
    let agent = Agent::start("");
    let series = agent.scrape();
    let rungs = ["fentry", "kprobe"];
    let found = rungs.into_iter().find(|rung| {
        let labels = [("probe", "tcp_send"), ("rung", *rung)];
        series.one("weir_probe_attached", &labels) == 0.0
    });
    if found.is_none() {
        eprintln!("SKIP this host has every rung");
    }
    found
}

#[test]
fn a_required_probe_that_cannot_attach_stops_the_start() {
    let Some(rung) = missing_rung() else { return };
    // fentry comes first, so where it is the best rung nothing is missing.
    for required in ["", "required = ['tcp_send']\n"] {
        let output = fail(&format!("[kernel]\n{required}send_rung = '{rung}'"), &[]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("tcp_send") && text.contains(rung), "{text}");
        assert!(text.contains("[kernel] send_rung"), "{text}");
    }
    let output = fail(
        "[kernel]\nrequired = ['tcp_ack']\n\n[prometheus]\nlisten = '256'",
        &[],
    );
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn an_optional_probe_that_is_off_is_reported() {
    let config = "[kernel]\ndisabled = ['tcp_ack']";
    let agent = Agent::start(config);
    let series = agent.scrape();
    let attached = |probe| series.sum("weir_probe_attached", &[("probe", probe)]);
    assert_eq!((attached("tcp_ack"), attached("tcp_send")), (0.0, 1.0));
    let log = agent.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("not attached"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("tcp_ack") && lines[0].contains("switched off"),
        "{log}"
    );

    let doctor = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["doctor", "--config"])
        .arg(agent.config_file())
        .output()
        .unwrap();
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(1), "{text}");
    assert!(
        text.lines().any(|line| line.contains("OFF  tcp_ack")),
        "{text}"
    );
    assert!(
        text.lines().any(|line| line.contains("ok   tcp_send")),
        "{text}"
    );
}

#[test]
fn over_the_budget_probes_are_shed_in_order_but_for_required_ones() {
    let config = "[overhead]\ncpu_percent = 0.000001\n[kernel]\nrequired = ['tcp_send']";
    let mut agent = Agent::start(config);
    let objects = Objects::of(&agent);
    agent.until("two probes are shed", |agent| {
        agent.scrape().one("weir_shed_level", &[]) >= 2.0
    });
    let series = agent.scrape();
    for (probe, expected) in [
        ("sched_delay", 0.0),
        ("tcp_send", 1.0),
        ("tcp_ack", 0.0),
        ("tcp_state", 1.0),
        ("tcp_retransmit", 1.0),
    ] {
        let attached = series.sum("weir_probe_attached", &[("probe", probe)]);
        assert_eq!(attached, expected, "{probe}");
    }
    assert!(series.one("weir_overhead_ratio", &[]) > 0.0);
    let log = agent.log();
    let shed: Vec<_> = log
        .lines()
        .filter(|line| line.contains("over the overhead budget"))
        .collect();
    assert_eq!(shed.len(), 2, "{log}");
    assert!(
        shed[0].contains("sched_delay") && shed[1].contains("tcp_ack"),
        "{log}"
    );
    drop(agent);
    objects.must_go();
}
