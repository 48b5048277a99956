//! Whole sessions in virtual time against a simulated origin and link.

use proptest::prelude::*;

use super::*;
use crate::crowd::playback::Settings;
use crate::truth::WaitingFor;
use server::{RUNGS, Rate, World};

pub(crate) mod server;

fn player() -> Player {
    Player::new(
        "s-1".into(),
        Url::parse("http://o/live/x/master.m3u8").unwrap(),
        Settings::default(),
    )
}

fn notes(player: &mut Player) -> Vec<(f64, Event)> {
    std::iter::from_fn(|| player.take_note()).collect()
}

fn run(low_latency: bool, rate: Rate, seconds: f64) -> (Player, Vec<(f64, Event)>, World) {
    let (mut world, mut player) = (World::new(low_latency, rate), player());
    world.run(&mut player, seconds);
    let notes = notes(&mut player);
    (player, notes, world)
}

fn stalls(notes: &[(f64, Event)]) -> Vec<f64> {
    notes
        .iter()
        .filter(|(_, event)| matches!(event, Event::StallBegin { .. }))
        .map(|(at, _)| *at)
        .collect()
}

fn startup(notes: &[(f64, Event)]) -> (f64, f64) {
    let found = notes.iter().find_map(|(_, event)| match event {
        Event::Startup { ms, latency_s, .. } => Some((*ms, latency_s.unwrap())),
        _ => None,
    });
    found.expect("the player starts")
}

#[test]
fn on_a_clean_link_a_low_latency_player_starts_soon_stays_near_the_edge_and_never_stalls() {
    let (player, notes, _) = run(true, |_| 20e6, 60.0);
    let (ms, latency_s) = startup(&notes);
    assert!(ms < 1000.0, "{ms}");
    assert!(latency_s < 1.2, "{latency_s}");
    assert_eq!(stalls(&notes), [0.0; 0], "{notes:?}");
    assert!(player.standing(60.0).latency_s.unwrap() < 1.2);
    let (parts, late) = player.parts();
    assert!(parts > 200 && late == 0, "{parts} {late}");
    assert_eq!(
        player.standing(60.0).rung_bps,
        2_700_000,
        "the link carries the highest rung"
    );
}

#[test]
fn without_parts_a_live_player_keeps_three_segments_behind() {
    let (player, notes, world) = run(false, |_| 20e6, 60.0);
    assert_eq!(stalls(&notes), [0.0; 0], "{notes:?}");
    let latency_s = player.standing(60.0).latency_s.unwrap();
    assert!((5.5..8.5).contains(&latency_s), "{latency_s}");
    assert!(world.requested.iter().all(|path| !path.contains("part")));
}

#[test]
fn an_outage_longer_than_the_buffer_is_one_stall_and_a_shorter_one_none() {
    let (_, notes, _) = run(
        false,
        |now| {
            if (20.0..29.0).contains(&now) {
                0.0
            } else {
                10e6
            }
        },
        60.0,
    );
    let began = stalls(&notes);
    assert_eq!(began.len(), 1, "{notes:?}");
    assert!((22.0..28.0).contains(&began[0]), "{began:?}");
    let ended = notes.iter().find_map(|(at, event)| match event {
        Event::StallEnd {
            recovered: true,
            duration_ms,
            ..
        } => Some((*at, *duration_ms)),
        _ => None,
    });
    let (at, duration_ms) = ended.unwrap();
    assert!((29.0..31.0).contains(&at), "{at}");
    assert!(((at - began[0]) * 1e3 - duration_ms).abs() < 1.0);
    let (_, notes, _) = run(
        false,
        |now| {
            if (20.0..22.0).contains(&now) {
                0.0
            } else {
                10e6
            }
        },
        60.0,
    );
    assert_eq!(stalls(&notes), [0.0; 0], "{notes:?}");
}

#[test]
fn a_lasting_drop_leads_to_a_lower_rung_that_plays() {
    let (player, notes, _) = run(false, |now| if now < 20.0 { 10e6 } else { 900e3 }, 90.0);
    assert!(player.switches() >= 1);
    assert_eq!(player.standing(90.0).rung_bps, 400_000);
    assert!(stalls(&notes).iter().all(|at| *at < 60.0), "{notes:?}");
}

#[test]
fn a_producer_that_pauses_stalls_the_player_at_the_edge() {
    let (mut world, mut player) = (World::new(true, |_| 20e6), player());
    world.producer_pause = Some((20.0, 5.0));
    world.run(&mut player, 60.0);
    let notes = notes(&mut player);
    assert_eq!(stalls(&notes).len(), 1, "{notes:?}");
    assert!(notes.iter().any(|(_, event)| matches!(
        event,
        Event::StallBegin {
            waiting_for: WaitingFor::Playlist,
            ..
        }
    )));
}

#[test]
fn pauses_and_seeks_leave_their_marks_but_no_stall() {
    let (mut world, mut player) = (World::new(false, |_| 20e6), player());
    world.run(&mut player, 20.0);
    player.act(20.0, Act::Pause);
    world.run(&mut player, 22.0);
    player.act(22.0, Act::Resume);
    world.run(&mut player, 25.0);
    player.act(25.0, Act::Seek(-4.0));
    world.run(&mut player, 40.0);
    let notes = notes(&mut player);
    let kinds: Vec<_> = notes.iter().map(|(_, event)| event).collect();
    for wanted in ["Pause", "Resume", "Seek {", "Seeked"] {
        assert!(
            kinds
                .iter()
                .any(|event| format!("{event:?}").starts_with(wanted)),
            "{wanted}"
        );
    }
    assert_eq!(stalls(&notes), [0.0; 0], "{notes:?}");
}

#[test]
fn failures_are_tried_again_with_growing_pauses() {
    let mut player = player();
    let mut at = 0.0;
    for _ in 0..3 {
        let request = player.take_request().expect("asked");
        let failure = Failure {
            reason: crate::truth::Reason::Refused,
            detail: "refused".into(),
        };
        player.fail(at, request.id, failure);
        assert!(player.take_request().is_none());
        at = player.deadline().expect("will try again");
        player.tick(at);
    }
    assert!(at >= 3.0);
}

#[test]
fn every_request_says_whose_it_is() {
    let (mut world, mut player) = (World::new(true, |_| 20e6), player());
    world.run(&mut player, 5.0);
    let request = loop {
        world.run(&mut player, world.now + 0.01);
        player.tick(world.now);
        if let Some(request) = player.take_request() {
            break request;
        }
    };
    let cmcd = request
        .url
        .query_pairs()
        .find(|(name, _)| name == "CMCD")
        .unwrap()
        .1
        .into_owned();
    assert!(
        cmcd.contains("sid=\"s-1\"") && cmcd.ends_with("v=2"),
        "{cmcd}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn at_any_steady_rate_time_adds_up_and_objects_come_one_at_a_time(index in 0_usize..6, low_latency in any::<bool>()) {
        const RATES: [Rate; 6] = [|_| 150e3, |_| 450e3, |_| 900e3, |_| 1_500e3, |_| 4e6, |_| 50e6];
        let (player, notes, world) = run(low_latency, RATES[index], 40.0);
        let spent = player.playback().spent();
        let sum = spent.starting_s + spent.playing_s + spent.stalled_s + spent.refilling_s + spent.paused_s;
        prop_assert!(sum <= 40.0 + 1e-6 && sum > 39.0, "{:?}", spent);
        if RATES[index](0.0) > 2.0 * RUNGS[0].1 {
            prop_assert!(spent.playing_s > 30.0, "{:?} {:?}", spent, notes);
        }
        // No storm of requests: at most playlists and parts of both tracks, five a second each.
        prop_assert!(world.requested.len() < 40 * 30, "{}", world.requested.len());
    }
}
