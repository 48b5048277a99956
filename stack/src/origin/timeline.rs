//! One rendition as its playlist tells it: segments made of parts, in a ring of bounded length.
//! Knows nothing of clocks, sockets or boxes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::body::Chunks;

/// Most segments that are kept: above those of the longest window, below what an encoder could
/// break its stream into.
const MOST_SEGMENTS: usize = 2048;

/// Most parts in one segment; what would be more begins a new one.
const MOST_PARTS: usize = 512;

/// A Partial Segment (RFC 8216bis § 4.4.4.9).
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its boxes, in pieces that may be shared with other streams.
    pub(crate) chunks: Arc<[Bytes]>,
    pub(crate) duration: Duration,
    /// Whether decoding can begin here.
    pub(crate) independent: bool,
}

/// A Media Segment, perhaps still growing.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Media Sequence Number.
    pub(crate) msn: u64,
    /// When its first sample plays, in milliseconds since 1970.
    pub(crate) start_ms: u64,
    /// Whether what came before does not join on.
    pub(crate) discontinuity: bool,
    /// Number of its initialization segment.
    pub(crate) init: u32,
    pub(crate) parts: Vec<Part>,
    pub(crate) complete: bool,
}

impl Part {
    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

impl Segment {
    pub(crate) fn duration(&self) -> Duration {
        self.parts.iter().map(|part| part.duration).sum()
    }

    fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// All of its bytes.
    pub(crate) fn chunks(&self) -> Chunks {
        self.parts
            .iter()
            .flat_map(|part| part.chunks.iter().cloned())
            .collect()
    }
}

/// The parts next to come: `part` of segment `msn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) msn: u64,
    pub(crate) part: u32,
}

/// Whether a position is in the playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    There,
    /// Soon.
    Wait,
    /// Too far ahead to wait for (RFC 8216bis § 6.2.5.2).
    TooFar,
}

/// What does not change while a rendition lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// `EXT-X-TARGETDURATION`: no segment gets longer.
    pub(crate) target: Duration,
    /// `PART-TARGET` at the start; longer parts raise it.
    pub(crate) part_target: Duration,
    /// How much is listed.
    pub(crate) window: Duration,
    /// How much is kept at most, in bytes, give or take one part.
    pub(crate) bytes: usize,
}

/// The segments of a rendition. Clones are cheap: segments are shared.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    shape: Shape,
    segments: VecDeque<Arc<Segment>>,
    inits: VecDeque<(u32, Bytes)>,
    next_msn: u64,
    /// Discontinuities that have left the ring.
    gone: u64,
    /// Length of the ring; the window and as much again, for what a client may still ask for.
    kept: Duration,
    /// Bytes in the ring.
    bytes: usize,
    ended: bool,
}

impl Timeline {
    /// An empty one whose first segment will be number `msn`.
    pub(crate) fn new(shape: Shape, msn: u64) -> Self {
        Self {
            shape,
            segments: VecDeque::new(),
            inits: VecDeque::new(),
            next_msn: msn,
            gone: 0,
            kept: Duration::ZERO,
            bytes: 0,
            ended: false,
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Takes a new initialization segment; following segments need it. One that no segment needs
    /// is forgotten, however many an encoder sends in a row.
    pub(crate) fn set_init(&mut self, init: Bytes) {
        let needed = self.segments.back().map(|segment| segment.init);
        let newest = self.inits.back().map(|(number, _)| *number);
        if newest != needed {
            self.inits.pop_back();
        }
        self.inits
            .push_back((newest.map_or(0, |number| number.wrapping_add(1)), init));
    }

    /// How many initialization segments are kept.
    #[cfg(test)]
    pub(crate) fn inits(&self) -> usize {
        self.inits.len()
    }

    /// An initialization segment by number; the newest without one.
    pub(crate) fn init(&self, number: Option<u32>) -> Option<&Bytes> {
        let found = match number {
            Some(number) => self.inits.iter().find(|(known, _)| *known == number),
            None => self.inits.back(),
        };
        found.map(|(_, init)| init)
    }

    /// Begins a segment, after closing the one before.
    pub(crate) fn begin(&mut self, start_ms: u64, discontinuity: bool) {
        self.finish();
        self.segments.push_back(Arc::new(Segment {
            msn: self.next_msn,
            start_ms,
            discontinuity: discontinuity && !self.segments.is_empty(),
            init: self.inits.back().map_or(0, |(number, _)| *number),
            parts: Vec::new(),
            complete: false,
        }));
        self.next_msn += 1;
        self.ended = false;
        self.drop_old();
    }

    /// Adds a part to the segment that was [begun](Self::begin); gives it back if there is none or
    /// the segment is full, so that one has to be begun.
    pub(crate) fn push(&mut self, part: Part) -> Result<(), Part> {
        // What counts is the length rounded to whole seconds (RFC 8216bis § 4.4.3.1).
        let most = self.shape.target + Duration::from_millis(499);
        let Some(open) = self.segments.back_mut().filter(|segment| !segment.complete) else {
            return Err(part);
        };
        let full = open.parts.len() >= MOST_PARTS
            || open.duration() + part.duration > most
            || open.len() + part.len() > self.shape.bytes / 2;
        if full && !open.parts.is_empty() {
            return Err(part);
        }
        self.bytes += part.len();
        self.shape.part_target = self.shape.part_target.max(part.duration);
        self.kept += part.duration;
        Arc::make_mut(open).parts.push(part);
        Ok(())
    }

    /// Length of the segment that still grows.
    pub(crate) fn open_duration(&self) -> Duration {
        let open = self.segments.back().filter(|segment| !segment.complete);
        open.map_or(Duration::ZERO, |segment| segment.duration())
    }

    /// Closes the segment that still grows; one without parts is taken back.
    pub(crate) fn finish(&mut self) {
        let Some(last) = self.segments.back_mut().filter(|segment| !segment.complete) else {
            return;
        };
        if last.parts.is_empty() {
            self.segments.pop_back();
            self.next_msn -= 1;
        } else {
            Arc::make_mut(last).complete = true;
        }
    }

    /// Forgets all segments; the next one will be number `msn`, and does not join on.
    pub(crate) fn jump(&mut self, msn: u64) {
        self.gone += 1 + self
            .segments
            .iter()
            .filter(|segment| segment.discontinuity)
            .count() as u64;
        self.segments.clear();
        (self.kept, self.bytes) = (Duration::ZERO, 0);
        self.next_msn = msn.max(self.next_msn);
    }

    /// Nothing more will come.
    pub(crate) fn end(&mut self) {
        self.finish();
        self.ended = true;
    }

    /// The next part to come.
    pub(crate) fn edge(&self) -> Edge {
        match self.segments.back() {
            Some(last) if !last.complete => Edge {
                msn: last.msn,
                part: last.parts.len() as u32,
            },
            _ => Edge {
                msn: self.next_msn,
                part: 0,
            },
        }
    }

    /// The last part there is.
    pub(crate) fn last(&self) -> Option<Edge> {
        let last = self
            .segments
            .iter()
            .rev()
            .find(|segment| !segment.parts.is_empty())?;
        let part = last.parts.len() as u32 - 1;
        Some(Edge {
            msn: last.msn,
            part,
        })
    }

    /// The part that a client is told to ask for: the next one, of the next segment if the open
    /// one is as long as the one before it was.
    pub(crate) fn hint(&self) -> Edge {
        let edge = self.edge();
        let before = edge.msn.checked_sub(1).and_then(|msn| self.find(msn));
        match before {
            Some(before) if edge.part > 0 && before.parts.len() == edge.part as usize => Edge {
                msn: edge.msn + 1,
                part: 0,
            },
            _ => edge,
        }
    }

    /// Whether the playlist holds a part, or a whole segment where no part is named. A part behind
    /// the last of a complete segment is the first of the next (RFC 8216bis § 6.2.5.2).
    pub(crate) fn reach(&self, msn: u64, part: Option<u32>) -> Reach {
        if self.ended {
            return Reach::There;
        }
        let edge = self.edge();
        let wanted = match part {
            None => Edge {
                msn: msn.saturating_add(1),
                part: 0,
            },
            Some(part) => {
                let behind = self
                    .find(msn)
                    .is_some_and(|found| found.complete && part as usize >= found.parts.len());
                if behind {
                    Edge {
                        msn: msn + 1,
                        part: 1,
                    }
                } else {
                    Edge {
                        msn,
                        part: part.saturating_add(1),
                    }
                }
            }
        };
        if wanted <= edge {
            return Reach::There;
        }
        // "If the client requests a Media Sequence Number greater than the last plus two": an open
        // segment is not yet a last one.
        let last = edge.msn.saturating_sub(1);
        let ahead = part
            .unwrap_or(0)
            .saturating_sub(if msn == edge.msn { edge.part } else { 0 });
        if msn > last.saturating_add(2) || (part.is_some() && ahead > self.part_limit()) {
            return Reach::TooFar;
        }
        Reach::Wait
    }

    /// Advance Part Limit (RFC 8216bis § 6.2.5.2), plus the parts of one segment, for the hint may
    /// point into a segment that has not begun.
    fn part_limit(&self) -> u32 {
        let target = self.shape.part_target.as_secs_f64();
        if target >= 1.0 {
            3
        } else {
            (3.0 / target.max(0.001)).ceil() as u32
        }
    }

    /// A segment that is still kept.
    pub(crate) fn find(&self, msn: u64) -> Option<&Segment> {
        let first = self.segments.front()?.msn;
        let index = usize::try_from(msn.checked_sub(first)?).ok()?;
        self.segments.get(index).map(|segment| &**segment)
    }

    /// The segments in the playlist, oldest first, and how many discontinuities came before them.
    pub(crate) fn listed(&self) -> (impl Iterator<Item = &Segment>, u64) {
        let mut length = Duration::ZERO;
        let listed = self
            .segments
            .iter()
            .rev()
            .take_while(|segment| {
                let before = length;
                length += segment.duration();
                before < self.shape.window
            })
            .count();
        let hidden = self.segments.len() - listed;
        let passed = self
            .segments
            .iter()
            .take(hidden)
            .filter(|segment| segment.discontinuity)
            .count();
        (
            self.segments.iter().skip(hidden).map(|segment| &**segment),
            self.gone + passed as u64,
        )
    }

    fn drop_old(&mut self) {
        // RFC 8216bis § 6.2.2: a segment stays available for its own length plus that of the
        // longest playlist after it has left the playlist.
        let most = self.shape.window * 2 + self.shape.target * 2;
        while let Some(first) = self.segments.front()
            && (self.kept > most
                || self.bytes > self.shape.bytes
                || self.segments.len() > MOST_SEGMENTS)
        {
            self.kept = self.kept.saturating_sub(first.duration());
            self.bytes = self.bytes.saturating_sub(first.len());
            self.gone += u64::from(first.discontinuity);
            self.segments.pop_front();
        }
        let oldest = self.segments.front().map_or(0, |first| first.init);
        while self.inits.len() > 1
            && self
                .inits
                .front()
                .is_some_and(|(number, _)| *number < oldest)
        {
            self.inits.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
