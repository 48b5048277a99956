//! WebSocket frames (RFC 6455, section 5) as bytes: decodes what clients send without I/O and
//! without a buffer while nothing is half received; encodes what the server sends.
//! Headers are read and written by `tungstenite`.

use std::io::Cursor;
use std::mem;
use std::ops::ControlFlow;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

mod encode;
#[cfg(test)]
mod tests;

pub(crate) use encode::{close_frame, ping_frame, pong_frame, text_frame};

/// What a client did.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Event<'a> {
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    /// Wants to close, with this code.
    Close(Option<u16>),
}

/// How a client broke the protocol; nothing after it is read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Violation {
    /// Reserved bits, an unknown opcode, or a control frame that is fragmented or too long.
    Header,
    /// Not masked, which section 5.1 demands.
    Unmasked,
    /// A continuation of nothing, or a new message inside another.
    Order,
    /// A binary message.
    Binary,
    /// A text that is not UTF-8.
    NotUtf8,
    /// A message above the bound.
    TooLarge,
}

impl Violation {
    /// The code to close with (section 7.4.1).
    pub(crate) fn code(self) -> CloseCode {
        match self {
            Self::Header | Self::Unmasked | Self::Order => CloseCode::Protocol,
            Self::Binary => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::TooLarge => CloseCode::Size,
        }
    }
}

/// Receives the frames of one client.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Bytes of a frame that is not whole yet; no allocation otherwise.
    rest: Vec<u8>,
    /// Text of a fragmented message so far.
    message: Option<Vec<u8>>,
    limit: u32,
}

impl Decoder {
    /// `limit` bounds a message, and so what is held, in bytes.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            rest: Vec::new(),
            message: None,
            limit,
        }
    }

    /// Takes bytes as they came and calls back for everything that is whole. Unmasks in place.
    /// Stops where the callback breaks.
    pub(crate) fn feed(
        &mut self,
        input: &mut [u8],
        mut on: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Violation> {
        if self.rest.is_empty() {
            let taken = self.scan(input, &mut on)?;
            self.rest = input.get(taken..).unwrap_or_default().to_vec();
            return Ok(());
        }
        let mut held = mem::take(&mut self.rest);
        held.extend_from_slice(input);
        let taken = self.scan(&mut held, &mut on)?;
        if taken < held.len() {
            held.drain(..taken);
            self.rest = held;
        }
        Ok(())
    }

    /// Bytes held for later.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.rest.capacity() + self.message.as_ref().map_or(0, Vec::capacity)
    }

    /// Handles every whole frame; returns the length of what was used.
    fn scan(
        &mut self,
        bytes: &mut [u8],
        on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Violation> {
        let mut at = 0;
        loop {
            let mut cursor = Cursor::new(bytes.get(at..).unwrap_or_default());
            let Some((header, length)) =
                FrameHeader::parse(&mut cursor).map_err(|_| Violation::Header)?
            else {
                return Ok(at);
            };
            let start = at + cursor.position() as usize;
            let mask = self.check(&header, length)?;
            // `check` has bounded the length by a u32.
            let end = start + length as usize;
            let Some(payload) = bytes.get_mut(start..end) else {
                return Ok(at);
            };
            unmask(payload, mask);
            at = end;
            if self.handle(&header, payload, on)?.is_break() {
                return Ok(bytes.len());
            }
        }
    }

    /// Refuses a frame by its header, before its payload is waited for.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<[u8; 4], Violation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Header);
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > 125 => {
                return Err(Violation::Header);
            }
            OpCode::Control(_) => {}
            OpCode::Data(Data::Binary) => return Err(Violation::Binary),
            OpCode::Data(Data::Continue) if self.message.is_none() => return Err(Violation::Order),
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(_) if self.message.is_some() => return Err(Violation::Order),
            OpCode::Data(_) => {}
        }
        let before = self.message.as_ref().map_or(0, Vec::len) as u64;
        if matches!(header.opcode, OpCode::Data(_))
            && length.saturating_add(before) > u64::from(self.limit)
        {
            return Err(Violation::TooLarge);
        }
        header.mask.ok_or(Violation::Unmasked)
    }

    fn handle(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        on: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(on(Event::Ping(payload))),
            OpCode::Control(Control::Pong) => Ok(on(Event::Pong)),
            OpCode::Control(_) => {
                let code = match payload {
                    [] => None,
                    [_] => return Err(Violation::Header),
                    [high, low, reason @ ..] => {
                        std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
                        Some(u16::from_be_bytes([*high, *low]))
                    }
                };
                Ok(on(Event::Close(code)))
            }
            OpCode::Data(_) => match (self.message.take(), header.is_final) {
                (None, true) => Ok(on(text(payload)?)),
                (None, false) => {
                    self.message = Some(payload.to_vec());
                    Ok(ControlFlow::Continue(()))
                }
                (Some(mut message), last) => {
                    message.extend_from_slice(payload);
                    if last {
                        return Ok(on(text(&message)?));
                    }
                    self.message = Some(message);
                    Ok(ControlFlow::Continue(()))
                }
            },
        }
    }
}

fn text(payload: &[u8]) -> Result<Event<'_>, Violation> {
    std::str::from_utf8(payload)
        .map(Event::Text)
        .map_err(|_| Violation::NotUtf8)
}

/// Section 5.3.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for chunk in payload.chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}
