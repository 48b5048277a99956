//! A match as its players' connections and the ticker share it, and the seats by token.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::Part;
use crate::game::book::{EndReason, MatchId};
use crate::game::protocol::delta::Snapshot;
use crate::game::protocol::{Intent, MAX_PLAYERS, Standing};

/// A match.
#[derive(Debug)]
pub(crate) struct Room {
    /// For `game`.
    pub(crate) id: MatchId,
    /// For players.
    pub(crate) name: String,
    /// One for each player.
    pub(crate) tokens: Vec<String>,
    slots: Mutex<Vec<Slot>>,
    /// The newest state: ticker → connections. Older ones are overwritten, never queued.
    pub(crate) newest: watch::Sender<Arc<Published>>,
}

#[derive(Debug, Default)]
struct Slot {
    intent: Intent,
    /// Newest intent taken in.
    seq: u32,
    /// Cancelled when a newer connection takes over.
    connection: Option<CancellationToken>,
    joined: bool,
    left: bool,
}

/// What the ticker makes public after a tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// The world.
    pub(crate) snapshot: Snapshot,
    /// Newest intent in it, by slot.
    pub(crate) applied: [u32; MAX_PLAYERS],
    /// Set once, at the end.
    pub(crate) over: Option<(EndReason, Vec<Standing>)>,
}

/// Who is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Players that ever joined.
    pub(crate) joined: usize,
    /// Players connected now.
    pub(crate) connected: usize,
    /// Players that went for good.
    pub(crate) left: usize,
}

impl Room {
    /// With a free slot for each token, of which at most [`MAX_PLAYERS`] are kept.
    pub(crate) fn new(id: MatchId, name: String, mut tokens: Vec<String>) -> Self {
        tokens.truncate(MAX_PLAYERS);
        let slots = tokens.iter().map(|_| Slot::default()).collect();
        Self {
            id,
            name,
            tokens,
            slots: Mutex::new(slots),
            newest: watch::Sender::default(),
        }
    }

    /// Takes a slot, from an older connection if there is one. The token is cancelled when a newer
    /// one takes over. `None` if the player left.
    pub(crate) fn join(&self, slot: u8) -> Option<CancellationToken> {
        let mut slots = self.slots();
        let slot = slots.get_mut(usize::from(slot)).filter(|slot| !slot.left)?;
        let connection = CancellationToken::new();
        if let Some(older) = slot.connection.replace(connection.clone()) {
            older.cancel();
        }
        slot.joined = true;
        // The new connection counts its intents from anew.
        (slot.seq, slot.intent) = (0, Intent::default());
        Some(connection)
    }

    /// The connection is no more, unless a newer one took over.
    pub(crate) fn part(&self, slot: u8, connection: &CancellationToken, for_good: bool) {
        if connection.is_cancelled() {
            return;
        }
        if let Some(slot) = self.slots().get_mut(usize::from(slot)) {
            slot.connection = None;
            slot.intent = Intent::default();
            slot.left |= for_good;
        }
    }

    /// Takes intents in, of which the first is number `seq`; those seen before are skipped. Within
    /// a tick the newest movement counts and no button press is lost. Returns how many were new.
    pub(crate) fn intend(&self, slot: u8, seq: u32, intents: &[Intent]) -> usize {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(usize::from(slot)) else {
            return 0;
        };
        let mut new = 0;
        for (offset, intent) in (0_u32..).zip(intents) {
            let Some(seq) = seq.checked_add(offset) else {
                break;
            };
            if seq > slot.seq {
                slot.seq = seq;
                let buttons = slot.intent.buttons | intent.buttons;
                slot.intent = Intent { buttons, ..*intent };
                new += 1;
            }
        }
        new
    }

    /// For a tick: what everybody wants, the newest numbers of it, and who is here. Buttons are
    /// used up, movement goes on.
    pub(crate) fn take_parts(&self) -> ([Part; MAX_PLAYERS], [u32; MAX_PLAYERS], Presence) {
        let mut parts = [Part::default(); MAX_PLAYERS];
        let mut applied = [0; MAX_PLAYERS];
        let mut presence = Presence::default();
        for (index, slot) in self.slots().iter_mut().enumerate() {
            let connected = slot.connection.is_some();
            parts[index] = Part {
                intent: slot.intent,
                joined: slot.joined,
                connected,
            };
            applied[index] = slot.seq;
            slot.intent.buttons = 0;
            presence.joined += usize::from(slot.joined);
            presence.connected += usize::from(connected);
            presence.left += usize::from(slot.left);
        }
        (parts, applied, presence)
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which token sits where, and which matches are open.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    by_token: HashMap<String, (Arc<Room>, u8)>,
    matches: BTreeSet<MatchId>,
}

impl Seats {
    /// Opens a match's seats.
    pub(crate) fn open(&self, room: &Arc<Room>) {
        let mut places = self.places();
        places.matches.insert(room.id);
        for (slot, token) in (0_u8..).zip(&room.tokens) {
            places
                .by_token
                .insert(token.clone(), (Arc::clone(room), slot));
        }
    }

    /// Closes a match's seats; connections go on.
    pub(crate) fn close(&self, room: &Room) {
        let mut places = self.places();
        places.matches.remove(&room.id);
        for token in &room.tokens {
            places.by_token.remove(token);
        }
    }

    /// The seat of a token.
    pub(crate) fn find(&self, token: &str) -> Option<(Arc<Room>, u8)> {
        self.places().by_token.get(token).cloned()
    }

    /// Matches that are open.
    pub(crate) fn matches(&self) -> Vec<MatchId> {
        self.places().matches.iter().copied().collect()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::protocol::BUTTON_TAG;

    fn room() -> Room {
        Room::new(1, "m".to_owned(), vec!["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn within_a_tick_the_newest_move_counts_and_no_press_is_lost() {
        let room = room();
        room.join(0).unwrap();
        let press = Intent {
            move_x: 5,
            move_y: 0,
            buttons: BUTTON_TAG,
        };
        let walk = Intent {
            move_x: 9,
            move_y: 0,
            buttons: 0,
        };
        assert_eq!(room.intend(0, 1, &[press, walk]), 2);
        let (parts, applied, _) = room.take_parts();
        assert_eq!(
            (parts[0].intent, applied[0]),
            (
                Intent {
                    buttons: BUTTON_TAG,
                    ..walk
                },
                2
            )
        );
        assert_eq!(
            room.take_parts().0[0].intent,
            walk,
            "the press was used twice, or the walk ended"
        );
    }

    #[test]
    fn repeated_and_overflowing_intents_are_skipped() {
        let room = room();
        room.join(0).unwrap();
        assert_eq!(room.intend(0, 1, &[Intent::default(); 3]), 3);
        assert_eq!(room.intend(0, 2, &[Intent::default(); 3]), 1);
        assert_eq!(room.intend(0, u32::MAX, &[Intent::default(); 3]), 1);
        assert_eq!(room.intend(9, 1, &[Intent::default()]), 0);
    }

    #[test]
    fn a_newer_connection_takes_over_and_the_older_parts_without_effect() {
        let room = room();
        let older = room.join(0).unwrap();
        let newer = room.join(0).unwrap();
        assert!(older.is_cancelled() && !newer.is_cancelled());
        room.part(0, &older, true);
        assert_eq!(
            room.take_parts().2,
            Presence {
                joined: 1,
                connected: 1,
                left: 0
            }
        );
        room.part(0, &newer, true);
        assert_eq!(
            room.take_parts().2,
            Presence {
                joined: 1,
                connected: 0,
                left: 1
            }
        );
        assert!(room.join(0).is_none(), "left for good means for good");
    }
}
