//! Of timelines.

use super::*;

const SHAPE: Shape = Shape {
    target: Duration::from_secs(2),
    part_target: Duration::from_millis(200),
    window: Duration::from_secs(12),
    bytes: 1 << 20,
};

fn part() -> Part {
    Part {
        chunks: Arc::new([Bytes::from_static(b"part")]),
        duration: Duration::from_millis(200),
        independent: false,
    }
}

/// `segments` whole ones and an open one with `parts`.
fn timeline(segments: u64, parts: u32) -> Timeline {
    let mut timeline = Timeline::new(SHAPE, 100);
    timeline.set_init(Bytes::from_static(b"init"));
    for segment in 0..=segments {
        timeline.begin(segment * 2000, false);
        for _ in 0..if segment == segments { parts } else { 10 } {
            timeline.push(part()).unwrap();
        }
    }
    timeline
}

#[test]
fn a_request_waits_for_what_comes_next_and_no_further() {
    let timeline = timeline(3, 4);
    assert_eq!(timeline.edge(), Edge { msn: 103, part: 4 });
    for (msn, part, reach) in [
        (103, Some(3), Reach::There),
        (103, Some(4), Reach::Wait),
        (103, Some(9), Reach::Wait),
        (103, Some(20), Reach::TooFar),
        (102, None, Reach::There),
        (103, None, Reach::Wait),
        (104, None, Reach::Wait),
        (105, None, Reach::TooFar),
        (u64::MAX, Some(u32::MAX), Reach::TooFar),
        (u64::MAX, None, Reach::TooFar),
        // Behind the last part of a whole segment is the first of the next.
        (102, Some(10), Reach::There),
        (0, Some(0), Reach::There),
    ] {
        assert_eq!(timeline.reach(msn, part), reach, "{msn} {part:?}");
    }
    let mut whole = timeline.clone();
    whole.finish();
    assert_eq!(whole.reach(103, Some(4)), Reach::Wait);
    assert_eq!(whole.reach(103, None), Reach::There);
    whole.end();
    assert_eq!(whole.reach(u64::MAX, None), Reach::There);
}

#[test]
fn the_ring_is_bounded_and_numbers_go_on() {
    let timeline = timeline(1000, 1);
    assert!(timeline.segments.len() <= 16, "{}", timeline.segments.len());
    let (listed, _) = timeline.listed();
    let listed: Vec<u64> = listed.map(|segment| segment.msn).collect();
    assert_eq!(listed, [1094, 1095, 1096, 1097, 1098, 1099, 1100]);
    // What has just left the playlist can still be had.
    assert_eq!(timeline.find(1090).unwrap().chunks().len(), 40);
    assert!(timeline.find(1000).is_none());
}

#[test]
fn the_ring_is_bounded_in_bytes_too() {
    let mut timeline = timeline(0, 0);
    let part = || Part {
        chunks: Arc::new([Bytes::from_static(&[0; 300_000])]),
        duration: Duration::from_millis(1),
        independent: true,
    };
    for _ in 0..100 {
        if let Err(part) = timeline.push(part()) {
            timeline.begin(0, false);
            timeline.push(part).unwrap();
        }
        let kept: usize = timeline.segments.iter().map(|segment| segment.len()).sum();
        assert!(
            kept <= SHAPE.bytes + 300_000 && kept == timeline.bytes,
            "{kept}"
        );
    }
}

#[test]
fn a_discontinuity_is_counted_when_it_leaves() {
    let mut timeline = timeline(2, 10);
    timeline.begin(0, true);
    timeline.push(part()).unwrap();
    assert_eq!(timeline.listed().1, 0);
    for _ in 0..40 {
        timeline.begin(0, false);
        (0..10).for_each(|_| timeline.push(part()).unwrap());
    }
    assert_eq!(timeline.listed().1, 1);
}

#[test]
fn a_segment_does_not_outgrow_the_target() {
    let mut timeline = timeline(0, 10);
    // 2.4 s round to the target of 2 s, 2.6 s do not.
    timeline.push(part()).unwrap();
    timeline.push(part()).unwrap();
    assert!(timeline.push(part()).is_err());
    assert_eq!(timeline.open_duration(), Duration::from_millis(2400));
}

#[test]
fn a_stream_broken_at_every_part_keeps_no_more_segments_than_it_may() {
    let mut timeline = Timeline::new(SHAPE, 1);
    for _ in 0..3 * MOST_SEGMENTS {
        timeline.begin(0, true);
        let part = Part {
            duration: Duration::from_millis(1),
            ..part()
        };
        timeline.push(part).unwrap();
    }
    assert!(timeline.listed().0.count() <= MOST_SEGMENTS);
    assert_eq!(timeline.edge().msn, 3 * MOST_SEGMENTS as u64);
}
