//! What playback did, as lines of the truth.

use super::Player;
use crate::crowd::playback::Change;
use crate::truth::{Event, WaitingFor};

impl Player {
    /// Turns what playback did into lines of the truth.
    pub(super) fn note_changes(&mut self, now: f64) {
        while let Some(change) = self.playback.take_change() {
            let (at, event) = match change {
                Change::Started { at } => {
                    let standing = self.standing(now);
                    let (latency_s, rung_bps) = (standing.latency_s, standing.rung_bps);
                    (
                        at,
                        Event::Startup {
                            ms: at * 1e3,
                            latency_s,
                            rung_bps,
                        },
                    )
                }
                Change::StallBegan { at, playhead } => {
                    self.starved = true;
                    (
                        at,
                        Event::StallBegin {
                            playhead_s: playhead,
                            waiting_for: self.waiting_for(),
                        },
                    )
                }
                Change::StallEnded {
                    at,
                    since,
                    playhead,
                    recovered,
                } => {
                    let duration_ms = (at - since) * 1e3;
                    (
                        at,
                        Event::StallEnd {
                            duration_ms,
                            playhead_s: playhead,
                            recovered,
                        },
                    )
                }
                Change::Sought { at, since } => (
                    at,
                    Event::Seeked {
                        ms: (at - since) * 1e3,
                    },
                ),
                Change::Finished { .. } => continue,
            };
            self.notes.push_back((at, event));
        }
    }

    fn waiting_for(&self) -> WaitingFor {
        if self.loaders.iter().any(|loader| loader.object.is_some()) {
            WaitingFor::Media
        } else if self.loaders.iter().any(|loader| loader.playlist.is_some()) {
            WaitingFor::Playlist
        } else {
            WaitingFor::Nothing
        }
    }
}
