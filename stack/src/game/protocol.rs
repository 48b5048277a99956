//! What an arena and a player say to each other over WebSocket, protocol version 1.
//!
//! Connect to the `connection` of the assignment (`ws://host:port/`). Every message is one binary
//! WebSocket message of one type byte and fixed fields, integers little-endian.
//!
//! | from | type | fields |
//! | --- | --- | --- |
//! | player | `0x01` Hello | version u8, token: length u8 (1..=128) and ASCII bytes |
//! | player | `0x02` Input | ack u32, seq u32, count u8 (1..=16), count × intent |
//! | player | `0x03` Leave | |
//! | arena | `0x81` Welcome | version u8, slot u8, players u8, tick_hz u8, tick u32, match id: length u8 and ASCII bytes |
//! | arena | `0x82` Snapshot | tick u32, base u32, ack_seq u32, count u8, count × change (see [`delta`]) |
//! | arena | `0x83` Ended | reason u8, count u8, count × (slot u8, place u8, score i16) |
//!
//! - The first message is Hello, within the arena's hello timeout; the answer is Welcome, then one
//!   Snapshot a tick. A second Hello is malformed. The same token may come again while the match
//!   lasts: the newer connection takes over.
//! - An intent is move_x i8, move_y i8, buttons u8 (bit 0: tag) and holds until the next one; `seq`
//!   belongs to the first intent of the message, the others follow by one. Numbers that the arena
//!   has seen are skipped, so intents may be repeated. The arena applies at most one move a tick
//!   whatever arrives: faster sending does not make a player faster.
//! - `ack` is the newest tick the player has decoded (0: none). Snapshots are deltas against the
//!   newest acknowledged one; `base` 0 means against nothing. Without acknowledgement for 64 ticks
//!   the next snapshot starts from nothing again.
//! - `ack_seq` is the newest intent that this snapshot contains: input to effect as players see it.
//! - A player who reads slowly misses ticks: the arena keeps no queue and writes the newest
//!   snapshot once the previous one is on its way.
//! - WebSocket pings are answered; a player that sends nothing at all for the idle timeout is gone.
//! - The arena closes with one of [`close`].

use bytes::{Buf, BufMut};

pub(crate) mod delta;

/// Of this module; in Hello and Welcome.
pub(crate) const VERSION: u8 = 1;
/// Players in one room, and so slots in a snapshot.
pub(crate) const MAX_PLAYERS: usize = 16;
/// Longest message a player may send, in bytes; longer ones end the connection.
pub(crate) const MAX_CLIENT_MESSAGE: usize = 256;
/// Longest message an arena sends, in bytes: what bots may take as their limit.
pub(crate) const MAX_SERVER_MESSAGE: usize = 1024;
/// Intents in one Input.
pub(crate) const MAX_INTENTS: usize = 16;
/// Longest token and longest match id, in bytes.
pub(crate) const MAX_TOKEN: usize = 128;
/// Ticks after which an unacknowledged snapshot is forgotten as a base.
pub(crate) const BASE_TICKS: usize = 64;

/// Close codes of an arena, from the range for private use (RFC 6455 section 7.4.2), except 1009.
pub(crate) mod close {
    /// The match is over; Ended was sent before.
    pub(crate) const MATCH_OVER: u16 = 4000;
    /// No such token, or its match is over.
    pub(crate) const BAD_TOKEN: u16 = 4001;
    /// A message that is none of the protocol's.
    pub(crate) const MALFORMED: u16 = 4002;
    /// Nothing heard for too long.
    pub(crate) const TIMED_OUT: u16 = 4003;
    /// A newer connection has the same token.
    pub(crate) const REPLACED: u16 = 4004;
    /// More messages than a player can mean.
    pub(crate) const TOO_FAST: u16 = 4005;
    /// The arena stops.
    pub(crate) const STOPPING: u16 = 4006;
    /// Message too big (RFC 6455 section 7.4.1).
    pub(crate) const TOO_BIG: u16 = 1009;
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Ends inside a field.
    #[error("message ends early")]
    Short,
    /// Bytes after the last field.
    #[error("message has bytes after its end")]
    Long,
    /// Unknown type byte.
    #[error("unknown message type {0:#04x}")]
    Type(u8),
    /// A length or count out of its bounds.
    #[error("length or count out of bounds")]
    Bounds,
    /// Text that is not ASCII.
    #[error("text is not ASCII")]
    Text,
    /// A change with unknown bits, or slots out of order.
    #[error("invalid change")]
    Change,
}

impl From<bytes::TryGetError> for Malformed {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Short
    }
}

/// What a player wants from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    /// -127 full left to 127 full right.
    pub(crate) move_x: i8,
    /// -127 full up to 127 full down.
    pub(crate) move_y: i8,
    /// Bit 0: tag the nearest player in reach.
    pub(crate) buttons: u8,
}

/// Bit of [`Intent::buttons`]: tag the nearest player in reach.
pub(crate) const BUTTON_TAG: u8 = 1;

/// What players send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    /// Who is there.
    Hello {
        /// Of the player's side, see [`VERSION`].
        version: u8,
        /// From the assignment.
        token: String,
    },
    /// What the player wants, and what it has seen.
    Input {
        /// Newest tick decoded; 0: none.
        ack: u32,
        /// Number of the first intent.
        seq: u32,
        /// 1 to 16, oldest first.
        intents: Vec<Intent>,
    },
    /// Goes for good.
    Leave,
}

/// Standing of one player at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Which player.
    pub(crate) slot: u8,
    /// 1 is best; equal places are a draw.
    pub(crate) place: u8,
    /// Tags made minus tags suffered.
    pub(crate) score: i16,
}

/// What arenas send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerMessage {
    /// Answer to Hello.
    Welcome {
        /// The player's slot in snapshots.
        slot: u8,
        /// Players the match is made of.
        players: u8,
        /// Ticks in a second.
        tick_hz: u8,
        /// The newest tick.
        tick: u32,
        /// From the assignment.
        match_id: String,
    },
    /// The world after a tick.
    Snapshot {
        /// Number of the tick, from 1.
        tick: u32,
        /// Tick that the changes are against; 0: against nothing.
        base: u32,
        /// Newest intent contained.
        ack_seq: u32,
        /// In order of slots.
        changes: Vec<delta::Change>,
    },
    /// The match is over.
    Ended {
        /// As in `MatchEnded.Reason` of the gRPC interface.
        reason: u8,
        /// Best first; empty without a result.
        standings: Vec<Standing>,
    },
}

impl ClientMessage {
    /// Appends the bytes. Over-long tokens and intents are cut to their bounds.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version, token } => {
                out.put_slice(&[0x01, *version]);
                put_text(out, token);
            }
            Self::Input { ack, seq, intents } => {
                let intents = &intents[..intents.len().min(MAX_INTENTS)];
                out.put_u8(0x02);
                out.put_u32_le(*ack);
                out.put_u32_le(*seq);
                out.put_u8(intents.len() as u8);
                for intent in intents {
                    out.put_i8(intent.move_x);
                    out.put_i8(intent.move_y);
                    out.put_u8(intent.buttons);
                }
            }
            Self::Leave => out.put_u8(0x03),
        }
    }

    /// Reads one message that takes all of `bytes`.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let message = match bytes.try_get_u8()? {
            0x01 => Self::Hello {
                version: bytes.try_get_u8()?,
                token: get_text(&mut bytes)?,
            },
            0x02 => {
                let (ack, seq) = (bytes.try_get_u32_le()?, bytes.try_get_u32_le()?);
                let count = usize::from(bytes.try_get_u8()?);
                if !(1..=MAX_INTENTS).contains(&count) {
                    return Err(Malformed::Bounds);
                }
                let intents = (0..count)
                    .map(|_| get_intent(&mut bytes))
                    .collect::<Result<_, _>>()?;
                Self::Input { ack, seq, intents }
            }
            0x03 => Self::Leave,
            other => return Err(Malformed::Type(other)),
        };
        if bytes.is_empty() {
            Ok(message)
        } else {
            Err(Malformed::Long)
        }
    }
}

impl ServerMessage {
    /// Appends the bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome {
                slot,
                players,
                tick_hz,
                tick,
                match_id,
            } => {
                out.put_slice(&[0x81, VERSION, *slot, *players, *tick_hz]);
                out.put_u32_le(*tick);
                put_text(out, match_id);
            }
            Self::Snapshot {
                tick,
                base,
                ack_seq,
                changes,
            } => {
                out.put_u8(0x82);
                out.put_u32_le(*tick);
                out.put_u32_le(*base);
                out.put_u32_le(*ack_seq);
                delta::encode(changes, out);
            }
            Self::Ended { reason, standings } => {
                let standings = &standings[..standings.len().min(MAX_PLAYERS)];
                out.put_slice(&[0x83, *reason, standings.len() as u8]);
                for standing in standings {
                    out.put_u8(standing.slot);
                    out.put_u8(standing.place);
                    out.put_i16_le(standing.score);
                }
            }
        }
    }

    /// Reads one message that takes all of `bytes`.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, Malformed> {
        let message = match bytes.try_get_u8()? {
            0x81 => get_welcome(&mut bytes)?,
            0x82 => Self::Snapshot {
                tick: bytes.try_get_u32_le()?,
                base: bytes.try_get_u32_le()?,
                ack_seq: bytes.try_get_u32_le()?,
                changes: delta::decode(&mut bytes)?,
            },
            0x83 => get_ended(&mut bytes)?,
            other => return Err(Malformed::Type(other)),
        };
        if bytes.is_empty() {
            Ok(message)
        } else {
            Err(Malformed::Long)
        }
    }
}

fn get_welcome(bytes: &mut &[u8]) -> Result<ServerMessage, Malformed> {
    if bytes.try_get_u8()? != VERSION {
        return Err(Malformed::Bounds);
    }
    Ok(ServerMessage::Welcome {
        slot: bytes.try_get_u8()?,
        players: bytes.try_get_u8()?,
        tick_hz: bytes.try_get_u8()?,
        tick: bytes.try_get_u32_le()?,
        match_id: get_text(bytes)?,
    })
}

fn get_ended(bytes: &mut &[u8]) -> Result<ServerMessage, Malformed> {
    let reason = bytes.try_get_u8()?;
    let count = usize::from(bytes.try_get_u8()?);
    if count > MAX_PLAYERS {
        return Err(Malformed::Bounds);
    }
    let standings = (0..count)
        .map(|_| {
            Ok(Standing {
                slot: bytes.try_get_u8()?,
                place: bytes.try_get_u8()?,
                score: bytes.try_get_i16_le()?,
            })
        })
        .collect::<Result<_, Malformed>>()?;
    Ok(ServerMessage::Ended { reason, standings })
}

fn get_intent(bytes: &mut &[u8]) -> Result<Intent, Malformed> {
    Ok(Intent {
        move_x: bytes.try_get_i8()?,
        move_y: bytes.try_get_i8()?,
        buttons: bytes.try_get_u8()?,
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(MAX_TOKEN)];
    out.put_u8(bytes.len() as u8);
    out.put_slice(bytes);
}

fn get_text(bytes: &mut &[u8]) -> Result<String, Malformed> {
    let length = usize::from(bytes.try_get_u8()?);
    if !(1..=MAX_TOKEN).contains(&length) {
        return Err(Malformed::Bounds);
    }
    let (text, rest) = bytes.split_at_checked(length).ok_or(Malformed::Short)?;
    *bytes = rest;
    if !text.is_ascii() {
        return Err(Malformed::Text);
    }
    String::from_utf8(text.to_vec()).map_err(|_| Malformed::Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn intent() -> impl Strategy<Value = Intent> {
        any::<(i8, i8, u8)>().prop_map(|(move_x, move_y, buttons)| Intent {
            move_x,
            move_y,
            buttons,
        })
    }

    fn client_message() -> impl Strategy<Value = ClientMessage> {
        prop_oneof![
            (any::<u8>(), "[!-~]{1,128}")
                .prop_map(|(version, token)| ClientMessage::Hello { version, token }),
            (
                any::<u32>(),
                any::<u32>(),
                prop::collection::vec(intent(), 1..=MAX_INTENTS)
            )
                .prop_map(|(ack, seq, intents)| ClientMessage::Input {
                    ack,
                    seq,
                    intents
                }),
            Just(ClientMessage::Leave),
        ]
    }

    fn server_message() -> impl Strategy<Value = ServerMessage> {
        let standing =
            any::<(u8, u8, i16)>().prop_map(|(slot, place, score)| Standing { slot, place, score });
        prop_oneof![
            (any::<[u8; 3]>(), any::<u32>(), "[!-~]{1,128}").prop_map(
                |([slot, players, tick_hz], tick, match_id)| {
                    ServerMessage::Welcome {
                        slot,
                        players,
                        tick_hz,
                        tick,
                        match_id,
                    }
                }
            ),
            (
                any::<[u32; 3]>(),
                delta::tests::snapshot(),
                delta::tests::snapshot()
            )
                .prop_map(|([tick, base, ack_seq], old, new)| {
                    ServerMessage::Snapshot {
                        tick,
                        base,
                        ack_seq,
                        changes: delta::changes(Some(&old), &new),
                    }
                }),
            (
                any::<u8>(),
                prop::collection::vec(standing, 0..=MAX_PLAYERS)
            )
                .prop_map(|(reason, standings)| ServerMessage::Ended { reason, standings }),
        ]
    }

    proptest! {
        #[test]
        fn client_messages_survive_the_wire(message in client_message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert!(bytes.len() <= MAX_CLIENT_MESSAGE);
            prop_assert_eq!(ClientMessage::decode(&bytes), Ok(message));
        }

        #[test]
        fn server_messages_survive_the_wire(message in server_message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert!(bytes.len() <= MAX_SERVER_MESSAGE);
            prop_assert_eq!(ServerMessage::decode(&bytes), Ok(message));
        }

        #[test]
        fn every_cut_of_a_client_message_is_refused(message in client_message(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert!(ClientMessage::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_a_message_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_usize..7) {
            if let Some(first) = bytes.first_mut() {
                *first = [0x01, 0x02, 0x03, 0x81, 0x82, 0x83, *first][kind];
            }
            // What decodes must be what its encoding says: two readings of the same bytes agree.
            if let Ok(message) = ClientMessage::decode(&bytes) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(&again, &bytes);
            }
            if let Ok(message) = ServerMessage::decode(&bytes) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(ServerMessage::decode(&again), Ok(message));
            }
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(ClientMessage::decode(&[0x03, 0]), Err(Malformed::Long));
    }
}
