use bytes::Bytes;
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
