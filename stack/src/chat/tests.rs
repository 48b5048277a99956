//! The whole service over its sockets, with an independent client (`tungstenite`).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};
use tokio_util::sync::CancellationToken;

use super::config::{Audit, Personal, Rate, Storage};
use super::outbox::SlowConsumer;
use super::{Config, Service};

mod history;
mod redis;

/// Far above what a loaded machine needs: a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service with its own run time.
struct Running {
    runtime: Runtime,
    service: Option<Service>,
    stop: CancellationToken,
    address: SocketAddr,
}

impl Running {
    fn start(config: Config) -> Self {
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_connections: 100.min(config.max_connections),
            ..config
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let service = runtime
            .block_on(Service::start(config, stop.clone()))
            .unwrap();
        let address = service.address;
        Self {
            runtime,
            service: Some(service),
            stop,
            address,
        }
    }

    fn client(&self, room: &str, query: &str) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = client(
            format!("ws://{}/rooms/{room}/ws?{query}", self.address),
            stream,
        )
        .unwrap();
        let mut client = Client { socket, rev: 0 };
        let hello = client.next();
        assert_eq!(hello["hello"]["room"], room, "{hello}");
        client.rev = hello["hello"]["rev"].as_u64().unwrap();
        client
    }

    /// Status and body of a request.
    fn http(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// The value of a metric; 0 if it is not there yet.
    fn metric(&self, line: &str) -> u64 {
        let (_, text) = self.http("GET", "/metrics", "");
        let value = text.lines().find_map(|found| {
            found
                .strip_prefix(line)?
                .strip_prefix(' ')
                .map(str::to_owned)
        });
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric reaches a value.
    fn wait_for(&self, line: &str, least: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(line) < least {
            assert!(
                Instant::now() < deadline,
                "{line} stays at {}, not {least}",
                self.metric(line)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        self.stop.cancel();
        if let Some(service) = self.service.take() {
            self.runtime.block_on(service.end());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Client {
    socket: WebSocket<TcpStream>,
    rev: u64,
}

impl Client {
    fn say(&mut self, message: &Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .unwrap();
    }

    fn text(&mut self, text: &str) {
        self.say(&json!({ "t": "msg", "text": text, "id": text }));
    }

    /// The next text as JSON.
    fn next(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => self.socket.flush().unwrap(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next refusal's code.
    fn refusal(&mut self) -> (String, Value) {
        loop {
            let frame = self.next();
            if let Some(code) = frame["err"]["code"].as_str() {
                return (code.to_owned(), frame["err"]["id"].clone());
            }
        }
    }

    /// The next items; checks that their revisions continue without a gap.
    fn items(&mut self) -> Vec<Value> {
        loop {
            let frame = self.next();
            if let Some(items) = frame["items"].as_array() {
                let rev = frame["rev"].as_u64().unwrap();
                assert_eq!(rev, self.rev + items.len() as u64, "a gap or a repetition");
                self.rev = rev;
                return items.clone();
            }
        }
    }

    /// The texts of so many items.
    fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.extend(
                self.items()
                    .iter()
                    .map(|item| item["text"].as_str().unwrap().to_owned()),
            );
        }
        assert_eq!(texts.len(), count, "{texts:?}");
        texts
    }

    /// The code of the close frame, after whatever comes before.
    fn closed(&mut self) -> Option<CloseCode> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("still open")
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends bytes past the library.
    fn raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }
}

fn memory() -> Config {
    Config {
        storage: Storage::Memory,
        tick_ms: 10,
        connection_rate: Rate {
            per_s: 100_000,
            burst: 100_000,
        },
        ..Config::default()
    }
}

#[test]
fn a_message_reaches_everyone_in_the_room_and_nobody_else() {
    let running = Running::start(memory());
    let (mut ann, mut bob, mut eve) = (
        running.client("one", "user=ann"),
        running.client("one", "user=bob"),
        running.client("two", ""),
    );
    ann.say(&json!({ "t": "msg", "text": "hi", "id": "m1" }));
    for client in [&mut ann, &mut bob] {
        let items = client.items();
        let item = items.first().unwrap();
        assert_eq!(
            (&item["t"], &item["text"], &item["id"], &item["user"]),
            (&json!("msg"), &json!("hi"), &json!("m1"), &json!("ann"))
        );
        assert!(item["at_ms"].as_u64().unwrap() > 1_700_000_000_000);
        assert_eq!(client.rev, 1);
    }
    eve.text("alone");
    assert_eq!(eve.texts(1), ["alone"]);
}

#[test]
fn messages_of_one_tick_come_in_one_frame_in_order() {
    let running = Running::start(Config {
        tick_ms: 200,
        ..memory()
    });
    let mut ann = running.client("one", "");
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for text in &texts {
        ann.text(text);
    }
    assert_eq!(ann.texts(50), texts);
    assert!(
        running.metric("chat_frames_out_total") <= 10,
        "50 messages in {} frames",
        running.metric("chat_frames_out_total")
    );
}

#[test]
fn gifts_and_votes_are_summed_for_all() {
    let running = Running::start(Config {
        tally_ms: 20,
        kinds: 2,
        ..memory()
    });
    let mut ann = running.client("one", "user=ann");
    ann.say(&json!({ "t": "gift", "gift": "rose", "n": 3 }));
    ann.say(&json!({ "t": "vote", "poll": "final", "option": "red", "id": "v1" }));
    let expected = json!({ "gifts": { "rose": 3 }, "votes": { "final": { "red": 1 } } });
    while ann.next()["tally"] != expected {}
    let (status, body) = running.http("GET", "/rooms/one/tally", "");
    assert_eq!(
        (status, serde_json::from_str::<Value>(&body).unwrap()),
        (200, json!({ "tally": expected }))
    );
    for option in ["green", "blue"] {
        ann.say(&json!({ "t": "vote", "poll": "final", "option": option, "id": option }));
        running.wait_for("chat_messages_in_total", 3);
        // The next waits for this one's place to be taken.
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ann.refusal(), ("too_many_kinds".into(), json!("blue")));
}

#[test]
fn personal_data_is_masked_or_refused_by_policy() {
    let running = Running::start(Config {
        audit: Audit::All,
        ..memory()
    });
    let mut ann = running.client("one", "");
    ann.text("mail ann@example.org");
    assert_eq!(ann.texts(1), ["mail ***"]);
    assert_eq!(running.metric("chat_masked_total"), 1);
    let running = Running::start(Config {
        personal: Personal::Refuse,
        ..memory()
    });
    let mut ann = running.client("one", "");
    ann.say(&json!({ "t": "msg", "text": "call 010-1234-5678", "id": "p" }));
    assert_eq!(ann.refusal(), ("personal".into(), json!("p")));
}

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
fn a_close_is_answered_with_a_close() {
    let running = Running::start(memory());
    let mut client = running.client("one", "");
    client.socket.close(None).unwrap();
    assert_eq!(client.closed(), Some(CloseCode::Normal).or(None));
    running.wait_for("chat_closed_total{reason=\"client\"}", 1);
}

#[test]
fn a_silent_client_is_pinged_and_then_closed() {
    let running = Running::start(Config {
        ping_s: 1,
        silent_s: 3,
        ..memory()
    });
    let mut answering = running.client("one", "");
    let mut silent = running.client("one", "");
    // Reads, and so answers pings, until the other one is gone.
    answering
        .socket
        .get_mut()
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while running.metric("chat_closed_total{reason=\"silent\"}") == 0 {
        assert!(Instant::now() < deadline, "the silent one is kept");
        let _ = answering.socket.read();
        let _ = answering.socket.flush();
    }
    assert_eq!(running.metric("chat_connections"), 1);
    assert_eq!(silent.closed(), None);
}

/// A client with a small receive buffer that stops reading while the room goes on.
fn stuck(running: &Running, messages: usize) -> Client {
    let stuck = running.client("one", "user=stuck");
    let mut ann = running.client("one", "user=ann");
    let text = "x".repeat(900);
    for n in 0..messages {
        ann.say(&json!({ "t": "msg", "text": format!("{n:06}{text}"), "id": n.to_string() }));
        if n % 50 == 49 {
            // Everyone else gets everything, in order.
            ann.texts(50);
        }
    }
    stuck
}

#[test]
fn a_stuck_consumer_loses_the_oldest_and_sees_the_gap() {
    let running = Running::start(Config {
        queue_frames: 8,
        queue_bytes: 32 * 1024,
        send_buffer_bytes: 4096,
        ..memory()
    });
    let mut stuck = stuck(&running, 8000);
    assert!(running.metric("chat_queued_bytes") <= 64 * 1024);
    let (mut seen, mut last, mut missed) = (0, 0, 0);
    while last < 8000 {
        let frame = stuck.next();
        let (rev, items) = (
            frame["rev"].as_u64().unwrap(),
            frame["items"].as_array().unwrap().len() as u64,
        );
        missed += rev - items - last;
        seen += items;
        last = rev;
    }
    assert_eq!(seen + missed, 8000);
    assert!(missed > 0);
    let dropped = running.metric("chat_dropped_items_total{reason=\"slow_consumer\"}");
    assert_eq!(missed, dropped);
}

#[test]
fn a_stuck_consumer_is_disconnected_if_the_policy_says_so() {
    let config = Config {
        slow_consumer: SlowConsumer::Disconnect,
        queue_frames: 8,
        queue_bytes: 32 * 1024,
        send_buffer_bytes: 4096,
        ..memory()
    };
    let running = Running::start(config);
    let mut stuck = stuck(&running, 8000);
    running.wait_for("chat_closed_total{reason=\"slow_consumer\"}", 1);
    assert_eq!(stuck.closed(), None);
    running.wait_for("chat_dropped_items_total{reason=\"closed\"}", 1);
    assert_eq!(running.metric("chat_queued_bytes"), 0);
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
    assert_eq!(
        running.http("GET", "/healthz", ""),
        (200, r#"{"faults":{},"status":"ok"}"#.into())
    );
    assert_eq!(
        running.metric("chat_not_accepted_total{reason=\"handshake\"}"),
        3
    );
}

#[test]
fn the_end_of_the_service_is_said_to_all() {
    let mut running = Running::start(memory());
    let mut client = running.client("one", "");
    running.stop();
    assert_eq!(client.closed(), Some(CloseCode::Away));
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
