//! Playlists laid out, and what comes next.

use super::*;

/// `count` segments of 2 s from number `first`, ten parts in the last two, `open` parts after.
fn playlist(first: u64, count: u64, open: u64, date: bool) -> Media {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-PART-INF:PART-TARGET=0.2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n#EXT-X-MAP:URI=\"i.mp4\"\n"
    );
    let part = |number: u64, part: u64| {
        let independent = if part == 0 { ",INDEPENDENT=YES" } else { "" };
        format!("#EXT-X-PART:DURATION=0.2,URI=\"{number}.{part}\"{independent}\n")
    };
    for number in first..first + count {
        if date {
            text.push_str(&format!(
                "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:{:02}:{:02}.000Z\n",
                number * 2 / 60,
                number * 2 % 60
            ));
        }
        if number + 2 >= first + count {
            (0..10).for_each(|index| text.push_str(&part(number, index)));
        }
        text.push_str(&format!("#EXTINF:2,\n{number}.mp4\n"));
    }
    (0..open).for_each(|index| text.push_str(&part(first + count, index)));
    Media::parse(&text).unwrap()
}

fn layout(first: u64, count: u64, open: u64) -> Layout {
    Layout::new(
        playlist(first, count, open, true),
        None,
        &mut Timeline::default(),
        0.0,
    )
    .unwrap()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn a_live_player_starts_at_the_hold_back_and_each_stall_adds_a_second() {
    let layout = layout(10, 6, 4);
    assert!(near(layout.edge(), 12.8));
    assert!(near(layout.live_position(0.0, 0), 12.2));
    assert!(near(layout.live_position(0.0, 1), 11.2));
    assert!(near(layout.live_position(0.0, 9), 10.2));
    assert!(
        near(layout.live_position(0.3, 0), 12.5),
        "the edge moves on between loads"
    );
}

#[test]
fn parts_follow_each_other_from_where_decoding_can_begin() {
    let layout = layout(10, 6, 4);
    let mut parts_on = false;
    let first = layout.next_object(12.2, None, &mut parts_on, 12.2).unwrap();
    assert!(parts_on);
    assert_eq!(
        (first.segment, first.part, &*first.resource.uri),
        (16, Some(0), "16.0")
    );
    assert!(near(first.start, 12.0) && near(first.end, 12.2) && !first.newest);
    let second = layout
        .next_object(first.end, Some((16, Some(0))), &mut parts_on, 12.2)
        .unwrap();
    assert_eq!(second.part, Some(1));
    let last = layout
        .next_object(12.6, Some((16, Some(2))), &mut parts_on, 12.2)
        .unwrap();
    assert!(last.newest);
    assert_eq!(
        layout.next_object(12.8, Some((16, Some(3))), &mut parts_on, 12.2),
        None
    );
}

#[test]
fn after_the_last_part_of_a_segment_comes_the_next_segment() {
    let mut parts_on = true;
    let layout = layout(10, 6, 0);
    assert_eq!(
        layout.next_object(12.0, Some((15, Some(9))), &mut parts_on, 11.8),
        None
    );
    let layout = self::layout(10, 6, 1);
    let next = layout
        .next_object(12.0, Some((15, Some(9))), &mut parts_on, 11.8)
        .unwrap();
    assert_eq!((next.segment, next.part), (16, Some(0)));
}

#[test]
fn far_behind_the_edge_whole_segments_are_loaded() {
    let layout = layout(10, 6, 4);
    let mut parts_on = true;
    let object = layout.next_object(2.1, None, &mut parts_on, 2.1).unwrap();
    assert_eq!((object.segment, object.part, parts_on), (11, None, false));
    let object = layout
        .next_object(4.0, Some((11, None)), &mut parts_on, 2.5)
        .unwrap();
    assert_eq!(object.segment, 12);
}

#[test]
fn rounding_does_not_load_a_segment_twice() {
    let layout = layout(10, 6, 0);
    let mut parts_on = false;
    let object = layout
        .next_object(3.98, Some((11, None)), &mut parts_on, 3.0)
        .unwrap();
    assert_eq!(object.segment, 12);
}

#[test]
fn a_delta_update_is_filled_from_the_version_before() {
    let mut timeline = Timeline::default();
    let mut before = Layout::new(playlist(10, 6, 4, true), None, &mut timeline, 0.0).unwrap();
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:11\n#EXT-X-SKIP:SKIPPED-SEGMENTS=4\n\
        #EXTINF:2,\n15.mp4\n#EXTINF:2,\n16.mp4\n";
    let delta = Media::parse(text).unwrap();
    let after = Layout::new(delta.clone(), Some(&mut before), &mut timeline, 1.0).unwrap();
    assert_eq!((after.media.segments.len(), after.media.open()), (6, 17));
    assert!(near(after.start(), 2.0) && near(after.edge(), 14.0));
    assert!(after.media.segments[5].map.is_some());
    assert_eq!(
        Layout::new(delta, None, &mut timeline, 1.0).unwrap_err(),
        NoBase
    );
}

#[test]
fn an_unchanged_playlist_counts_as_a_miss() {
    let mut timeline = Timeline::default();
    let mut before = Layout::new(playlist(10, 6, 4, true), None, &mut timeline, 0.0).unwrap();
    let mut same = Layout::new(
        playlist(10, 6, 4, true),
        Some(&mut before),
        &mut timeline,
        1.0,
    )
    .unwrap();
    assert_eq!(same.misses, 1);
    let news = Layout::new(
        playlist(10, 6, 5, true),
        Some(&mut same),
        &mut timeline,
        1.0,
    )
    .unwrap();
    assert_eq!(news.misses, 0);
}

#[test]
fn another_rung_lands_on_the_same_timeline_with_and_without_dates() {
    for date in [true, false] {
        let mut timeline = Timeline::default();
        let first = Layout::new(playlist(10, 6, 0, date), None, &mut timeline, 0.0).unwrap();
        let other = Layout::new(playlist(13, 6, 0, date), None, &mut timeline, 0.0).unwrap();
        assert!(near(other.start(), first.start() + 6.0), "dates: {date}");
        let earlier = Layout::new(playlist(9, 6, 0, date), None, &mut timeline, 0.0).unwrap();
        assert!(near(earlier.start(), first.start() - 2.0));
    }
}

#[test]
fn an_old_low_latency_playlist_is_not_loaded_from() {
    let layout = layout(10, 6, 4);
    assert!(!layout.is_stale(0.8, true, 12.0));
    assert!(layout.is_stale(1.0, true, 12.0));
    assert!(!layout.is_stale(1.0, false, 12.0));
    assert!(
        layout.is_stale(0.0, false, 12.8),
        "nothing is offered beyond the position"
    );
}

#[test]
fn after_parts_that_are_listed_no_more_comes_the_next_segment() {
    let layout = layout(10, 6, 4);
    let mut parts_on = true;
    let object = layout
        .next_object(2.4, Some((11, Some(1))), &mut parts_on, 1.0)
        .unwrap();
    assert_eq!((object.segment, object.part), (12, None));
}

#[test]
fn a_chain_knows_the_parts_that_follow_where_it_begins() {
    let layout = layout(10, 6, 4);
    let first = layout.part_after(15, 5).unwrap();
    let following = layout.parts_following(&first);
    let places: Vec<_> = following.iter().map(|object| object.part).collect();
    assert_eq!(places, [Some(7), Some(8), Some(9)]);
    let whole = Object {
        part: None,
        ..first
    };
    assert!(layout.parts_following(&whole).is_empty());
}

#[test]
fn a_report_of_another_rung_says_what_to_ask_it_for() {
    let mut media = playlist(10, 6, 4, true);
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n\
                #EXT-X-RENDITION-REPORT:URI=\"../low/i.m3u8\",LAST-MSN=16,LAST-PART=3\n\
                #EXT-X-RENDITION-REPORT:URI=\"../no-number/i.m3u8\"\n";
    media.reports = Media::parse(text).unwrap().reports;
    assert_eq!(media.reports.len(), 1);
    let layout = Layout::new(media, None, &mut Timeline::default(), 0.0).unwrap();
    let low = |uri: &str| uri == "../low/i.m3u8";
    assert_eq!(layout.newest_of(0.1, low), Some((16, Some(3))));
    assert_eq!(layout.newest_of(0.5, low), Some((16, Some(4))));
    assert_eq!(layout.newest_of(0.1, |_| false), None);
}

#[test]
fn a_rung_taken_up_at_the_end_of_a_segment_begins_with_that_segment() {
    let layout = layout(10, 6, 4);
    let next = |last, mut parts_on| {
        let object = layout.next_object(10.0, last, &mut parts_on, 9.5).unwrap();
        (object.segment, object.part)
    };
    assert_eq!(next(None, true), (14, Some(0)));
    assert_eq!(next(Some((12, Some(9))), true), (14, Some(0)));
    assert_eq!(next(Some((14, Some(9))), true), (15, Some(0)));
    assert_eq!(next(None, false).0, 15);
}
