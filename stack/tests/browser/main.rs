//! `weir-stack crowd --browser 1` with the real program, a real origin and real Chromium: what the
//! truth says of a start, of a cut link, and of a browser that dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../service/media.rs"]
mod media;
#[path = "../service/ready.rs"]
mod ready;
mod relay;
mod stage;

use std::time::Duration;

use relay::Relay;
use stage::{Crowd, Origin, player};

/// Longest wait for anything that should happen soon; far above what it takes.
const SOON: Duration = Duration::from_secs(90);

#[test]
fn a_real_player_starts_stalls_while_its_link_is_cut_and_plays_on() {
    let Some((origin, player)) = Origin::start().zip(player()) else {
        return;
    };
    let relay = Relay::start(origin.address);
    let mut crowd = Crowd::start(&relay.url(), &player);
    let startup = crowd.wait_for("startup", SOON, |_| true);
    assert!(startup["ms"].as_f64().unwrap() > 0.0, "{startup}");
    assert!(startup["rung_bps"].as_u64().unwrap() > 0, "{startup}");
    crowd.wait_for("level", SOON, |line| line["bytes"].as_u64() > Some(0));
    relay.cut();
    let stall = crowd.wait_for("stall_begin", SOON, |_| true);
    relay.mend();
    let end = crowd.wait_for("stall_end", SOON, |line| {
        line["recovered"] == true && line["mono_ns"].as_u64() > stall["mono_ns"].as_u64()
    });
    assert!(end["duration_ms"].as_f64().unwrap() > 0.0, "{end}");
    crowd.order("{\"end\": true}");
    let lines = crowd.finish(SOON);
    let last = |kind: &str| lines.iter().rfind(|line| line["kind"] == kind).unwrap();
    assert_eq!(last("start")["client"], "chromium");
    assert_eq!(last("disconnect")["reason"], "done");
    let end = last("end");
    assert!(end["played_s"].as_f64().unwrap() > 0.0, "{end}");
    assert!(end["stalls"].as_u64().unwrap() >= 1, "{end}");
    assert!(end["stalled_ms"].as_f64().unwrap() > 0.0, "{end}");
    assert!(end["bytes"].as_u64().unwrap() > 0, "{end}");
    assert_eq!(last("last")["lost"], 0);
}

#[test]
fn a_browser_that_dies_ends_its_session_with_a_reason_and_the_run_goes_home() {
    let Some((origin, player)) = Origin::start().zip(player()) else {
        return;
    };
    let mut crowd = Crowd::start(&origin.url(), &player);
    crowd.wait_for("startup", SOON, |_| true);
    crowd.kill_chromium();
    // Nobody else is there: the crowd ends long before its time.
    let lines = crowd.finish(SOON);
    let gone = lines
        .iter()
        .find(|line| line["kind"] == "disconnect")
        .expect("the session ends");
    assert_eq!(gone["reason"], "other", "{gone}");
    assert!(gone["detail"].as_str().unwrap().contains("gone"), "{gone}");
    let end = lines.iter().find(|line| line["kind"] == "end").unwrap();
    assert_eq!(end["quit"], false, "{end}");
}
