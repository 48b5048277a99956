//! What a step of time does to playback: frames show, media runs out, comes back, ends.

use super::{Change, Playback, State};

/// Longest that decoded sound has to be before playback goes on (Chromium's `kMaxCapacity`), seconds.
const QUEUE_MOST_S: f64 = 3.0;

/// How long sound plays on while pictures are missing before it counts as a stall (Chromium's
/// `video_underflow_threshold_`), seconds of media.
const FROZEN_S: f64 = 3.0;

impl Playback {
    /// How far playback can go. Sound missing is a stall; with pictures missing Chromium lets sound
    /// play on for a while, though hls.js appends little of it beyond the pictures (`blockAudio`).
    pub(super) fn limit(&self) -> f64 {
        let media = match self.tracks.len() {
            1 => self.playhead + self.ahead_s(),
            _ => {
                let shown = self.frozen_at.unwrap_or(self.playable_end(0));
                self.end_of(1).min(shown + FROZEN_S)
            }
        };
        self.end.map_or(media, |end| media.min(end))
    }

    /// Whether the playhead has left the pictures behind, or they have caught up with it.
    pub(super) fn note_frozen(&mut self) {
        let shown = self.picture.end(f64::NEG_INFINITY);
        if self.tracks.len() == 1 || shown > self.playhead - 1e-6 {
            self.frozen_at = None;
        } else {
            self.frozen_at.get_or_insert(shown);
        }
    }

    pub(super) fn play(&mut self, step: f64) {
        let room = (self.limit() - self.playhead).max(0.0);
        if step < room {
            self.playhead += step;
            self.spent.playing_s += step;
            self.note_frozen();
            return;
        }
        self.playhead += room;
        self.spent.playing_s += room;
        let (at, rest) = (self.now + room, step - room);
        if self.end.is_some_and(|end| self.playhead >= end - 1e-6) {
            self.state = State::Finished;
            self.spent.finished_s += rest;
            self.changes.push_back(Change::Finished { at });
        } else {
            self.state = State::Stalled { since: at };
            self.frozen_at = None;
            self.stalls += 1;
            self.queue_s = (2.0 * self.queue_s).min(QUEUE_MOST_S);
            self.spent.stalled_s += rest;
            self.changes.push_back(Change::StallBegan {
                at,
                playhead: self.playhead,
            });
        }
    }

    /// Starts or resumes if enough media is there.
    pub(super) fn go_on(&mut self) {
        let at = self.now;
        match self.state {
            State::Starting if at >= self.ready_at && self.is_filled() => {
                self.changes.push_back(Change::Started { at });
            }
            State::Stalled { since } if self.is_filled() => self.end_stall(since, true),
            State::Refilling { since } if self.is_filled() => {
                self.changes.push_back(Change::Sought { at, since });
            }
            State::Starting | State::Stalled { .. } | State::Refilling { .. } => return,
            State::Playing | State::Paused | State::Finished => return,
        }
        self.state = State::Playing;
    }

    pub(super) fn end_stall(&mut self, since: f64, recovered: bool) {
        let (at, playhead) = (self.now, self.playhead);
        self.changes.push_back(Change::StallEnded {
            at,
            since,
            playhead,
            recovered,
        });
    }

    pub(super) fn is_filled(&self) -> bool {
        let last = self.tracks.len() - 1;
        (0..=last).all(|track| {
            let needed_s = if track == last {
                self.queue_s
            } else {
                self.settings.frames_s
            };
            let wanted = self.playhead + needed_s;
            let wanted = self.end.map_or(wanted, |end| wanted.min(end));
            // Durations in playlists are rounded: a part of 200 ms may show as 199.999.
            self.playable_end(track) >= wanted - 1e-3
        })
    }
}
