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
pub(crate) fn write_master(variants: &[Variant], sound: Option<&Variant>) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
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
        let codecs = [Some(variant), sound].into_iter().flatten().map(|variant| variant.codecs.as_deref());
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
pub(crate) fn write_media(timeline: &Timeline, independent: bool, reports: &[Report]) -> (String, Option<String>) {
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
        if skipped.is_none() && index > 0 && total - from <= shape.target * SKIP_TARGETS {
            skipped = Some((index, body.len()));
        }
        let parts = !timeline.ended() && total - until < shape.target * PARTS_TARGETS;
        write_segment(&mut body, segment, init.replace(segment.init) != Some(segment.init), parts);
        from = until;
    }
    let mut tail = String::new();
    if timeline.ended() {
        tail.push_str("#EXT-X-ENDLIST\n");
    } else {
        let Edge { msn, part } = timeline.hint();
        _ = writeln!(tail, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-{msn}-{part}.m4s\"");
        for Report { rung, last: Edge { msn, part } } in reports {
            _ = writeln!(
                tail,
                "#EXT-X-RENDITION-REPORT:URI=\"../{rung}/index.m3u8\",LAST-MSN={msn},LAST-PART={part}"
            );
        }
    }
    let delta = skipped.map(|(count, at)| {
        let skip = format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={count}\n");
        [&head, &skip, &body[at..], &tail].concat()
    });
    ([head, body, tail].concat(), delta)
}

fn write_head(timeline: &Timeline, independent: bool, listed: &[&Segment], discontinuities: u64) -> String {
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
    let first = listed.first().map_or(timeline.edge().msn, |segment| segment.msn);
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
    let start = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(segment.start_ms));
    _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{start}");
    if parts {
        for (number, part) in segment.parts.iter().enumerate() {
            let seconds = part.duration.as_secs_f64();
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            _ = writeln!(text, "#EXT-X-PART:DURATION={seconds:.5},URI=\"part-{msn}-{number}.m4s\"{independent}");
        }
    }
    if segment.complete {
        let seconds = segment.duration().as_secs_f64();
        _ = writeln!(text, "#EXTINF:{seconds:.5},\nseg-{msn}.m4s");
    }
}

/// The first one keeps the plain name, so that a rendition that is never cut has one stable name.
fn init_uri(number: u32) -> String {
    if number == 0 { "init.mp4".to_owned() } else { format!("init-{number}.mp4") }
}
