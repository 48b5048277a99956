//! Peers that vanish: nothing comes from them any more, not even the end of a connection. Services
//! notice by their own means and say why the connection ended.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::RELAY;
use crate::ready::start;
use crate::stage::{Stage, inside, program};

/// Above what any of them takes to notice.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[chat]
listen = "10.91.1.1:9482"
storage = "memory"
max_connections = 100
ping_s = 1
silent_s = 3
[game.arenas.room]
idle_timeout_ms = 2000
abandon_ms = 300000
match_ms = 600000
"#;

/// A service inside the server's namespace; killed when it is dropped.
struct Service(Child);

impl Service {
    fn start(stage: &Stage, config: &str, words: &[&str]) -> Self {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", stage.namespace("server")))
            .arg("--")
            .arg(program())
            .args(words)
            .args(["--config", config]);
        Self(start(command).0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Connects from the players' namespace and shakes hands.
fn connect(stage: &Stage, port: u16, path: &str) -> TcpStream {
    inside(stage.namespace("players"), || {
        let mut stream = TcpStream::connect(("10.91.1.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        stream
    })
}

/// Asks a service next to it, whose own way is not cut.
fn metrics(stage: &Stage, port: u16) -> String {
    inside(stage.namespace("server"), || {
        let mut stream = TcpStream::connect(("10.91.1.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

fn wait_for(stage: &Stage, port: u16, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = metrics(stage, port);
        if text.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < deadline, "no {line} in {text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_peer_that_vanished_is_ended_by_a_name() {
    let Some(stage) = Stage::raise(RELAY) else {
        return;
    };
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), CONFIG).unwrap();
    let config = config.path().to_str().unwrap();
    let _chat = Service::start(&stage, config, &["chat"]);
    let arena = ["arena", "--listen", "10.91.1.1:9485", "--tokens", "red"];
    let _arena = Service::start(&stage, config, &arena);
    let viewer = connect(&stage, 9482, "/rooms/one/ws");
    let mut player = connect(&stage, 9485, "/");
    // Hello, masked with zeros.
    player
        .write_all(&[0x82, 0x86, 0, 0, 0, 0, 0x01, 1, 3, b'r', b'e', b'd'])
        .unwrap();
    wait_for(&stage, 9482, "chat_connections 1");
    wait_for(&stage, 9485, "arena_players 1");
    // From here on neither side hears of the other, and neither is told.
    stage
        .change("access", &json!({ "outage": "drop" }))
        .unwrap();
    wait_for(&stage, 9482, "chat_closed_total{reason=\"silent\"} 1");
    wait_for(&stage, 9482, "chat_connections 0");
    wait_for(&stage, 9485, "arena_partings_total{reason=\"TimedOut\"} 1");
    wait_for(&stage, 9485, "arena_players 0");
    drop((viewer, player));
}
