//! The model in virtual time.

use proptest::prelude::*;

use super::*;

fn player(tracks: usize) -> Playback {
    Playback::new(Settings::default(), tracks)
}

/// One rung, decodable from everywhere.
fn append(playback: &mut Playback, now: f64, track: usize, from: f64, to: f64) {
    let piece = Piece {
        from,
        to,
        rung: 0,
        has_key: true,
    };
    match track {
        0 => playback.append_picture(now, piece),
        _ => playback.append_sound(now, from, to),
    }
}

fn changes(playback: &mut Playback) -> Vec<Change> {
    std::iter::from_fn(|| playback.take_change()).collect()
}

#[test]
fn the_first_frame_waits_for_the_threshold() {
    let mut playback = player(1);
    append(&mut playback, 0.5, 0, 0.0, 0.1);
    assert_eq!(changes(&mut playback), []);
    append(&mut playback, 0.7, 0, 0.1, 0.4);
    assert_eq!(changes(&mut playback), [Change::Started { at: 0.7 }]);
    assert_eq!(playback.spent().starting_s, 0.7);
}

#[test]
fn a_stall_begins_when_the_media_ends_not_when_somebody_looks() {
    let mut playback = player(1);
    append(&mut playback, 1.0, 0, 0.0, 2.0);
    playback.advance(10.0);
    let began = Change::StallBegan {
        at: 3.0,
        playhead: 2.0,
    };
    assert_eq!(changes(&mut playback)[1..], [began]);
    append(&mut playback, 11.0, 0, 2.0, 2.1);
    assert!(playback.is_stalled(), "100 ms are too little to go on");
    append(&mut playback, 12.0, 0, 2.1, 4.0);
    let ended = Change::StallEnded {
        at: 12.0,
        since: 3.0,
        playhead: 2.0,
        recovered: true,
    };
    assert_eq!(changes(&mut playback), [ended]);
    assert_eq!((playback.stalls(), playback.spent().stalled_s), (1, 9.0));
}

#[test]
fn media_of_the_same_instant_prevents_no_stall_but_ends_it() {
    let mut playback = player(1);
    append(&mut playback, 0.0, 0, 0.0, 2.0);
    append(&mut playback, 1.5, 0, 2.0, 4.0);
    playback.advance(4.0);
    assert_eq!(playback.stalls(), 1, "at 4.0 the playhead is at 4.0");
}

#[test]
fn picture_and_sound_must_both_be_there() {
    // Without pictures sound plays on for three seconds.
    for (picture, sound, stalls_at) in [(10.0, 2.0, 2.0), (2.0, 10.0, 5.0), (2.0, 3.0, 3.0)] {
        let mut playback = player(2);
        append(&mut playback, 0.0, 0, 0.0, picture);
        append(&mut playback, 0.0, 1, 0.0, sound);
        assert_eq!(playback.next_change_at(), Some(stalls_at));
        playback.advance(4.0);
        playback.advance(6.0);
        assert_eq!((playback.playhead(), playback.stalls()), (stalls_at, 1));
    }
}

#[test]
fn pictures_that_catch_up_with_the_sound_end_a_freeze_and_later_ones_do_not() {
    let mut playback = player(2);
    append(&mut playback, 0.0, 0, 0.0, 2.0);
    append(&mut playback, 0.0, 1, 0.0, 10.0);
    append(&mut playback, 3.0, 0, 2.0, 2.5);
    assert_eq!(playback.next_change_at(), Some(5.0), "still behind");
    append(&mut playback, 4.0, 0, 2.5, 4.5);
    assert_eq!(playback.next_change_at(), Some(7.5), "caught up");
    playback.advance(8.0);
    assert_eq!((playback.playhead(), playback.stalls()), (7.5, 1));
    append(&mut playback, 8.5, 0, 4.5, 7.0);
    assert!(playback.is_stalled());
    append(&mut playback, 9.0, 0, 7.0, 8.0);
    assert!(playback.is_playing());
}

#[test]
fn each_stall_asks_for_more_sound_and_a_seek_forgets_it() {
    let mut playback = player(1);
    append(&mut playback, 0.0, 0, 0.0, 1.0);
    let mut end = 1.0;
    for needed in [0.4, 0.8, 1.6, 3.0, 3.0] {
        let now = playback.next_change_at().unwrap();
        append(&mut playback, now, 0, end, end + needed - 0.01);
        assert!(playback.is_stalled(), "{needed}");
        append(&mut playback, now, 0, end + needed - 0.01, end + needed);
        assert!(playback.is_playing(), "{needed}");
        end += needed;
    }
    let now = playback.next_change_at().unwrap();
    playback.advance(now);
    playback.seek(now, 100.0);
    append(&mut playback, now, 0, 100.0, 100.2);
    assert!(playback.is_playing());
}

#[test]
fn the_first_frame_waits_for_the_moment_it_is_told() {
    let mut playback = player(1);
    playback.hold_until(f64::INFINITY);
    append(&mut playback, 0.5, 0, 0.0, 5.0);
    playback.advance(0.6);
    assert_eq!(
        (playback.is_held(), playback.next_change_at()),
        (true, None)
    );
    playback.hold_until(0.7);
    assert_eq!(playback.next_change_at(), Some(0.7));
    playback.advance(0.7);
    assert_eq!(changes(&mut playback), [Change::Started { at: 0.7 }]);
}

#[test]
fn pauses_and_seeks_are_no_stalls() {
    let mut playback = player(1);
    append(&mut playback, 0.0, 0, 0.0, 2.0);
    playback.pause(1.0);
    playback.advance(60.0);
    playback.resume(60.0);
    playback.advance(60.5);
    assert_eq!((playback.stalls(), playback.playhead()), (0, 1.5));
    playback.seek(60.5, 30.0);
    playback.advance(62.0);
    append(&mut playback, 63.0, 0, 30.0, 31.0);
    assert_eq!(playback.stalls(), 0);
    assert_eq!(
        changes(&mut playback)[1..],
        [Change::Sought {
            at: 63.0,
            since: 60.5
        }]
    );
}

#[test]
fn a_user_who_leaves_ends_the_stall_unrecovered() {
    let mut playback = player(1);
    append(&mut playback, 0.0, 0, 0.0, 2.0);
    playback.leave_stall(5.0);
    let ended = Change::StallEnded {
        at: 5.0,
        since: 2.0,
        playhead: 2.0,
        recovered: false,
    };
    assert_eq!(changes(&mut playback).last(), Some(&ended));
}

#[test]
fn the_end_of_the_stream_is_no_stall() {
    let mut playback = player(1);
    append(&mut playback, 0.0, 0, 0.0, 2.0);
    playback.set_end(0.5, 2.0);
    playback.advance(5.0);
    assert_eq!(playback.stalls(), 0);
    assert_eq!(
        changes(&mut playback).last(),
        Some(&Change::Finished { at: 2.0 })
    );
}

#[test]
fn back_at_the_live_edge_the_same_stall_goes_on() {
    let mut playback = player(1);
    append(&mut playback, 0.0, 0, 0.0, 2.0);
    playback.advance(4.0);
    playback.jump(30.0, 28.0);
    append(&mut playback, 31.0, 0, 28.0, 30.0);
    let ended = Change::StallEnded {
        at: 31.0,
        since: 2.0,
        playhead: 28.0,
        recovered: true,
    };
    assert_eq!(changes(&mut playback).last(), Some(&ended));
    assert_eq!(playback.stalls(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Append { track: usize, gap: f64, length: f64 },
    Pause,
    Resume,
    Seek { to: f64 },
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<(f64, Step)>> {
    let step = prop_oneof![
        6 => (0_usize..2, prop_oneof![4 => Just(0.0), 1 => 0.0..1.0_f64], 0.05..3.0_f64)
            .prop_map(|(track, gap, length)| Step::Append { track, gap, length }),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => (0.0..60.0_f64).prop_map(|to| Step::Seek { to }),
        2 => Just(Step::Wait),
    ];
    prop::collection::vec((0.0..2.5_f64, step), 1..120)
}

proptest! {
    #[test]
    fn all_time_is_accounted_for_and_no_frame_shows_without_media(steps in steps(), tracks in 1_usize..3) {
        let mut playback = player(tracks);
        let (mut now, mut began, mut ended) = (0.0, 0, 0);
        for (pause, step) in steps {
            now += pause;
            playback.advance(now);
            match step {
                Step::Append { track, gap, length } => {
                    let from = playback.end_of(track) + gap;
                    append(&mut playback, now, track, from, from + length);
                }
                Step::Pause => playback.pause(now),
                Step::Resume => playback.resume(now),
                Step::Seek { to } => playback.seek(now, to),
                Step::Wait => {}
            }
            let spent = playback.spent();
            let sum = spent.starting_s + spent.playing_s + spent.stalled_s + spent.paused_s + spent.refilling_s + spent.finished_s;
            prop_assert!((sum - now).abs() < 1e-6, "{spent:?} is not {now}");
            if playback.is_playing() {
                prop_assert!(playback.playhead() <= playback.limit() + 1e-9);
            }
            while let Some(change) = playback.take_change() {
                match change {
                    Change::StallBegan { at, .. } => {
                        began += 1;
                        prop_assert!(at <= now + 1e-9);
                    }
                    Change::StallEnded { at, since, .. } => {
                        ended += 1;
                        prop_assert!(since <= at && at <= now + 1e-9);
                    }
                    Change::Started { .. } | Change::Sought { .. } | Change::Finished { .. } => {}
                }
                prop_assert!(began == ended || began == ended + 1, "stalls begin and end in turn");
            }
        }
        prop_assert_eq!(playback.stalls(), began);
    }

    #[test]
    fn looking_more_often_changes_nothing(arrivals in prop::collection::vec((0.1..3.0_f64, 0.2..2.0_f64), 1..30)) {
        let (mut often, mut seldom) = (player(1), player(1));
        let (mut now, mut end) = (0.0, 0.0);
        for (wait, length) in arrivals {
            for look in 1..10 {
                often.advance(now + wait * f64::from(look) / 10.0);
            }
            now += wait;
            append(&mut often, now, 0, end, end + length);
            append(&mut seldom, now, 0, end, end + length);
            end += length;
        }
        prop_assert_eq!(often.stalls(), seldom.stalls());
        prop_assert!((often.spent().stalled_s - seldom.spent().stalled_s).abs() < 1e-6);
    }
}
