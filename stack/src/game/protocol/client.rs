//! What players send.

use bytes::{Buf as _, BufMut as _};

use super::{MAX_INTENTS, Malformed, get_text, put_text};

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

fn get_intent(bytes: &mut &[u8]) -> Result<Intent, Malformed> {
    Ok(Intent {
        move_x: bytes.try_get_i8()?,
        move_y: bytes.try_get_i8()?,
        buttons: bytes.try_get_u8()?,
    })
}
