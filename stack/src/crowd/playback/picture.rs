//! Which pictures Chromium can show, which is not all that its buffer holds.
//!
//! Media of another rung replaces what lay there from its key frame on. Where the decoder has
//! taken pictures from beyond that key frame already, Chromium plays what it had to its end and
//! then waits for the next key frame (`SourceBufferStream`, track buffer): parts between the two
//! are in the buffer, and of no use.

use super::range::Ranges;

/// How far ahead of the playhead pictures were taken for decoding, seconds: some six of them.
const TAKEN_S: f64 = 0.2;
/// Gaps of pictures up to this are none, seconds.
const HOLE_S: f64 = 0.1;
/// Key frames that are remembered; one comes with each segment.
const KEYS: usize = 64;

/// Media of the picture's track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) rung: usize,
    /// Decoding can begin with it.
    pub(crate) has_key: bool,
}

/// What the decoder can go through without a key frame.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    /// Rung that came last.
    rung: Option<usize>,
    /// End of what can be shown.
    end: f64,
    /// What came last does not follow what is shown.
    is_apart: bool,
    keys: Vec<f64>,
}

impl Picture {
    /// Takes in a piece; false if nothing of it is of use, for want of a key frame.
    /// `decoding` says whether frames were taken already, from `playhead` on.
    pub(super) fn take(
        &mut self,
        piece: Piece,
        buffered: &mut Ranges,
        playhead: f64,
        decoding: bool,
    ) -> bool {
        let follows = self.rung == Some(piece.rung);
        if !piece.has_key && !follows {
            return false;
        }
        if piece.has_key {
            let was_taken = piece.from < self.end.min(playhead + TAKEN_S) - HOLE_S;
            self.is_apart = decoding && was_taken && (self.is_apart || !follows);
            self.replace(piece, buffered);
        }
        self.rung = Some(piece.rung);
        buffered.insert(piece.from, piece.to, playhead);
        if !decoding {
            self.restart(buffered, playhead);
        } else if !self.is_apart {
            self.end = buffered.contiguous_end(self.end);
        }
        true
    }

    /// What lay between this key frame and the next goes.
    fn replace(&mut self, piece: Piece, buffered: &mut Ranges) {
        let next = self
            .keys
            .iter()
            .copied()
            .filter(|key| *key > piece.from + HOLE_S)
            .fold(f64::INFINITY, f64::min);
        if self.rung != Some(piece.rung) {
            buffered.remove(piece.from, next);
            if !self.is_apart {
                self.end = self.end.min(piece.from);
            }
        }
        self.keys.retain(|key| (*key - piece.from).abs() > HOLE_S);
        if self.keys.len() == KEYS {
            self.keys.remove(0);
        }
        self.keys.push(piece.from);
    }

    /// After a seek decoding begins anew, with whatever the buffer holds.
    pub(super) fn restart(&mut self, buffered: &Ranges, playhead: f64) {
        self.is_apart = false;
        self.end = buffered.contiguous_end(playhead);
    }

    /// End of what can be shown from `playhead` on.
    pub(super) fn end(&self, playhead: f64) -> f64 {
        self.end.max(playhead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Decoder {
        picture: Picture,
        buffered: Ranges,
    }

    impl Decoder {
        fn new() -> Self {
            Self {
                picture: Picture::default(),
                buffered: Ranges::default(),
            }
        }

        fn take(&mut self, rung: usize, has_key: bool, from: f64, to: f64, playhead: f64) -> bool {
            let piece = Piece {
                from,
                to,
                rung,
                has_key,
            };
            self.picture
                .take(piece, &mut self.buffered, playhead, playhead > 0.0)
        }
    }

    #[test]
    fn a_lower_rung_taken_up_in_mid_segment_shows_from_the_next_key_frame_on() {
        let mut decoder = Decoder::new();
        decoder.take(2, true, 0.0, 0.2, 0.0);
        decoder.take(2, false, 0.2, 0.8, 0.0);
        assert_eq!(decoder.picture.end(0.7), 0.8);
        decoder.take(0, true, 0.0, 0.2, 0.7);
        assert_eq!(
            decoder.buffered.contiguous_end(0.1),
            0.2,
            "the rest of its group goes"
        );
        decoder.take(0, false, 0.2, 2.0, 0.8);
        assert_eq!(decoder.picture.end(0.8), 0.8, "no key frame, no picture");
        assert_eq!(decoder.buffered.contiguous_end(0.8), 2.0);
        decoder.take(0, true, 2.0, 2.2, 0.8);
        assert_eq!(decoder.picture.end(0.8), 2.2);
    }

    #[test]
    fn a_switch_far_ahead_of_the_playhead_is_seamless() {
        let mut decoder = Decoder::new();
        decoder.take(0, true, 0.0, 2.0, 0.0);
        decoder.take(0, true, 2.0, 2.6, 0.5);
        decoder.take(2, true, 2.0, 2.2, 0.5);
        assert_eq!(decoder.picture.end(0.5), 2.2);
        decoder.take(2, false, 2.2, 4.0, 0.5);
        assert_eq!(decoder.picture.end(0.5), 4.0);
    }

    #[test]
    fn without_a_key_frame_another_rung_is_thrown_away() {
        let mut decoder = Decoder::new();
        decoder.take(0, true, 0.0, 2.0, 0.0);
        assert!(!decoder.take(2, false, 2.0, 2.2, 0.5));
        assert_eq!(decoder.buffered.contiguous_end(0.5), 2.0);
    }

    #[test]
    fn a_seek_begins_decoding_with_what_the_buffer_holds() {
        let mut decoder = Decoder::new();
        decoder.take(2, true, 0.0, 0.8, 0.0);
        decoder.take(0, true, 0.0, 2.0, 0.7);
        assert_eq!(decoder.picture.end(0.7), 0.8);
        decoder.picture.restart(&decoder.buffered, 0.1);
        assert_eq!(decoder.picture.end(0.1), 2.0);
    }
}
