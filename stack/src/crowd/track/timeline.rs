//! One timeline for all playlists of a presentation: by date where they have one, else by number.

use super::super::playlist::Media;

/// Where numbers and dates lie on the timeline; set by the first playlist.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeline {
    anchor: Option<Anchor>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    number: u64,
    start: f64,
    date_s: Option<f64>,
    segment_s: f64,
}

impl Timeline {
    /// Position of a playlist's first segment. `known` is what the version before says of it.
    pub(super) fn place(&mut self, media: &Media, known: Option<f64>) -> f64 {
        let start = known.unwrap_or_else(|| self.find(media));
        self.anchor = Some(Anchor {
            number: media.first,
            start,
            date_s: first_date(media).or(self.anchor.and_then(|anchor| {
                // Keep dates across a version without any.
                anchor.date_s.map(|date| date + (start - anchor.start))
            })),
            segment_s: mean_duration(media),
        });
        start
    }

    fn find(&self, media: &Media) -> f64 {
        let Some(anchor) = self.anchor else {
            return 0.0;
        };
        if let (Some(known), Some(date)) = (anchor.date_s, first_date(media)) {
            return anchor.start + (date - known);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "playlists of one stream are near each other"
        )]
        let segments = if media.first >= anchor.number {
            (media.first - anchor.number) as f64
        } else {
            -((anchor.number - media.first) as f64)
        };
        anchor.start + segments * anchor.segment_s
    }
}

/// Date of the first segment, counted back from the first segment that has one.
fn first_date(media: &Media) -> Option<f64> {
    let mut before = 0.0;
    for segment in &media.segments {
        if let Some(date) = segment.date_s {
            return Some(date - before);
        }
        before += segment.duration_s;
    }
    None
}

fn mean_duration(media: &Media) -> f64 {
    if media.segments.is_empty() {
        return media.target_s;
    }
    let sum: f64 = media
        .segments
        .iter()
        .map(|segment| segment.duration_s)
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a playlist has few segments")]
    let count = media.segments.len() as f64;
    sum / count
}
