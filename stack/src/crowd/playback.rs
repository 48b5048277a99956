//! Playback as a pure model: media comes in, a monotonic clock runs, frames are shown or not.
//!
//! It does no I/O and reads no clock: every call carries `now`, seconds since the session began.
//! Time never goes back; a call with an older `now` counts as one with the newest.

use std::collections::VecDeque;

mod picture;
mod range;
mod step;

pub(crate) use picture::Piece;

use picture::Picture;
use range::Ranges;

/// Thresholds and times of the player. The defaults are those of Chromium with hls.js; the times,
/// which depend on the machine, were read off thirty starts of Chromium 156 on two cores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Sound that must lie ahead before playback starts, seconds: Chromium's queue of decoded sound
    /// (`audio_renderer_algorithm.cc`, `kStartingCapacity`). Each stall doubles it, a seek sets it
    /// back.
    pub(crate) queue_s: f64,
    /// Picture that must lie ahead, seconds: four frames (`limits::kMaxVideoFrames`) at 30 Hz.
    pub(crate) frames_s: f64,
    /// From asking for the multivariant playlist until the MediaSource is open and media may be
    /// asked for, which happens when a playlist of the picture has come or a timer turns, seconds.
    pub(crate) open_s: f64,
    /// From a playlist's coming to asking for what it lists, where it is read first, seconds.
    pub(crate) read_s: f64,
    /// The first turn of those timers, which turn every 100 ms, seconds.
    pub(crate) turn_s: f64,
    /// From the first picture that came to knowing its time, seconds: hls.js starts a worker and
    /// parses there, and asks for sound only then (`INIT_PTS_FOUND`).
    pub(crate) parse_s: f64,
    /// What lies between a socket and the page's script, seconds: so much later than on the wire a
    /// response's head is seen, and so long after its last byte the next part is asked for.
    pub(crate) hop_s: f64,
    /// From the seek to the start position to the first frame, seconds: decoders start.
    pub(crate) decode_s: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_s: 0.2,
            frames_s: 4.0 / 30.0,
            open_s: 0.04,
            read_s: 0.012,
            turn_s: 0.125,
            parse_s: 0.08,
            hop_s: 0.008,
            decode_s: 0.035,
        }
    }
}

/// What happened, with the moment at which it did (perhaps before the call that found out).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// First frame.
    Started { at: f64 },
    /// The playhead reached the end of the media.
    StallBegan { at: f64, playhead: f64 },
    /// Playback goes on (`recovered`), or the user did something else.
    StallEnded {
        at: f64,
        since: f64,
        playhead: f64,
        recovered: bool,
    },
    /// Playback goes on after a seek or a long pause.
    Sought { at: f64, since: f64 },
    /// The end of the stream was played.
    Finished { at: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Nothing has played yet.
    Starting,
    Playing,
    Stalled {
        since: f64,
    },
    Paused,
    /// After a seek, or a resume without media.
    Refilling {
        since: f64,
    },
    Finished,
}

/// How the time of a session was spent; the parts add up to all time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) starting_s: f64,
    pub(crate) playing_s: f64,
    pub(crate) stalled_s: f64,
    pub(crate) paused_s: f64,
    pub(crate) refilling_s: f64,
    pub(crate) finished_s: f64,
}

/// The model.
#[derive(Clone, Debug)]
pub(crate) struct Playback {
    settings: Settings,
    state: State,
    now: f64,
    playhead: f64,
    /// What the buffer holds: picture first, then sound where it comes apart.
    tracks: Vec<Ranges>,
    /// What of it can be shown.
    picture: Picture,
    /// Where pictures ran out while sound goes on.
    frozen_at: Option<f64>,
    /// Where the stream ends, once known.
    end: Option<f64>,
    /// Sound that has to lie ahead at present.
    queue_s: f64,
    /// The first frame does not show before.
    ready_at: f64,
    spent: Spent,
    stalls: u32,
    changes: VecDeque<Change>,
}

impl Playback {
    /// A player with one track (picture and sound together) or two.
    pub(crate) fn new(settings: Settings, tracks: usize) -> Self {
        Self {
            settings,
            state: State::Starting,
            now: 0.0,
            playhead: 0.0,
            tracks: vec![Ranges::default(); tracks.max(1)],
            picture: Picture::default(),
            frozen_at: None,
            end: None,
            queue_s: settings.queue_s,
            ready_at: 0.0,
            spent: Spent::default(),
            stalls: 0,
            changes: VecDeque::new(),
        }
    }

    pub(crate) fn playhead(&self) -> f64 {
        self.playhead
    }

    pub(crate) fn spent(&self) -> Spent {
        self.spent
    }

    pub(crate) fn stalls(&self) -> u32 {
        self.stalls
    }

    pub(crate) fn has_started(&self) -> bool {
        self.state != State::Starting
    }

    pub(crate) fn is_stalled(&self) -> bool {
        matches!(self.state, State::Stalled { .. })
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state == State::Paused
    }

    /// Whether frames show.
    pub(crate) fn is_playing(&self) -> bool {
        self.state == State::Playing
    }

    /// End of the contiguous media of a track from the playhead on; the playhead if there is none.
    pub(crate) fn end_of(&self, track: usize) -> f64 {
        self.tracks
            .get(track)
            .map_or(self.playhead, |ranges| ranges.contiguous_end(self.playhead))
    }

    /// Whether the buffer of a track holds media at a position.
    pub(crate) fn holds(&self, track: usize, position: f64) -> bool {
        self.tracks
            .get(track)
            .is_some_and(|ranges| ranges.holds(position))
    }

    /// Whether there is media that all tracks have.
    pub(crate) fn has_whole_media(&self) -> bool {
        let later = self.tracks.iter().skip(1);
        let mut pairs = later.zip(self.tracks.first());
        !self.tracks.iter().any(Ranges::is_empty) && pairs.all(|(one, first)| one.overlaps(first))
    }

    /// What can be played of all tracks without a pause, seconds.
    pub(crate) fn ahead_s(&self) -> f64 {
        let ends = (0..self.tracks.len()).map(|track| self.playable_end(track));
        ends.fold(f64::INFINITY, f64::min) - self.playhead
    }

    fn playable_end(&self, track: usize) -> f64 {
        match track {
            0 => self.picture.end(self.playhead),
            _ => self.end_of(track),
        }
    }

    /// What happened since the last call, oldest first.
    pub(crate) fn take_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// When the next change comes if no media does.
    pub(crate) fn next_change_at(&self) -> Option<f64> {
        match self.state {
            State::Playing => Some(self.now + (self.limit() - self.playhead).max(0.0)),
            State::Starting if self.is_filled() => Some(self.ready_at).filter(|at| at.is_finite()),
            _ => None,
        }
    }

    /// No frame shows before that moment; infinity if it is not known yet.
    pub(crate) fn hold_until(&mut self, at: f64) {
        self.ready_at = at;
    }

    /// Whether the first frame waits for a moment that is not known yet.
    pub(crate) fn is_held(&self) -> bool {
        self.ready_at.is_infinite()
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, now: f64) {
        let step = (now - self.now).max(0.0);
        match self.state {
            State::Playing => self.play(step),
            State::Starting => self.spent.starting_s += step,
            State::Stalled { .. } => self.spent.stalled_s += step,
            State::Paused => self.spent.paused_s += step,
            State::Refilling { .. } => self.spent.refilling_s += step,
            State::Finished => self.spent.finished_s += step,
        }
        self.now = self.now.max(now);
        if self.state == State::Starting {
            self.go_on();
        }
    }

    /// Sound arrived, where it comes apart.
    pub(crate) fn append_sound(&mut self, now: f64, from: f64, to: f64) {
        self.advance(now);
        let keep_from = self.playhead;
        if let Some(ranges) = self.tracks.get_mut(1) {
            ranges.insert(from, to, keep_from);
        }
        self.go_on();
    }

    /// Picture (or all) arrived.
    pub(crate) fn append_picture(&mut self, now: f64, piece: Piece) {
        self.advance(now);
        let decoding = matches!(self.state, State::Playing | State::Stalled { .. });
        if let Some(ranges) = self.tracks.first_mut() {
            self.picture.take(piece, ranges, self.playhead, decoding);
        }
        self.note_frozen();
        self.go_on();
    }

    /// The stream ends there.
    pub(crate) fn set_end(&mut self, now: f64, end: f64) {
        self.advance(now);
        self.end = Some(end);
        self.go_on();
    }

    /// Moves the playhead without the user's doing: to the start position before the first frame,
    /// or back to the live edge when the playlist has left the playhead behind. A stall goes on.
    pub(crate) fn jump(&mut self, now: f64, to: f64) {
        self.advance(now);
        self.move_to(to);
        self.go_on();
    }

    /// The user pauses.
    pub(crate) fn pause(&mut self, now: f64) {
        self.leave_stall(now);
        if !matches!(self.state, State::Starting | State::Finished) {
            self.state = State::Paused;
        }
    }

    /// The user goes on after a pause.
    pub(crate) fn resume(&mut self, now: f64) {
        self.advance(now);
        if self.state == State::Paused {
            self.state = State::Refilling { since: self.now };
            if self.is_filled() {
                self.state = State::Playing;
            }
        }
    }

    /// The user jumps. Before the first frame it only moves the start.
    pub(crate) fn seek(&mut self, now: f64, to: f64) {
        self.leave_stall(now);
        self.move_to(to);
        if self.state != State::Starting && self.state != State::Paused {
            self.state = State::Refilling { since: self.now };
        }
        self.go_on();
    }

    /// The user leaves: an open stall ends unrecovered.
    pub(crate) fn leave_stall(&mut self, now: f64) {
        self.advance(now);
        if let State::Stalled { since } = self.state {
            self.end_stall(since, false);
            self.state = State::Refilling { since: self.now };
        }
    }

    /// A seek: the pipeline is flushed, and with it what stalls taught it.
    fn move_to(&mut self, to: f64) {
        self.playhead = to;
        self.queue_s = self.settings.queue_s;
        self.frozen_at = None;
        if let Some(ranges) = self.tracks.first() {
            self.picture.restart(ranges, to);
        }
    }
}

#[cfg(test)]
mod tests;
