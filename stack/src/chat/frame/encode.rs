//! Frames that the server sends, header and payload in one piece.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

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
