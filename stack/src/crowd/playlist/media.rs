//! Media playlists: segments, parts, what the server offers (RFC 8216bis 4.4.3 to 4.4.5).

use std::sync::Arc;

use chrono::DateTime;

use super::attribute::{Attributes, parse_range};
use super::{Range, Resource, Unusable, lines, seconds, split_tag};

/// One media playlist, or a delta update of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Media {
    pub(crate) target_s: f64,
    pub(crate) part_target_s: Option<f64>,
    /// Number of the first segment, the skipped ones included.
    pub(crate) first: u64,
    /// Segments that a delta update left out: they are those of the playlist before.
    pub(crate) skipped: u64,
    /// Complete segments, without the skipped ones.
    pub(crate) segments: Vec<Segment>,
    /// Parts of the segment that is still being made.
    pub(crate) open_parts: Vec<Part>,
    /// Nothing will be added: recorded, or the stream has ended.
    pub(crate) ended: bool,
    /// Whether the server holds requests until what they ask for exists.
    pub(crate) can_block: bool,
    /// Delta updates leave out what is older than this before the end.
    pub(crate) can_skip_until_s: Option<f64>,
    pub(crate) hold_back_s: Option<f64>,
    pub(crate) part_hold_back_s: Option<f64>,
    /// What the other playlists of the presentation had last (EXT-X-RENDITION-REPORT).
    pub(crate) reports: Vec<Report>,
}

/// The newest media of another playlist.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// Address of that playlist, relative to this one.
    pub(crate) uri: Box<str>,
    /// Number of its last segment, complete or not.
    pub(crate) number: u64,
    /// Last part of that segment.
    pub(crate) part: Option<u32>,
}

/// A complete segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) resource: Resource,
    pub(crate) duration_s: f64,
    /// EXT-X-PROGRAM-DATE-TIME in Unix seconds, if the segment has its own.
    pub(crate) date_s: Option<f64>,
    pub(crate) map: Option<Map>,
    pub(crate) parts: Vec<Part>,
}

/// Part of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) resource: Resource,
    pub(crate) duration_s: f64,
    /// Decoding can begin here.
    pub(crate) independent: bool,
}

/// Initialization section.
pub(crate) type Map = Arc<Resource>;

impl Media {
    pub(crate) fn parse(text: &str) -> Result<Self, Unusable> {
        let mut reader = Reader::default();
        for line in lines(text)? {
            if line.starts_with('#') {
                let (tag, value) = split_tag(line);
                reader.tag(tag, value);
            } else {
                reader.uri(line);
            }
        }
        reader.finish()
    }

    /// Number after the last complete segment: the one that [`Media::open_parts`] belong to.
    pub(crate) fn open(&self) -> u64 {
        // `finish` has checked the sum.
        self.first + self.skipped + self.segments.len() as u64
    }
}

#[derive(Default)]
struct Reader {
    media: Media,
    has_target: bool,
    duration_s: Option<f64>,
    date_s: Option<f64>,
    map: Option<Map>,
    range: Option<Option<Range>>,
    previous_range: Option<Range>,
    previous_part_range: Option<Range>,
}

impl Reader {
    fn tag(&mut self, tag: &str, value: &str) {
        let media = &mut self.media;
        match tag {
            "#EXTINF" => self.duration_s = seconds(value.split(',').next().unwrap_or_default()),
            "#EXT-X-PART" => self.part(Attributes::new(value)),
            "#EXT-X-PROGRAM-DATE-TIME" => self.date_s = parse_date(value),
            "#EXT-X-BYTERANGE" => self.range = Some(parse_range(value, self.previous_range)),
            "#EXT-X-MAP" => self.map = Attributes::new(value).resource(None).map(Arc::new),
            "#EXT-X-TARGETDURATION" => {
                let target = seconds(value).filter(|target| *target > 0.0);
                self.has_target |= target.is_some();
                media.target_s = target.unwrap_or(media.target_s);
            }
            "#EXT-X-MEDIA-SEQUENCE" => media.first = value.trim().parse().unwrap_or(0),
            "#EXT-X-ENDLIST" => media.ended = true,
            "#EXT-X-PART-INF" => {
                media.part_target_s = Attributes::new(value).seconds("PART-TARGET")
            }
            "#EXT-X-RENDITION-REPORT" => self.report(Attributes::new(value)),
            "#EXT-X-SERVER-CONTROL" => self.server_control(Attributes::new(value)),
            "#EXT-X-SKIP" => {
                media.skipped = Attributes::new(value)
                    .number("SKIPPED-SEGMENTS")
                    .unwrap_or(0)
            }
            _ => {}
        }
    }

    fn uri(&mut self, uri: &str) {
        let range = self.range.take().flatten();
        self.previous_range = range;
        self.previous_part_range = None;
        let parts = std::mem::take(&mut self.media.open_parts);
        let Some(duration_s) = self.duration_s.take() else {
            return;
        };
        self.media.segments.push(Segment {
            resource: Resource {
                uri: uri.into(),
                range,
            },
            duration_s,
            date_s: self.date_s.take(),
            map: self.map.clone(),
            parts,
        });
    }

    fn part(&mut self, list: Attributes<'_>) {
        let (Some(resource), Some(duration_s)) = (
            list.resource(self.previous_part_range),
            list.seconds("DURATION"),
        ) else {
            return;
        };
        self.previous_part_range = resource.range;
        let independent = list.is_yes("INDEPENDENT");
        self.media.open_parts.push(Part {
            resource,
            duration_s,
            independent,
        });
    }

    fn report(&mut self, list: Attributes<'_>) {
        let (Some(uri), Some(number)) = (list.get("URI"), list.number("LAST-MSN")) else {
            return;
        };
        let part = list.number("LAST-PART");
        self.media.reports.push(Report {
            uri: uri.into(),
            number,
            part: part.and_then(|part| part.try_into().ok()),
        });
    }

    fn server_control(&mut self, list: Attributes<'_>) {
        self.media.can_block = list.is_yes("CAN-BLOCK-RELOAD");
        self.media.can_skip_until_s = list.seconds("CAN-SKIP-UNTIL");
        self.media.hold_back_s = list.seconds("HOLD-BACK");
        self.media.part_hold_back_s = list.seconds("PART-HOLD-BACK");
    }

    fn finish(self) -> Result<Media, Unusable> {
        if !self.has_target {
            return Err(Unusable::NoTargetDuration);
        }
        let media = self.media;
        let segments = media.segments.len() as u64 + 1;
        media
            .first
            .checked_add(media.skipped)
            .and_then(|number| number.checked_add(segments))
            .ok_or(Unusable::Overflow)?;
        Ok(media)
    }
}

/// ISO 8601 as encoders write it, with or without a colon in the offset.
fn parse_date(text: &str) -> Option<f64> {
    let date = DateTime::parse_from_str(text.trim(), "%Y-%m-%dT%H:%M:%S%.f%#z").ok()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of this millennium fit 53 bits"
    )]
    Some(date.timestamp_micros() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOW_LATENCY: &str = r#"#EXTM3U
#EXT-X-TARGETDURATION:2
#EXT-X-VERSION:9
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.2
#EXT-X-MEDIA-SEQUENCE:266
#EXT-X-PROGRAM-DATE-TIME:2026-02-14T02:13:36.106Z
#EXT-X-MAP:URI="init.mp4"
#EXTINF:2.00000,
f266.mp4
#EXT-X-PART:DURATION=1.0,URI="f267.0.mp4",INDEPENDENT=YES
#EXT-X-PART:DURATION=1.0,URI="f267.1.mp4"
#EXTINF:2.00000,
f267.mp4
#EXT-X-PART:DURATION=0.2,URI="f268.mp4",BYTERANGE="100@0",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.2,URI="f268.mp4",BYTERANGE="50"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="f268.2.mp4"
#EXT-X-RENDITION-REPORT:URI="../low/index.m3u8",LAST-MSN=268,LAST-PART=1
"#;

    #[test]
    fn a_low_latency_playlist_reads_whole() {
        let media = Media::parse(LOW_LATENCY).unwrap();
        assert!(media.can_block && !media.ended);
        assert_eq!((media.target_s, media.part_target_s), (2.0, Some(0.2)));
        assert_eq!(
            (media.part_hold_back_s, media.can_skip_until_s),
            (Some(0.6), Some(12.0))
        );
        assert_eq!((media.first, media.open()), (266, 268));
        assert_eq!(media.segments[0].date_s, Some(1_771_035_216.106));
        assert_eq!(media.segments[1].parts.len(), 2);
        assert!(media.segments[1].map.is_some());
        assert_eq!(
            media.open_parts[1].resource.range,
            Some(Range {
                length: 50,
                offset: 100
            })
        );
    }

    #[test]
    fn a_delta_update_counts_what_it_skips() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:10\n\
            #EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:2,\na.mp4\n";
        let media = Media::parse(text).unwrap();
        assert_eq!((media.first, media.skipped, media.open()), (10, 3, 14));
    }

    #[test]
    fn ffmpegs_dates_without_colon_are_read() {
        assert_eq!(parse_date("1970-01-01T01:00:00.250+0100"), Some(0.25));
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn numbers_that_run_over_are_refused() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n";
        assert_eq!(Media::parse(text), Err(Unusable::Overflow));
        assert_eq!(Media::parse("#EXTM3U\n"), Err(Unusable::NoTargetDuration));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(lines in prop::collection::vec(line(), 0..40)) {
            let text = format!("#EXTM3U\n{}", lines.join("\n"));
            if let Ok(media) = Media::parse(&text) {
                prop_assert!(media.target_s > 0.0);
                prop_assert!(media.segments.iter().all(|segment| segment.duration_s >= 0.0));
                prop_assert_eq!(media.open(), media.first + media.skipped + media.segments.len() as u64);
            }
        }

        #[test]
        fn segments_keep_order_and_durations(durations in prop::collection::vec(1_u32..9_000, 0..50), first in 0_u64..1 << 40) {
            let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
            for (index, ms) in durations.iter().enumerate() {
                text.push_str(&format!("#EXTINF:{},\n{index}.mp4\n", f64::from(*ms) / 1e3));
            }
            let media = Media::parse(&text).unwrap();
            prop_assert_eq!(media.open(), first + durations.len() as u64);
            for (index, (segment, ms)) in media.segments.iter().zip(&durations).enumerate() {
                prop_assert_eq!(segment.duration_s, f64::from(*ms) / 1e3);
                prop_assert_eq!(segment.resource.uri.as_ref(), format!("{index}.mp4"));
            }
        }
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "#(EXTINF|EXT-X-(PART|SKIP|MAP|BYTERANGE|TARGETDURATION|MEDIA-SEQUENCE|SERVER-CONTROL|PRELOAD-HINT|RENDITION-REPORT|PROGRAM-DATE-TIME)):[-A-Z0-9=@.\",]{0,40}",
            "#EXT-X-TARGETDURATION:[0-9]{1,3}",
            "#EXT-X-PART:DURATION=[0-9.]{1,6},URI=\"[a-z]{0,4}\",BYTERANGE=\"[0-9@]{1,24}\"",
            ".{0,30}",
        ]
    }
}
