//! What arenas send.

use bytes::{Buf as _, BufMut as _};

use super::{MAX_PLAYERS, Malformed, VERSION, delta, get_text, put_text};

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
