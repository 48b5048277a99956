//! WebSocket frames (RFC 6455, section 5) as bytes: decodes what clients send without I/O and
//! without a buffer while nothing is half received; encodes what the server sends.
//! Headers are read and written by `tungstenite`.

use std::io::Cursor;
use std::mem;
use std::ops::ControlFlow;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

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

/// A text frame around the parts of its payload.
pub(crate) fn text_frame(parts: &[&[u8]]) -> Bytes {
    frame(OpCode::Data(Data::Text), parts)
}

/// A ping without payload.
pub(crate) fn ping_frame() -> Bytes {
    frame(OpCode::Control(Control::Ping), &[])
}

/// The answer to a ping.
pub(crate) fn pong_frame(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), &[payload])
}

/// A close frame.
pub(crate) fn close_frame(code: CloseCode) -> Bytes {
    frame(
        OpCode::Control(Control::Close),
        &[&u16::from(code).to_be_bytes()],
    )
}

fn frame(opcode: OpCode, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let mut writer = BytesMut::with_capacity(header.len(length as u64) + length).writer();
    header
        .format(length as u64, &mut writer)
        .expect("memory takes every write");
    let mut bytes = writer.into_inner();
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;

    use super::*;

    const LIMIT: u32 = 512;

    /// Every event as text, and how it ended.
    fn decode(bytes: &[u8], sizes: &[usize]) -> (Vec<String>, Option<Violation>) {
        let (mut decoder, mut seen, mut at) = (Decoder::new(LIMIT), Vec::new(), 0);
        let mut sizes = sizes.iter().cycle();
        while at < bytes.len() {
            let end = bytes
                .len()
                .min(at + sizes.next().copied().unwrap_or(bytes.len()).max(1));
            let result = decoder.feed(&mut bytes[at..end].to_vec(), |event| {
                seen.push(format!("{event:?}"));
                ControlFlow::Continue(())
            });
            if let Err(violation) = result {
                return (seen, Some(violation));
            }
            assert!(
                decoder.held() <= 4 * (LIMIT as usize + 14),
                "holds {}",
                decoder.held()
            );
            at = end;
        }
        (seen, None)
    }

    fn masked(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final,
            opcode,
            mask: Some([1, 2, 3, 4]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        Frame::from_payload(header, Bytes::copy_from_slice(payload))
            .format(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn fragments_with_a_ping_between_make_one_message() {
        let bytes = [
            masked(
                OpCode::Data(Data::Text),
                false,
                "h\u{e9}".as_bytes().split_at(2).0,
            ),
            masked(OpCode::Control(Control::Ping), true, b"p"),
            masked(
                OpCode::Data(Data::Continue),
                true,
                &"h\u{e9}".as_bytes()[2..],
            ),
            masked(
                OpCode::Control(Control::Close),
                true,
                &1000_u16.to_be_bytes(),
            ),
        ]
        .concat();
        let (seen, violation) = decode(&bytes, &[3]);
        assert_eq!(violation, None);
        assert_eq!(
            seen,
            ["Ping([112])", "Text(\"h\u{e9}\")", "Close(Some(1000))"]
        );
    }

    #[test]
    fn each_violation_is_told_apart() {
        let text = OpCode::Data(Data::Text);
        let mut reserved = masked(text, true, b"a");
        reserved[0] |= 0x40;
        let mut unmasked = text_frame(&[b"a"]).to_vec();
        unmasked.push(0);
        for (bytes, violation) in [
            (reserved, Violation::Header),
            (vec![0x83, 0x80, 0, 0, 0, 0], Violation::Header),
            (
                masked(OpCode::Control(Control::Ping), false, b""),
                Violation::Header,
            ),
            (
                masked(OpCode::Control(Control::Close), true, b"x"),
                Violation::Header,
            ),
            (
                masked(OpCode::Control(Control::Ping), true, &[0; 126]),
                Violation::Header,
            ),
            (unmasked, Violation::Unmasked),
            (
                masked(OpCode::Data(Data::Continue), true, b""),
                Violation::Order,
            ),
            (
                [masked(text, false, b"a"), masked(text, true, b"b")].concat(),
                Violation::Order,
            ),
            (
                masked(OpCode::Data(Data::Binary), true, b"a"),
                Violation::Binary,
            ),
            (masked(text, true, b"\xff"), Violation::NotUtf8),
            (
                masked(text, true, &[b'a'; LIMIT as usize + 1])[..8].to_vec(),
                Violation::TooLarge,
            ),
            (
                [
                    masked(text, false, &[b'a'; LIMIT as usize]),
                    masked(OpCode::Data(Data::Continue), true, b"b"),
                ]
                .concat(),
                Violation::TooLarge,
            ),
        ] {
            assert_eq!(decode(&bytes, &[1]).1, Some(violation), "{bytes:?}");
        }
    }

    #[test]
    fn nothing_is_held_between_whole_frames() {
        let mut decoder = Decoder::new(LIMIT);
        let mut bytes = masked(OpCode::Data(Data::Text), true, b"hello");
        decoder
            .feed(&mut bytes, |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(decoder.held(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_alike_however_they_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            sizes in prop::collection::vec(1_usize..40, 1..8),
        ) {
            prop_assert_eq!(decode(&bytes, &[usize::MAX >> 1]), decode(&bytes, &sizes));
        }

        #[test]
        fn frames_are_decoded_alike_however_they_are_cut(
            parts in prop::collection::vec((0_u8..6, any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..8),
            sizes in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(kind, last, payload)| {
                let opcode = [Data::Text, Data::Text, Data::Continue, Data::Binary].get(usize::from(*kind)).copied()
                    .map_or(OpCode::Control(if *kind == 4 { Control::Ping } else { Control::Close }), OpCode::Data);
                masked(opcode, *last, payload)
            }).collect();
            prop_assert_eq!(decode(&bytes, &[usize::MAX >> 1]), decode(&bytes, &sizes));
        }

        #[test]
        fn a_client_reads_what_the_server_encodes(payload in ".{0,70000}") {
            let bytes = text_frame(&[payload.as_bytes()]);
            let mut cursor = Cursor::new(&bytes);
            let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            prop_assert_eq!((header.opcode, header.mask, length), (OpCode::Data(Data::Text), None, payload.len() as u64));
            prop_assert_eq!(&bytes[cursor.position() as usize..], payload.as_bytes());
        }
    }
}
