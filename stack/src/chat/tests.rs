//! The whole service over its sockets, with an independent client (`tungstenite`).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};
use tokio_util::sync::CancellationToken;

use super::config::{Audit, Personal, Rate, Storage};
use super::{Config, Service};

mod abuse;
mod disk;
mod history;
mod redis;
mod slow;
mod storm;

/// Far above what a loaded machine needs: a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service with its own run time.
struct Running {
    runtime: Runtime,
    service: Option<Service>,
    stop: CancellationToken,
    address: SocketAddr,
    /// Items that the log did not get, as it stands after the end.
    lost: u64,
}

impl Running {
    fn start(config: Config) -> Self {
        Self::start_large(Config {
            max_connections: 100.min(config.max_connections),
            ..config
        })
    }

    /// The same with as many connections as the configuration says.
    fn start_large(config: Config) -> Self {
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
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
            lost: 0,
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
            let shared = std::sync::Arc::clone(&service.hub.shared);
            self.runtime.block_on(service.end());
            self.lost = shared.metrics.storage_lost.get();
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
fn a_close_is_answered_with_a_close() {
    let running = Running::start(memory());
    let mut client = running.client("one", "");
    client.socket.close(None).unwrap();
    assert_eq!(client.closed(), Some(CloseCode::Normal).or(None));
    running.wait_for("chat_closed_total{reason=\"client\"}", 1);
}

#[test]
fn the_end_of_the_service_is_said_to_all() {
    let mut running = Running::start(memory());
    let mut client = running.client("one", "");
    running.stop();
    assert_eq!(client.closed(), Some(CloseCode::Away));
}
