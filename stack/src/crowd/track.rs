//! One track of a player: its playlist laid out on the player's timeline, and which object of it
//! comes next. Pure. The rules are those of hls.js 1.7 (`base-stream-controller`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::playlist::{Map, Media, Part, Resource, Segment};

mod timeline;

pub(crate) use timeline::Timeline;

/// Differences of positions up to this are rounding, seconds.
const ROUNDING_S: f64 = 0.05;
/// Positions nearer than this are the same, seconds.
const EXACT_S: f64 = 1e-3;
/// Playlist loads without news after which the player stops waiting for it.
const MISSES: u32 = 3;

/// A playlist with positions.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) media: Media,
    /// Position of each segment, and at the end of the segment that is being made.
    starts: Vec<f64>,
    /// When it was loaded.
    pub(crate) loaded_at: f64,
    /// Loads in a row, this one included, that brought nothing new.
    pub(crate) misses: u32,
}

/// Something to load next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) resource: Resource,
    pub(crate) map: Option<Map>,
    pub(crate) segment: u64,
    /// Absent for a whole segment.
    pub(crate) part: Option<u32>,
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// Decoding can begin with it.
    pub(crate) independent: bool,
    /// It is the newest that the playlist offers.
    pub(crate) newest: bool,
}

/// A delta update leaves out segments that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoBase;

impl Layout {
    /// Lays out a playlist, over the version before.
    pub(crate) fn new(
        mut media: Media,
        previous: Option<&mut Layout>,
        timeline: &mut Timeline,
        now: f64,
    ) -> Result<Self, NoBase> {
        let mut misses = 0;
        let mut first_start = None;
        if let Some(previous) = previous {
            if media.skipped > 0 && !fill_skipped(&mut media, &mut previous.media) {
                return Err(NoBase);
            }
            misses = if previous.newest() == newest(&media) {
                previous.misses + 1
            } else {
                0
            };
            first_start = previous.start_of(media.first);
        } else if media.skipped > 0 {
            return Err(NoBase);
        }
        let mut start = timeline.place(&media, first_start);
        let mut starts = Vec::with_capacity(media.segments.len() + 1);
        for segment in &media.segments {
            starts.push(start);
            start += segment.duration_s;
        }
        starts.push(start);
        Ok(Self {
            media,
            starts,
            loaded_at: now,
            misses,
        })
    }

    /// Position of the end of all media, parts included.
    pub(crate) fn edge(&self) -> f64 {
        self.segments_end() + duration(&self.media.open_parts)
    }

    /// Position of the oldest media.
    pub(crate) fn start(&self) -> f64 {
        self.starts[0]
    }

    pub(crate) fn is_live(&self) -> bool {
        !self.media.ended
    }

    /// Whether requests can be held until there is news, part by part.
    pub(crate) fn is_low_latency(&self) -> bool {
        self.media.can_block && self.media.part_target_s.is_some() && self.last_part().is_some()
    }

    /// Where a live player starts or goes back to (hls.js `liveSyncPosition`).
    pub(crate) fn live_position(&self, now: f64, stalls: u32) -> f64 {
        let media = &self.media;
        let hold = media
            .part_hold_back_s
            .or(media.hold_back_s)
            .unwrap_or(3.0 * media.target_s);
        // Each stall costs a second of latency, up to one target duration.
        let latency = hold + f64::from(stalls).min(media.target_s);
        let step = media.part_target_s.unwrap_or(media.target_s);
        let age = (now - self.loaded_at).max(0.0);
        let overdue = (age - 3.0 * step).max(0.0);
        let wanted = self.edge() + age - latency - overdue;
        wanted.min(self.edge() - step).max(self.start())
    }

    /// Number and part count of the newest media.
    fn newest(&self) -> (u64, usize) {
        newest(&self.media)
    }

    /// The newest part: number of its segment and place in it.
    pub(crate) fn last_part(&self) -> Option<(u64, u32)> {
        let place = |parts: &[Part]| u32::try_from(parts.len()).ok()?.checked_sub(1);
        if let Some(last) = place(&self.media.open_parts) {
            return Some((self.media.open(), last));
        }
        let last = place(&self.media.segments.last()?.parts)?;
        Some((self.media.open() - 1, last))
    }

    /// What to ask another playlist for when switching to it: the number and part that it had last
    /// by this one's report, or the part after that if the report is old (hls.js `switchParams`).
    /// `of` says whether a relative address is that of the other playlist.
    pub(crate) fn newest_of(
        &self,
        now: f64,
        of: impl Fn(&str) -> bool,
    ) -> Option<(u64, Option<u32>)> {
        let media = &self.media;
        let report = media.reports.iter().find(|report| of(&report.uri))?;
        let step = media.part_target_s.unwrap_or(media.target_s);
        let is_old = (now - self.loaded_at - step).min(media.target_s) > step;
        let part = report.part.map(|part| part.saturating_add(is_old.into()));
        Some((report.number, part))
    }

    /// Whether the playlist is too old to load from: better wait for its next version.
    pub(crate) fn is_stale(&self, now: f64, with_parts: bool, position: f64) -> bool {
        let media = &self.media;
        if !self.is_live() || self.misses >= MISSES {
            return false;
        }
        let age = now - self.loaded_at;
        let parts = media
            .part_target_s
            .filter(|_| with_parts)
            .is_some_and(|target| age > 1.5 * media.part_hold_back_s.unwrap_or(3.0 * target));
        parts || age > (self.edge() - self.start()) + media.target_s || self.edge() <= position
    }

    /// Whether a player that has just come to the segment ending at `end` loads parts rather than
    /// segments (hls.js `shouldLoadParts`): only near the edge.
    pub(crate) fn prefers_parts(&self, end: f64, playhead: f64) -> bool {
        self.oldest_part().is_some_and(|(segment, start, part)| {
            let safe = start + part.duration_s + duration(&self.media.open_parts);
            end >= safe && playhead > start - self.segment_duration(segment)
        })
    }

    /// What comes at `target`, the end of what is buffered. `last` is what was loaded last from
    /// this playlist.
    pub(crate) fn next_object(
        &self,
        target: f64,
        last: Option<(u64, Option<u32>)>,
        parts_on: &mut bool,
        playhead: f64,
    ) -> Option<Object> {
        let target = target.max(self.start());
        let mut index = self.index_at(target + ROUNDING_S)?;
        // Among parts hls.js looks without tolerance. Where a rung is taken up anew the buffer ends
        // a hair before the segment does, and that segment is loaded once more.
        let is_new = last.is_none_or(|(segment, _)| segment + 1 < self.number(index));
        if *parts_on && is_new && index > 0 && target <= self.starts[index] + EXACT_S {
            index -= 1;
        }
        if let Some((segment, part)) = last
            && self.number(index) == segment
            && (part.is_none() || self.is_complete_by(index, part))
        {
            index += 1;
        }
        if index > self.media.segments.len() {
            return None;
        }
        let number = self.number(index);
        let fresh = last.is_none_or(|(segment, _)| segment != number);
        if fresh {
            *parts_on = self.prefers_parts(self.end(index), playhead);
        }
        let parts = self.parts_at(index);
        if !parts.is_empty() && (*parts_on || index == self.media.segments.len()) {
            return self.next_part(index, target, last.filter(|_| !fresh));
        }
        let segment = self.media.segments.get(index)?;
        Some(Object {
            resource: segment.resource.clone(),
            map: segment.map.clone(),
            segment: number,
            part: None,
            start: self.starts[index],
            end: self.end(index),
            independent: true,
            newest: index + 1 == self.media.segments.len() && self.media.open_parts.is_empty(),
        })
    }

    /// The part that follows another in its segment, if the playlist has it by now.
    pub(crate) fn part_after(&self, segment: u64, part: u32) -> Option<Object> {
        let index = usize::try_from(segment.checked_sub(self.media.first)?).ok()?;
        if index > self.media.segments.len() {
            return None;
        }
        self.next_part(index, 0.0, Some((segment, Some(part))))
    }

    /// All parts that follow an object in its segment; none after a whole segment.
    pub(crate) fn parts_following(&self, object: &Object) -> VecDeque<Object> {
        let mut following = VecDeque::new();
        let mut place = object.part;
        while let Some(next) = place.and_then(|part| self.part_after(object.segment, part)) {
            place = next.part;
            following.push_back(next);
        }
        following
    }

    /// The part after the last one loaded; in a new segment the last one before `target` from
    /// which decoding can begin.
    fn next_part(
        &self,
        index: usize,
        target: f64,
        last: Option<(u64, Option<u32>)>,
    ) -> Option<Object> {
        let parts = self.parts_at(index);
        let chosen = match last.and_then(|(_, part)| part) {
            Some(part) => usize::try_from(part).ok()? + 1,
            None => {
                let none_marked = parts.iter().all(|part| !part.independent);
                let mut start = self.starts[index];
                let mut chosen = None;
                for (place, part) in parts.iter().enumerate() {
                    if chosen.is_some() && start > target + ROUNDING_S {
                        break;
                    }
                    if part.independent || none_marked {
                        chosen = Some(place);
                    }
                    start += part.duration_s;
                }
                chosen?
            }
        };
        let part = parts.get(chosen)?;
        let start = self.starts[index] + duration(&parts[..chosen]);
        let number = u32::try_from(chosen).ok()?;
        Some(Object {
            resource: part.resource.clone(),
            map: self.map_at(index),
            segment: self.number(index),
            part: Some(number),
            start,
            end: start + part.duration_s,
            independent: part.independent || parts.iter().all(|part| !part.independent),
            newest: self.last_part() == Some((self.number(index), number)),
        })
    }

    /// Whether a part is the last of a segment that gets no more, or of its parts that are still
    /// listed: hls.js goes on with the next segment, and jumps over the hole later.
    fn is_complete_by(&self, index: usize, part: Option<u32>) -> bool {
        let loaded = part.map_or(0, |part| part as usize + 1);
        self.media
            .segments
            .get(index)
            .is_some_and(|segment| loaded >= segment.parts.len())
    }

    fn index_at(&self, position: f64) -> Option<usize> {
        if position >= self.edge() {
            return None;
        }
        // The first start lies at or before any position asked for.
        self.starts
            .partition_point(|start| *start <= position)
            .checked_sub(1)
    }

    fn number(&self, index: usize) -> u64 {
        self.media.first + index as u64
    }

    fn start_of(&self, number: u64) -> Option<f64> {
        let index = usize::try_from(number.checked_sub(self.media.first)?).ok()?;
        self.starts.get(index).copied()
    }

    fn segments_end(&self) -> f64 {
        self.starts.last().copied().unwrap_or_default()
    }

    fn end(&self, index: usize) -> f64 {
        self.starts
            .get(index + 1)
            .copied()
            .unwrap_or_else(|| self.edge())
    }

    fn segment_duration(&self, index: usize) -> f64 {
        self.media
            .segments
            .get(index)
            .map_or(self.media.target_s, |segment| segment.duration_s)
    }

    fn parts_at(&self, index: usize) -> &[Part] {
        self.media
            .segments
            .get(index)
            .map_or(&self.media.open_parts, |segment| &segment.parts)
    }

    fn map_at(&self, index: usize) -> Option<Map> {
        self.media
            .segments
            .get(index)
            .or(self.media.segments.last())?
            .map
            .clone()
    }

    /// The oldest part still listed, with the number and position of its segment.
    fn oldest_part(&self) -> Option<(usize, f64, &Part)> {
        (0..=self.media.segments.len())
            .find_map(|index| Some((index, self.starts[index], self.parts_at(index).first()?)))
    }
}

fn newest(media: &Media) -> (u64, usize) {
    (media.open(), media.open_parts.len())
}

fn duration(parts: &[Part]) -> f64 {
    parts.iter().map(|part| part.duration_s).sum()
}

/// Takes the skipped segments from the playlist before; false if it does not have them all.
fn fill_skipped(media: &mut Media, previous: &mut Media) -> bool {
    let (Some(from), Ok(count)) = (
        media.first.checked_sub(previous.first),
        usize::try_from(media.skipped),
    ) else {
        return false;
    };
    let Ok(from) = usize::try_from(from) else {
        return false;
    };
    let Some(known) = from
        .checked_add(count)
        .and_then(|to| previous.segments.get_mut(from..to))
    else {
        return false;
    };
    let mut segments: Vec<Segment> = known.to_vec();
    let map = segments.last().and_then(|segment| segment.map.clone());
    for segment in &mut media.segments {
        // A delta update need not repeat the map that still holds.
        segment.map = segment.map.take().or_else(|| map.as_ref().map(Arc::clone));
    }
    segments.append(&mut media.segments);
    media.segments = segments;
    media.skipped = 0;
    true
}

#[cfg(test)]
mod tests;
