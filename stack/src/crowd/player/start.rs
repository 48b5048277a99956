//! The beginning of a session: from when on media is asked for, where playback starts, and when the
//! first frame may show. hls.js's timers decide much of it.

use super::Player;

/// Turns of hls.js's loading timers (`TICK_INTERVAL`), seconds.
const TURN_S: f64 = 0.1;

impl Player {
    /// Media is asked for once the MediaSource is open and a playlist comes or the timer turns;
    /// sound that comes apart, once the time of the first picture is known, to which hls.js
    /// aligns it.
    pub(super) fn media_from(&self, track: usize) -> f64 {
        match self.sound_at {
            _ if track == 0 => self.media_at.unwrap_or(self.settings.turn_s),
            Some(sound_at) => sound_at,
            None => f64::INFINITY,
        }
    }

    /// Where a live player starts is decided when it asks for media for the first time.
    pub(super) fn find_start(&mut self, track: usize, now: f64) {
        let first = track == 0 && self.last_rung.is_none() && self.loaders[0].object.is_none();
        if !first || self.playback.has_started() {
            return;
        }
        if let Some(layout) = self.live_layout() {
            let position = layout.live_position(now, self.playback.stalls());
            self.playback.jump(now, position);
        }
    }

    /// The first picture came: when sound may be asked for. Until then each turn of its timer makes
    /// hls.js's loader of sound look (and begin to wait for the picture's time) or stop waiting; the
    /// time itself only reaches a loader that does not wait.
    pub(super) fn note_parsed(&mut self, now: f64) {
        if self.parsed_at.is_some() {
            return;
        }
        let known = now + self.settings.parse_s;
        let turns = ((known - self.settings.turn_s) / TURN_S).floor();
        self.parsed_at = Some(known);
        let waits = turns >= 0.0 && turns % 2.0 == 0.0;
        self.sound_at = Some(if waits {
            self.settings.turn_s + (turns + 2.0) * TURN_S
        } else {
            known
        });
    }

    /// A playlist came: it wakes its loader, which may have been waiting for the next turn.
    pub(super) fn wake(&mut self, now: f64, track: usize) {
        let read = now + self.settings.read_s;
        if track == 0 && (self.settings.open_s..self.settings.turn_s).contains(&now) {
            self.media_at.get_or_insert(read.min(self.settings.turn_s));
        }
        let knows = self.parsed_at.is_some_and(|known| known <= now);
        if let Some(at) = self.sound_at.as_mut().filter(|_| track == 1 && knows) {
            *at = at.min(read);
        }
    }

    /// hls.js seeks to the start position when a chain of parts, of picture or sound, has ended and
    /// was appended, and there is media of both (`FRAG_BUFFERED`); then decoders start.
    pub(super) fn release(&mut self, now: f64, track: usize) {
        let appended = track == 0 || !self.sound.is_held();
        let ended = self.loaders[track].object.is_none() && appended;
        if ended && self.playback.is_held() && self.playback.has_whole_media() {
            let parsed_at = self.parsed_at.unwrap_or(now);
            self.playback
                .hold_until(now.max(parsed_at) + self.settings.decode_s);
        }
    }
}
