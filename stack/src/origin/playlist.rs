//! Playlists (RFC 8216bis): the multivariant one, and of each rendition a whole one and a delta.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::timeline::{Edge, Segment, Timeline};

/// A rendition that the playlist of another one reports on.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) rung: String,
    /// The last part it has.
    pub(crate) last: Edge,
}

/// What the multivariant playlist says of a rendition.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) rung: String,
    /// Bits a second: the busiest segment, and all.
    pub(crate) peak: u64,
    pub(crate) average: u64,
    pub(crate) codecs: Option<String>,
    /// Pixels; nothing for sound.
    pub(crate) resolution: Option<(u16, u16)>,
    /// Frames a second.
    pub(crate) rate: Option<f64>,
    /// Of sound.
    pub(crate) channels: u16,
}

/// A client may skip what is older than this many target durations (§ 4.4.3.8: at least six).
const SKIP_TARGETS: u32 = 6;

/// Parts of segments older than this many target durations are not listed (§ 6.2.2).
const PARTS_TARGETS: u32 = 3;

/// The multivariant playlist: variants by falling rate; `sound` for all of them.
pub(crate) fn write_master(
    variants: &[Variant],
    sound: Option<&Variant>,
    independent: bool,
) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:9\n".to_owned();
    if independent {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    if let Some(sound) = sound {
        let rung = &sound.rung;
        _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"sound\",NAME=\"{rung}\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"{rung}/index.m3u8\"",
            sound.channels,
        );
    }
    for variant in variants {
        let more = |what: fn(&Variant) -> u64| what(variant) + sound.map_or(0, what);
        _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}",
            more(|variant| variant.peak).max(1),
            more(|variant| variant.average).max(1)
        );
        let codecs = [Some(variant), sound]
            .into_iter()
            .flatten()
            .map(|variant| variant.codecs.as_deref());
        if let Some(codecs) = codecs.collect::<Option<Vec<_>>>() {
            _ = write!(text, ",CODECS=\"{}\"", codecs.join(","));
        }
        if let Some((width, height)) = variant.resolution {
            _ = write!(text, ",RESOLUTION={width}x{height}");
        }
        if let Some(rate) = variant.rate {
            _ = write!(text, ",FRAME-RATE={rate:.3}");
        }
        if sound.is_some() {
            text.push_str(",AUDIO=\"sound\"");
        }
        _ = writeln!(text, "\n{}/index.m3u8", variant.rung);
    }
    text
}

/// The playlist of a rendition, and its delta update where there is something to skip.
pub(crate) fn write_media(
    timeline: &Timeline,
    independent: bool,
    reports: &[Report],
) -> (String, Option<String>) {
    let shape = timeline.shape();
    let (listed, discontinuities) = timeline.listed();
    let listed: Vec<&Segment> = listed.collect();
    let head = write_head(timeline, independent, &listed, discontinuities);
    let total: Duration = listed.iter().map(|segment| segment.duration()).sum();
    let mut body = String::with_capacity(4096);
    let (mut from, mut skipped) = (Duration::ZERO, None);
    let mut init = None;
    for (index, segment) in listed.iter().enumerate() {
        let until = from + segment.duration();
        // The first segment behind the Skip Boundary (§ 4.4.3.8).
        if skipped.is_none() && total - from <= shape.target * SKIP_TARGETS {
            skipped = Some((index, body.len()));
        }
        let parts = !timeline.ended() && total - until < shape.target * PARTS_TARGETS;
        write_segment(
            &mut body,
            segment,
            init.replace(segment.init) != Some(segment.init),
            parts,
        );
        from = until;
    }
    let mut tail = String::new();
    if timeline.ended() {
        tail.push_str("#EXT-X-ENDLIST\n");
    } else {
        let Edge { msn, part } = timeline.hint();
        _ = writeln!(
            tail,
            "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-{msn}-{part}.m4s\""
        );
        for Report {
            rung,
            last: Edge { msn, part },
        } in reports
        {
            _ = writeln!(
                tail,
                "#EXT-X-RENDITION-REPORT:URI=\"../{rung}/index.m3u8\",LAST-MSN={msn},LAST-PART={part}"
            );
        }
    }
    let delta = skipped.filter(|(count, _)| *count > 0).map(|(count, at)| {
        let skip = format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={count}\n");
        [&head, &skip, &body[at..], &tail].concat()
    });
    ([head, body, tail].concat(), delta)
}

fn write_head(
    timeline: &Timeline,
    independent: bool,
    listed: &[&Segment],
    discontinuities: u64,
) -> String {
    let shape = timeline.shape();
    let target = shape.target.as_secs_f64().ceil();
    let part = shape.part_target.as_secs_f64();
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{target}\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={},HOLD-BACK={},PART-HOLD-BACK={:.5}\n\
         #EXT-X-PART-INF:PART-TARGET={part:.5}\n",
        target * f64::from(SKIP_TARGETS),
        target * 3.0,
        part * 3.0,
    );
    if independent {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let first = listed
        .first()
        .map_or(timeline.edge().msn, |segment| segment.msn);
    _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{first}");
    if discontinuities > 0 {
        _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}");
    }
    text
}

fn write_segment(text: &mut String, segment: &Segment, map: bool, parts: bool) {
    let msn = segment.msn;
    if segment.discontinuity {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if map {
        let uri = init_uri(segment.init);
        _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\"");
    }
    let start =
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(segment.start_ms));
    _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{start}");
    if parts {
        for (number, part) in segment.parts.iter().enumerate() {
            let seconds = part.duration.as_secs_f64();
            let independent = if part.independent {
                ",INDEPENDENT=YES"
            } else {
                ""
            };
            _ = writeln!(
                text,
                "#EXT-X-PART:DURATION={seconds:.5},URI=\"part-{msn}-{number}.m4s\"{independent}"
            );
        }
    }
    if segment.complete {
        let seconds = segment.duration().as_secs_f64();
        _ = writeln!(text, "#EXTINF:{seconds:.5},\nseg-{msn}.m4s");
    }
}

/// The first one keeps the plain name, so that a rendition that is never cut has one stable name.
fn init_uri(number: u32) -> String {
    if number == 0 {
        "init.mp4".to_owned()
    } else {
        format!("init-{number}.mp4")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::origin::timeline::{Part, Shape};

    const PART: Duration = Duration::from_millis(200);

    fn part(independent: bool) -> Part {
        Part {
            chunks: Arc::new([Bytes::from_static(b"part")]),
            duration: PART,
            independent,
        }
    }

    /// `whole` segments of 2 s and an open one with `open` parts, from number 10 on.
    fn timeline(whole: u64, open: u64) -> Timeline {
        let shape = Shape {
            target: Duration::from_secs(2),
            part_target: PART,
            window: Duration::from_secs(40),
            bytes: 1 << 20,
        };
        let mut timeline = Timeline::new(shape, 10);
        timeline.set_init(Bytes::from_static(b"init"));
        for segment in 0..=whole {
            timeline.begin(1_700_000_000_000 + segment * 2000, false);
            for number in 0..if segment == whole { open } else { 10 } {
                timeline.push(part(number == 0)).unwrap();
            }
        }
        timeline
    }

    fn parse(text: &str) -> m3u8_rs::MediaPlaylist {
        m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_plain_player_sees_whole_segments() {
        let (text, _) = write_media(&timeline(30, 4), true, &[]);
        let playlist = parse(&text);
        assert_eq!((playlist.version, playlist.target_duration), (Some(9), 2));
        // 40 s are listed: 19 whole segments and two cut by the window's ends.
        assert_eq!((playlist.media_sequence, playlist.segments.len()), (20, 20));
        let first = &playlist.segments[0];
        assert_eq!((first.uri.as_str(), first.duration), ("seg-20.m4s", 2.0));
        assert_eq!(first.map.as_ref().unwrap().uri, "init.mp4");
        assert_eq!(
            first.program_date_time.unwrap().timestamp_millis(),
            1_700_000_020_000
        );
        assert!(!playlist.end_list);
    }

    #[test]
    fn a_low_latency_player_sees_the_last_three_targets_in_parts() {
        let reports = [Report {
            rung: "low".to_owned(),
            last: Edge { msn: 40, part: 3 },
        }];
        let (text, _) = write_media(&timeline(30, 4), true, &reports);
        let expected = "\
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:14:20.000Z
#EXT-X-PART:DURATION=0.20000,URI=\"part-40-0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.20000,URI=\"part-40-1.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"part-40-2.m4s\"
#EXT-X-PART:DURATION=0.20000,URI=\"part-40-3.m4s\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-40-4.m4s\"
#EXT-X-RENDITION-REPORT:URI=\"../low/index.m3u8\",LAST-MSN=40,LAST-PART=3
";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.contains(
            "CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,HOLD-BACK=6,PART-HOLD-BACK=0.60000\n"
        ));
        assert!(text.contains("#EXT-X-PART-INF:PART-TARGET=0.20000\n"));
        assert!(
            text.contains("part-37-0.m4s") && !text.contains("part-36-9.m4s"),
            "{text}"
        );
    }

    #[test]
    fn a_delta_is_the_whole_without_what_it_skips() {
        let (text, delta) = write_media(&timeline(30, 4), true, &[]);
        let delta = delta.unwrap();
        let (before, after) = delta.split_once("#EXT-X-SKIP:SKIPPED-SEGMENTS=").unwrap();
        let (count, after) = after.split_once('\n').unwrap();
        assert!(text.starts_with(before) && text.ends_with(after));
        // What is skipped is older than 12 s: 20 to 34 of 20 to 40.
        assert_eq!(count, "15");
        assert_eq!(
            after.matches("#EXTINF").count() + 15,
            text.matches("#EXTINF").count()
        );
        assert!(write_media(&timeline(4, 2), true, &[]).1.is_none());
    }

    #[test]
    fn a_break_and_the_end_are_told() {
        let mut timeline = timeline(1, 10);
        timeline.set_init(Bytes::from_static(b"other"));
        timeline.begin(1_700_000_100_000, true);
        timeline.push(part(true)).unwrap();
        timeline.end();
        let (text, _) = write_media(&timeline, false, &[]);
        let playlist = parse(&text);
        let last = &playlist.segments[2];
        assert!(last.discontinuity && playlist.end_list);
        assert_eq!(last.map.as_ref().unwrap().uri, "init-1.mp4");
        assert!(
            !text.contains("PRELOAD-HINT") && !text.contains("INDEPENDENT-SEGMENTS"),
            "{text}"
        );
    }

    #[test]
    fn the_multivariant_playlist_names_all_rungs() {
        let variant = |rung: &str, resolution| Variant {
            rung: rung.to_owned(),
            peak: 1_000_000,
            average: 900_000,
            codecs: Some("c".to_owned()),
            resolution,
            rate: None,
            channels: 1,
        };
        let text = write_master(
            &[variant("high", Some((1280, 720)))],
            Some(&variant("audio", None)),
            true,
        );
        let playlist = m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
        let high = &playlist.variants[0];
        assert_eq!(
            (high.uri.as_str(), high.bandwidth, high.average_bandwidth),
            ("high/index.m3u8", 2_000_000, Some(1_800_000))
        );
        assert_eq!(
            (high.codecs.as_deref(), high.audio.as_deref()),
            (Some("c,c"), Some("sound"))
        );
        assert_eq!(
            playlist.alternatives[0].uri.as_deref(),
            Some("audio/index.m3u8")
        );
    }

    proptest! {
        /// Whatever an encoder's rhythm is, a plain parser reads every whole segment, and no
        /// segment is longer than the target says.
        #[test]
        fn any_rhythm_of_parts_is_a_playlist(lengths in prop::collection::vec((20u64..1500, any::<bool>(), 0u8..20), 1..200)) {
            let shape = Shape { target: Duration::from_secs(2), part_target: PART, window: Duration::from_secs(40), bytes: 1 << 20 };
            let mut timeline = Timeline::new(shape, 0);
            timeline.set_init(Bytes::from_static(b"init"));
            for (ms, independent, what) in lengths {
                if what == 0 { timeline.begin(ms, independent) }
                let part = Part { duration: Duration::from_millis(ms), ..part(independent) };
                if let Err(part) = timeline.push(part) {
                    timeline.begin(ms, false);
                    prop_assert!(timeline.push(part).is_ok());
                }
            }
            let (text, delta) = write_media(&timeline, false, &[]);
            let playlist = parse(&text);
            let whole = timeline.listed().0.filter(|segment| segment.complete).count();
            prop_assert_eq!(playlist.segments.len(), whole);
            prop_assert!(playlist.segments.iter().all(|segment| segment.duration.round() <= 2.0));
            if let Some(delta) = delta {
                prop_assert!(delta.len() < text.len() + 40);
            }
        }
    }
}
