//! One encoder's stream in the making: fragments in, parts and segments out. Learns the length of
//! segments and parts from the first group of pictures, before anything is shown.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::origin::boxes::{Fault, Fragment, Piece};
use crate::origin::looped::Clock;
use crate::origin::metric::Ingests;
use crate::origin::playlist::Variant;
use crate::origin::stream::{Begin, Publisher, Stream};
use crate::origin::timeline::{Part, Shape, Timeline};
use crate::origin::track::{self, Kind, Times, Track};

/// The one rung of an ingested stream.
const RUNG: &str = "main";

/// Shortest segment: shorter groups of pictures are joined.
const SHORTEST: Duration = Duration::from_millis(950);

/// Longest that is learnt from; a longer group of pictures is cut.
const LONGEST: Duration = Duration::from_secs(6);

/// Fragments that the lead track may be missing from in a row.
const MOST_WITHOUT_LEAD: usize = 64;

/// How far a fragment may begin beside the end of the one before, and still join on.
const TOLERANCE: Duration = Duration::from_millis(100);

/// One stream in the making.
#[derive(Debug)]
pub(crate) struct Feed {
    name: String,
    clock: Clock,
    window: Duration,
    /// Most bytes that are kept.
    bytes: usize,
    tag: u64,
    /// Counts encoders, to tell one coming back from another.
    turn: u64,
    init: Option<Bytes>,
    tracks: Vec<Track>,
    stage: Stage,
    /// Fragments without the lead track, kept for the next part.
    pending: Vec<Bytes>,
    /// In ticks of the lead: where the next fragment should begin.
    expected: Option<u64>,
    /// Where media time 0 lies, in milliseconds since 1970; set anew at each break.
    anchor_ms: Option<i128>,
    /// The next segment does not join on.
    broken: bool,
}

#[derive(Debug)]
enum Stage {
    Learning(Vec<(Part, u64)>),
    Live {
        publisher: Publisher,
        segment: Duration,
    },
    Ended,
}

/// What one piece brought.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) fragment: bool,
    /// A stream that can be watched from now on.
    pub(crate) begun: Option<Arc<Stream>>,
}

impl Feed {
    pub(crate) fn new(name: &str, clock: Clock, window: Duration, bytes: usize) -> Self {
        Self {
            name: name.to_owned(),
            clock,
            window,
            bytes,
            tag: clock.now_ms(),
            turn: 0,
            init: None,
            tracks: Vec::new(),
            stage: Stage::Learning(Vec::new()),
            pending: Vec::new(),
            expected: None,
            anchor_ms: None,
            broken: false,
        }
    }

    /// Which encoder this was, for telling whether it has come back.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.tag, self.turn)
    }

    /// An encoder begins, or comes back: whatever it sends does not join on.
    pub(crate) fn resume(&mut self) {
        self.turn += 1;
        self.init = None;
        self.pending.clear();
        self.expected = None;
        self.anchor_ms = None;
        self.broken = true;
    }

    /// Ends the stream; gives it if it was ever shown.
    pub(crate) fn end(&mut self) -> Option<Arc<Stream>> {
        let Stage::Live { mut publisher, .. } = std::mem::replace(&mut self.stage, Stage::Ended)
        else {
            return None;
        };
        publisher.timelines.iter_mut().for_each(Timeline::end);
        publisher.publish();
        Some(publisher.stream)
    }

    /// Takes what an encoder sent.
    ///
    /// # Errors
    /// If it cannot be played.
    pub(crate) fn take(&mut self, piece: Piece, metrics: &Ingests) -> Result<Taken, Fault> {
        match piece {
            Piece::Init(bytes, moov) => {
                self.tracks = track::read(&moov)?;
                if let Stage::Live { publisher, .. } = &mut self.stage {
                    publisher
                        .timelines
                        .iter_mut()
                        .for_each(|timeline| timeline.set_init(bytes.clone()));
                    if self.expected.take().is_some() {
                        metrics.broke("new_init");
                    }
                    self.broken = true;
                } else {
                    self.stage = Stage::Learning(Vec::new());
                }
                self.init = Some(bytes);
                Ok(Taken::default())
            }
            Piece::Fragment(fragment) => self.take_fragment(fragment, metrics),
        }
    }

    fn take_fragment(&mut self, fragment: Fragment, metrics: &Ingests) -> Result<Taken, Fault> {
        let lead = self
            .tracks
            .first()
            .filter(|_| self.init.is_some())
            .ok_or(Fault::NoInit)?;
        let (scale, times) = (u64::from(lead.timescale), lead.times(&fragment.moof)?);
        self.pending.push(fragment.bytes);
        // Before a first segment is shown there is no ring that drops what is old.
        if self.unshown() > self.bytes / 2 {
            return Err(Fault::TooMuch(self.bytes));
        }
        let Some(times) = times else {
            if self.pending.len() > MOST_WITHOUT_LEAD {
                return Err(Fault::BadTimes("fragments without the lead track"));
            }
            return Ok(Taken::default());
        };
        let part = Part {
            chunks: std::mem::take(&mut self.pending).into(),
            duration: seconds(times.duration, scale),
            independent: times.independent,
        };
        metrics.fragments.inc();
        metrics.media.inc_by(part.duration.as_secs_f64());
        self.check_join(times, scale, metrics);
        self.expected = Some(times.decode + times.duration);
        let start_ms = self.place(times.decode, part.duration, scale);
        let begun = self.publish(part, start_ms);
        Ok(Taken {
            fragment: true,
            begun,
        })
    }

    /// Bytes that are kept outside of the ring.
    fn unshown(&self) -> usize {
        let learnt = match &self.stage {
            Stage::Learning(parts) => parts.iter().map(|(part, _)| part.len()).sum(),
            Stage::Live { .. } | Stage::Ended => 0,
        };
        learnt + self.pending.iter().map(Bytes::len).sum::<usize>()
    }

    fn check_join(&mut self, times: Times, scale: u64, metrics: &Ingests) {
        let Some(expected) = self.expected else {
            return;
        };
        let why = if times.decode + ticks(TOLERANCE, scale) < expected {
            "back_in_time"
        } else if times.decode > expected + ticks(TOLERANCE, scale) {
            "gap"
        } else {
            return;
        };
        metrics.broke(why);
        self.broken = true;
        self.anchor_ms = None;
    }

    /// When the fragment plays, in milliseconds since 1970: the first one ended when it came.
    fn place(&mut self, decode: u64, duration: Duration, scale: u64) -> u64 {
        let media_ms = i128::from(decode) * 1000 / i128::from(scale);
        let now_ms = i128::from(self.clock.now_ms());
        let anchor = *self
            .anchor_ms
            .get_or_insert(now_ms - duration.as_millis() as i128 - media_ms);
        u64::try_from(anchor + media_ms).unwrap_or(0)
    }

    fn publish(&mut self, part: Part, start_ms: u64) -> Option<Arc<Stream>> {
        match &mut self.stage {
            Stage::Learning(parts) => {
                let learnt: Duration = parts.iter().map(|(part, _)| part.duration).sum();
                let whole =
                    part.independent && learnt >= SHORTEST || learnt + part.duration > LONGEST;
                if !whole {
                    // Nobody could begin to decode in the middle of a group of pictures.
                    if !parts.is_empty() || part.independent {
                        parts.push((part, start_ms));
                    }
                    return None;
                }
                let parts = std::mem::take(parts);
                let mut publisher = self.begin(&parts, learnt);
                let stream = Arc::clone(&publisher.stream);
                add(&mut publisher, learnt, part, start_ms, false);
                let tracks: Vec<String> = self.tracks.iter().map(Track::describe).collect();
                tracing::info!(
                    stream = self.name,
                    tracks = tracks.join(" + "),
                    ?learnt,
                    "a stream is shown"
                );
                self.broken = false;
                self.stage = Stage::Live {
                    publisher,
                    segment: learnt,
                };
                Some(stream)
            }
            Stage::Live { publisher, segment } => {
                add(
                    publisher,
                    *segment,
                    part,
                    start_ms,
                    std::mem::take(&mut self.broken),
                );
                None
            }
            Stage::Ended => None,
        }
    }

    fn begin(&self, parts: &[(Part, u64)], learnt: Duration) -> Publisher {
        let longest = parts
            .iter()
            .map(|(part, _)| part.duration)
            .max()
            .unwrap_or(learnt);
        let shape = Shape {
            target: Duration::from_secs(learnt.as_secs_f64().ceil().max(1.0) as u64),
            part_target: longest,
            window: self.window,
            bytes: self.bytes,
        };
        // Numbers go with the time, so that a stream that is begun anew does not run back.
        let msn = self.clock.now_ms() / 1000;
        let mut timeline = Timeline::new(shape, msn);
        timeline.set_init(self.init.clone().unwrap_or_default());
        timeline.begin(parts.first().map_or(0, |(_, start_ms)| *start_ms), false);
        let mut bytes = 0;
        for (part, _) in parts {
            bytes += part.len() as u64;
            if timeline.push(part.clone()).is_err() {
                break;
            }
        }
        timeline.finish();
        let rate = bytes * 8000 / (learnt.as_millis() as u64).max(1);
        Publisher::new(
            &self.name,
            self.tag,
            vec![Begin {
                variant: self.variant(rate),
                independent: false,
                timeline,
            }],
        )
    }

    fn variant(&self, rate: u64) -> Variant {
        let (mut resolution, mut channels) = (None, 0);
        for track in &self.tracks {
            match track.kind {
                Kind::Video { width, height } => resolution = resolution.or(Some((width, height))),
                Kind::Audio { channels: count } => channels = count,
            }
        }
        Variant {
            rung: RUNG.to_owned(),
            // A live encoder's later segments may be larger than the first.
            peak: rate + rate / 2,
            average: rate,
            codecs: track::codecs(&self.tracks),
            resolution,
            rate: None,
            channels,
        }
    }
}

fn add(publisher: &mut Publisher, segment: Duration, part: Part, start_ms: u64, broken: bool) {
    for timeline in &mut publisher.timelines {
        let open = timeline.open_duration();
        // A hair less than learnt, for frames do not divide every length.
        let full = part.independent && open + TOLERANCE / 2 >= segment;
        if broken || full || open == Duration::ZERO {
            timeline.begin(start_ms, broken);
        }
        if let Err(part) = timeline.push(part.clone()) {
            timeline.begin(start_ms, false);
            // A segment that has just begun takes any part.
            _ = timeline.push(part);
        }
        // So that a whole segment is shown with its last part and not one part later.
        if timeline.open_duration() + TOLERANCE / 2 >= segment && part_fills(timeline) {
            timeline.finish();
        }
    }
    publisher.publish();
}

/// Whether one more part would make the open segment longer than it may be.
fn part_fills(timeline: &Timeline) -> bool {
    let Shape {
        target,
        part_target,
        ..
    } = *timeline.shape();
    timeline.open_duration() + part_target > target
}

fn seconds(ticks: u64, scale: u64) -> Duration {
    Duration::from_nanos((u128::from(ticks) * 1_000_000_000 / u128::from(scale.max(1))) as u64)
}

fn ticks(duration: Duration, scale: u64) -> u64 {
    duration.as_millis() as u64 * scale / 1000
}

#[cfg(test)]
mod tests;
