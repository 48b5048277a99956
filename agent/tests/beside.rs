//! Weir's rules beside a real Prometheus: the same rule file, the same samples, evaluated at the
//! same times. What both write about alerts must be the same, series by series.
//!
//! `WEIR_BESIDE_SECONDS=300 cargo test -p weir --test beside` runs it for five minutes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "beside/course.rs"]
mod course;
#[path = "beside/replay.rs"]
mod replay;
#[path = "beside/server.rs"]
mod server;

use std::path::Path;

use replay::{Written, replay};
use server::{PROGRAM, Prometheus};

/// Scrapes, one a second, unless the environment says otherwise.
const SCRAPES: u64 = 40;

#[test]
fn a_real_prometheus_makes_the_same_transitions() {
    if !Path::new(PROGRAM).exists() {
        eprintln!("SKIP {PROGRAM} is missing (Debian: prometheus)");
        return;
    }
    let scrapes = std::env::var("WEIR_BESIDE_SECONDS").ok();
    let scrapes = scrapes.map_or(SCRAPES, |text| text.parse().unwrap());
    let exporter = course::serve();
    let prometheus = Prometheus::start(exporter.address, &course::rules());
    prometheus.wait(&exporter.scrapes, scrapes);
    let all = prometheus.everything();
    let mut judged = 0;
    for slot in course::SLOTS {
        let Some(theirs) = replay::evaluations(&all, slot) else {
            eprintln!("slot {slot}: samples arrived while it was evaluated; left out");
            continue;
        };
        let ours = replay(&prometheus.rules, &all, slot, &theirs);
        compare(slot, &ours, &Written::of(&all, slot, &theirs));
        judged += 1;
    }
    assert!(judged > 0, "no slot could be judged");
}

fn compare(slot: &str, ours: &Written, theirs: &Written) {
    let missing: Vec<_> = theirs.alerts.difference(&ours.alerts).take(5).collect();
    let extra: Vec<_> = ours.alerts.difference(&theirs.alerts).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "slot {slot}: only Prometheus wrote {missing:#?}, only Weir {extra:#?}"
    );
    let names = |written: &Written| written.recorded.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "slot {slot}");
    for (key, value) in &ours.recorded {
        let other = theirs.recorded[key];
        let distance = (value - other).abs();
        assert!(
            distance <= 1e-12 * other.abs(),
            "slot {slot}: {key:?}: {value} and {other}"
        );
    }
    let (transitions, samples) = (ours.transitions(), ours.alerts.len());
    eprintln!(
        "slot {slot}: {} evaluations, {samples} samples of alerts, {} recorded, {transitions} transitions, all the same",
        ours.evaluations,
        ours.recorded.len()
    );
    assert!(transitions >= 10, "slot {slot}: hardly anything happened");
}
