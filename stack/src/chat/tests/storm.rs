//! Ten thousand who come at once, and many who come and say nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::{PATIENCE, Running, memory};
use crate::chat::Config;
use crate::daemon::raise_limit;

/// Who come.
const CONNECTS: usize = 10_000;
/// For how many there is a place.
const PLACES: usize = 2_000;
/// Who connect side by side.
const THREADS: usize = 4;

const HANDSHAKE: &str = "GET /rooms/one/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// So many connections, as fast as they are made, each of which says this.
fn come(running: &Running, count: usize, words: &str) -> Vec<TcpStream> {
    let come = |count| {
        move || -> Vec<TcpStream> {
            let connect = |_| {
                let mut stream = TcpStream::connect(running.address).unwrap();
                stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
                stream.write_all(words.as_bytes()).unwrap();
                stream
            };
            (0..count).map(connect).collect()
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(come(count / THREADS)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// The code of the answer that a connection gets.
fn code(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

fn wait_until_nobody_is_left(running: &Running) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while running.metric("chat_connections") > 0 {
        assert!(Instant::now() < deadline, "connections are left");
    }
}

#[test]
fn ten_thousand_at_once_are_taken_or_refused_by_name_and_the_rest_goes_on() {
    // Both ends are in this process.
    let fit = raise_limit(CONNECTS + PLACES + 2_000);
    let connects = fit.saturating_sub(PLACES + 2_000).min(CONNECTS);
    if connects < CONNECTS {
        println!("SKIP {CONNECTS} connections: the limit of open files allows {connects}");
    }
    if connects <= PLACES {
        return;
    }
    let connects = connects - connects % THREADS;
    let running = Running::start_large(Config {
        max_connections: PLACES,
        max_http: 512,
        ..memory()
    });
    let memory = "process_resident_memory_bytes";
    let before = running.metric(memory);
    let mut streams = come(&running, connects, HANDSHAKE);
    let codes: Vec<u16> = streams.iter_mut().map(code).collect();
    let count = |code| codes.iter().filter(|one| **one == code).count();
    assert_eq!((count(101), count(503)), (PLACES, connects - PLACES));
    assert_eq!(running.metric("chat_accepted_total"), PLACES as u64);
    assert_eq!(
        running.metric("chat_not_accepted_total{reason=\"full\"}"),
        (connects - PLACES) as u64
    );
    // With its clients' ends and what other tests take; far below what queues without bound would.
    let grown = running.metric(memory).saturating_sub(before);
    assert!(grown < 512 << 20, "{grown} bytes for {connects} connects");
    assert_eq!(running.http("GET", "/healthz", "").0, 200);
    let said = running.http("POST", "/rooms/one", r#"{"t":"msg","text":"all of you"}"#);
    assert_eq!(said.0, 200, "{}", said.1);
    running.wait_for("chat_messages_out_total", PLACES as u64);
    drop(streams);
    wait_until_nobody_is_left(&running);
    let mut ann = running.client("one", "");
    ann.text("after the storm");
    assert_eq!(ann.texts(1), ["after the storm"]);
}

#[test]
fn a_silent_crowd_shuts_out_nobody() {
    let running = Running::start(Config {
        max_http: 64,
        ..memory()
    });
    let crowd = come(&running, 256, "");
    // Behind all of them in the kernel's queue.
    assert_eq!(running.http("GET", "/healthz", "").0, 200);
    assert!(running.metric("chat_not_accepted_total{reason=\"crowded\"}") >= 128);
    drop(crowd);
}
