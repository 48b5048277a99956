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

use bytes::{Buf as _, BufMut as _};

mod client;
pub(crate) mod delta;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use client::{BUTTON_TAG, ClientMessage, Intent};
pub(crate) use server::{ServerMessage, Standing};

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
