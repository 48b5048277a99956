//! Sound waits for picture: hls.js appends none beyond the picture it has (`blockAudio`), and asks
//! for more only when all it has was appended.

use std::collections::VecDeque;

use super::Player;

/// Sound that came and is not appended yet, and how far picture was appended.
#[derive(Debug, Default)]
pub(super) struct Sound {
    held: VecDeque<(f64, f64)>,
    picture_end: f64,
    is_begun: bool,
}

impl Sound {
    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
    }
}

impl Player {
    pub(super) fn take_sound(&mut self, now: f64, from: f64, to: f64) {
        // The first of all need not wait.
        if std::mem::replace(&mut self.sound.is_begun, true) {
            self.sound.held.push_back((from, to));
            self.append_covered(now);
        } else {
            self.playback.append_sound(now, from, to);
        }
    }

    /// Picture was appended: each step forth, or back by more than itself, lets one piece of sound
    /// through whether it is covered or not.
    pub(super) fn let_sound_through(&mut self, now: f64, from: f64, to: f64) {
        let step = to - self.sound.picture_end;
        self.sound.picture_end = to;
        if (step > 0.0 || -step > to - from)
            && let Some((from, to)) = self.sound.held.pop_front()
        {
            self.playback.append_sound(now, from, to);
        }
        self.append_covered(now);
    }

    fn append_covered(&mut self, now: f64) {
        while let Some(&(from, to)) = self.sound.held.front() {
            let near = from + 0.05 * (to - from);
            if self.sound.picture_end < near && !self.playback.holds(0, near) {
                return;
            }
            self.sound.held.pop_front();
            self.playback.append_sound(now, from, to);
        }
    }
}
