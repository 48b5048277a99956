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
            .prop_map(|(ack, seq, intents)| ClientMessage::Input { ack, seq, intents }),
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
