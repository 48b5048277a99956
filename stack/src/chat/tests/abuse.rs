//! Clients that break rules, and more of them than there is room for.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Instant;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, client};

use super::{Client, PATIENCE, Running, memory};
use crate::chat::Config;
use crate::chat::config::Rate;

#[test]
fn rates_are_limited_for_a_connection_and_a_room() {
    let slow = Rate { per_s: 1, burst: 2 };
    for (config, code) in [
        (
            Config {
                connection_rate: slow,
                ..memory()
            },
            "rate_limited",
        ),
        (
            Config {
                room_rate: slow,
                ..memory()
            },
            "room_rate_limited",
        ),
    ] {
        let running = Running::start(config);
        let mut ann = running.client("one", "");
        for text in ["a", "b", "c"] {
            ann.text(text);
        }
        assert_eq!(ann.refusal(), (code.into(), json!("c")));
        assert_eq!(
            running.metric(&format!("chat_refused_total{{reason=\"{code}\"}}")),
            1
        );
    }
}

#[test]
fn what_breaks_the_protocol_is_closed_with_its_code_and_counted() {
    let running = Running::start(memory());
    for (bytes, code, kind) in [
        (vec![0x81, 0x01, b'a'], CloseCode::Protocol, "unmasked"),
        (vec![0x83, 0x80, 0, 0, 0, 0], CloseCode::Protocol, "header"),
        (vec![0x80, 0x80, 0, 0, 0, 0], CloseCode::Protocol, "order"),
        (
            vec![0x82, 0x81, 0, 0, 0, 0, 1],
            CloseCode::Unsupported,
            "binary",
        ),
        (
            vec![0x81, 0x81, 0, 0, 0, 0, 0xff],
            CloseCode::Invalid,
            "not_utf8",
        ),
        (
            vec![0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0],
            CloseCode::Size,
            "too_large",
        ),
    ] {
        let mut client = running.client("one", "");
        client.raw(&bytes);
        assert_eq!(client.closed(), Some(code), "{kind}");
        running.wait_for(&format!("chat_violations_total{{kind=\"{kind}\"}}"), 1);
    }
    running.wait_for("chat_closed_total{reason=\"violation\"}", 6);
}

#[test]
fn malformed_messages_are_answered_and_end_a_connection_when_they_do_not_end() {
    let running = Running::start(memory());
    let mut client = running.client("one", "");
    client.socket.send(Message::text("{")).unwrap();
    assert_eq!(client.refusal().0, "malformed");
    client.text("still here");
    assert_eq!(client.texts(1), ["still here"]);
    for _ in 0..200 {
        // The server closes midway.
        let _ = client.socket.send(Message::text("nonsense"));
    }
    assert_eq!(client.closed(), Some(CloseCode::Policy));
}

#[test]
fn more_connections_than_allowed_are_answered_503() {
    let running = Running::start(Config {
        max_connections: 2,
        ..memory()
    });
    let (one, _two) = (running.client("one", ""), running.client("one", ""));
    let third = TcpStream::connect(running.address).unwrap();
    match client(format!("ws://{}/rooms/one/ws", running.address), third) {
        Err(HandshakeError::Failure(Error::Http(answer))) => assert_eq!(answer.status(), 503),
        other => panic!("{other:?}"),
    }
    drop(one);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stream = TcpStream::connect(running.address).unwrap();
        if client(format!("ws://{}/rooms/one/ws", running.address), stream).is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "the place is not free again");
    }
    assert!(running.metric("chat_not_accepted_total{reason=\"full\"}") >= 1);
}

#[test]
fn what_is_not_a_handshake_is_answered_400() {
    let running = Running::start(memory());
    assert_eq!(running.http("GET", "/rooms/one/ws", "").0, 400);
    assert_eq!(running.http("GET", "/rooms/one/ws?from=x", "").0, 400);
    assert_eq!(running.http("GET", "/rooms/one/ws?user=a%20b", "").0, 400);
    assert_eq!(running.http("GET", "/rooms/a%20b", "").0, 404);
    assert_eq!(running.http("DELETE", "/rooms/one", "").0, 405);
    let (code, health) = running.http("GET", "/healthz", "");
    assert_eq!(code, 200);
    assert!(health.contains(r#""status":"ok""#), "{health}");
    assert_eq!(
        running.metric("chat_not_accepted_total{reason=\"handshake\"}"),
        3
    );
}

#[test]
fn a_burst_of_connections_is_taken() {
    const BURST: usize = 90;
    let running = Running::start(Config {
        max_http: 4,
        ..memory()
    });
    let streams: Vec<TcpStream> = (0..BURST)
        .map(|_| TcpStream::connect(running.address).unwrap())
        .collect();
    let mut clients: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            client(format!("ws://{}/rooms/one/ws", running.address), stream)
                .unwrap()
                .0
        })
        .map(|socket| Client { socket, rev: 0 })
        .collect();
    clients.first_mut().unwrap().text("all");
    for client in &mut clients {
        assert_eq!(client.texts(1), ["all"]);
    }
    assert_eq!(running.metric("chat_accepted_total"), BURST as u64);
}

/// A frame as clients send them, with what they might say or with anything, sometimes damaged.
fn any_frame(random: &mut Pcg64) -> Vec<u8> {
    const SAID: [&str; 5] = [
        r#"{"t":"msg","text":"a"}"#,
        r#"{"t":"gift","gift":"rose","n":9999}"#,
        r#"{"t":"vote","poll":"p","option":"o"}"#,
        r#"{"t":"msg","text":"\ud800"}"#,
        "[[[[[[[[",
    ];
    let mut payload = SAID[random.random_range(0..SAID.len())].as_bytes().to_vec();
    if random.random_bool(0.3) {
        payload = vec![0; random.random_range(0..600)];
        random.fill_bytes(&mut payload);
    }
    // Mostly whole texts; else any opcode, reserved bits and all.
    let first = if random.random_bool(0.7) {
        0x81
    } else {
        random.random()
    };
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    if random.random_bool(0.1) {
        let at = random.random_range(0..frame.len());
        frame[at] = random.random();
    }
    frame
}

#[test]
fn any_frames_end_their_connection_by_a_name_or_not_and_leave_the_service_well() {
    const CLIENTS: usize = 150;
    let running = Running::start_large(Config {
        max_connections: 2 * CLIENTS,
        ..memory()
    });
    let mut random = Pcg64::seed_from_u64(7);
    for _ in 0..CLIENTS {
        let mut client = running.client("one", "");
        let frames = random.random_range(1..12);
        let bytes: Vec<u8> = (0..frames).flat_map(|_| any_frame(&mut random)).collect();
        // The server may end it before the last of them.
        let _ = client.socket.get_mut().write_all(&bytes);
    }
    let deadline = Instant::now() + PATIENCE;
    while running.metric("chat_connections") > 0 {
        assert!(Instant::now() < deadline, "a connection is left");
    }
    let (_, text) = running.http("GET", "/metrics", "");
    let closed: u64 = text
        .lines()
        .filter(|line| line.starts_with("chat_closed_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(closed, CLIENTS as u64, "{text}");
    assert!(running.metric("chat_closed_total{reason=\"violation\"}") > 0);
    assert_eq!(running.metric("chat_queued_bytes"), 0);
    let mut ann = running.client("two", "");
    ann.text("still here");
    assert_eq!(ann.texts(1), ["still here"]);
}
