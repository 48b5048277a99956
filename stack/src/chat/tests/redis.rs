//! The shared log against a real `redis-server` (Debian package redis-server).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, Running, memory};
use crate::chat::Config;
use crate::chat::config::{Redis, Storage};

/// A server of our own on a Unix socket; keeps its data over a restart.
struct Server {
    child: Option<Child>,
    dir: TempDir,
}

impl Server {
    /// None, said loudly, where there is no `redis-server`.
    fn start() -> Option<Self> {
        if Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_err()
        {
            println!("SKIP chat on Redis: no redis-server (Debian package redis-server)");
            return None;
        }
        let mut server = Self {
            child: None,
            dir: tempfile::tempdir().unwrap(),
        };
        server.up();
        Some(server)
    }

    fn up(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--unixsocket",
                "r.sock",
            ])
            .current_dir(&self.dir)
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        let deadline = Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it as a crash would.
    fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("r.sock")
    }

    fn gateway(&self, name: &str) -> Running {
        Running::start(config(&self.socket(), name))
    }

    /// One command's answer.
    fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut connection = redis::Client::open(format!("unix://{}", self.socket().display()))
            .unwrap()
            .get_connection()
            .unwrap();
        let mut redis_command = redis::cmd(command.first().unwrap());
        redis_command
            .arg(&command[1..])
            .query(&mut connection)
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

fn config(socket: &Path, gateway: &str) -> Config {
    let redis = Redis {
        url: format!("unix://{}", socket.display()),
        gateway: gateway.into(),
        ..Redis::default()
    };
    Config {
        storage: Storage::Redis,
        recent_items: 20,
        redis,
        ..memory()
    }
}

#[test]
fn two_gateways_share_a_room() {
    let Some(server) = Server::start() else {
        return;
    };
    let (east, west) = (server.gateway("east"), server.gateway("west"));
    let (mut ann, mut bob) = (
        east.client("one", "user=ann"),
        west.client("one", "user=bob"),
    );
    for n in 0..50 {
        ann.text(&format!("a{n}"));
        bob.text(&format!("b{n}"));
    }
    let (by_ann, by_bob) = (ann.texts(100), bob.texts(100));
    assert_eq!(by_ann, by_bob, "the order differs");
    for (who, count) in [("a", 50), ("b", 50)] {
        let expected: Vec<String> = (0..count).map(|n| format!("{who}{n}")).collect();
        assert!(
            by_ann
                .iter()
                .filter(|text| text.starts_with(who))
                .eq(&expected),
            "{by_ann:?}"
        );
    }
    ann.say(&serde_json::json!({ "t": "gift", "gift": "rose", "n": 2 }));
    bob.say(&serde_json::json!({ "t": "gift", "gift": "rose", "n": 3 }));
    let deadline = Instant::now() + PATIENCE;
    for gateway in [&east, &west] {
        while serde_json::from_str::<Value>(&gateway.http("GET", "/rooms/one/tally", "").1).unwrap()
            ["tally"]["gifts"]["rose"]
            != 5
        {
            assert!(Instant::now() < deadline, "the sums differ");
        }
    }
}

#[test]
fn what_was_delivered_is_acknowledged() {
    let Some(server) = Server::start() else {
        return;
    };
    let running = server.gateway("east");
    let mut ann = running.client("one", "");
    ann.text("hi");
    ann.texts(1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (pending, ..): (u64, redis::Value, redis::Value, redis::Value) =
            server.ask(&["XPENDING", "chat:{one}:log", "east"]);
        if pending == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{pending} stay pending");
    }
    assert_eq!(server.ask::<u64>(&["XLEN", "chat:{one}:log"]), 1);
}

#[test]
fn history_comes_from_the_stream_after_a_restart() {
    let Some(server) = Server::start() else {
        return;
    };
    {
        let running = server.gateway("east");
        let mut ann = running.client("one", "");
        for n in 0..100 {
            ann.text(&n.to_string());
        }
        ann.texts(100);
    }
    let running = server.gateway("east");
    let mut bob = running.client("one", "from=10");
    assert_eq!(bob.rev, 100);
    bob.rev = 10;
    assert_eq!(
        bob.texts(90),
        (10..100).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    bob.text("after");
    assert_eq!((bob.texts(1), bob.rev), (vec!["after".to_owned()], 101));
}

#[test]
fn what_is_said_while_redis_is_dead_arrives_once_when_it_is_back() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let running = server.gateway("east");
    let mut ann = running.client("one", "");
    ann.text("before");
    assert_eq!(ann.texts(1), ["before"]);
    // Readers may have it before the writer has its answer; without that it would be sent again.
    running.wait_for("chat_stored_total", 1);
    server.down();
    let during: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    for text in &during {
        ann.text(text);
    }
    running.wait_for("chat_storage_failures_total{operation=\"append\"}", 2);
    running.wait_for("chat_storage_queue", 200);
    assert_eq!(running.metric("chat_storage_queue"), 200);
    // A room that is not in memory cannot be opened without its log, and says so.
    assert_eq!(running.http("GET", "/rooms/other", "").0, 503);
    assert_eq!(running.http("GET", "/healthz", "").0, 503);
    server.up();
    assert_eq!(ann.texts(200), during);
    let deadline = Instant::now() + PATIENCE;
    while running.http("GET", "/healthz", "").0 != 200 {
        assert!(Instant::now() < deadline, "the log stays unwell");
    }
    assert_eq!(running.metric("chat_storage_lost_total"), 0);
    assert_eq!(server.ask::<u64>(&["XLEN", "chat:{one}:log"]), 201);
}

#[test]
fn what_does_not_fit_while_redis_is_dead_is_refused_or_counted() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let config = config(&server.socket(), "east");
    let redis = Redis {
        buffer_items: 50,
        ..config.redis
    };
    let running = Running::start(Config { redis, ..config });
    let mut ann = running.client("one", "");
    ann.text("before");
    ann.texts(1);
    server.down();
    for n in 0..300 {
        ann.text(&n.to_string());
    }
    assert_eq!(ann.refusal().0, "overloaded");
    let (lost, refused) = (
        || running.metric("chat_storage_lost_total"),
        || running.metric("chat_refused_total{reason=\"overloaded\"}"),
    );
    running.wait_for("chat_storage_queue", 50);
    server.up();
    // The first may have been on its way still, and so have held a place.
    running.wait_for("chat_stored_total", 50);
    let deadline = Instant::now() + PATIENCE;
    while running.metric("chat_storage_queue") > 0 {
        assert!(Instant::now() < deadline);
    }
    let kept = running.metric("chat_stored_total");
    assert_eq!(kept + lost() + refused(), 301);
    assert_eq!(server.ask::<u64>(&["XLEN", "chat:{one}:log"]), kept);
    // Clients got exactly what the log has.
    ann.texts(usize::try_from(kept).unwrap() - 1);
}

#[test]
fn a_redis_that_comes_back_empty_goes_on_counting() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let running = server.gateway("east");
    let mut ann = running.client("one", "");
    ann.text("a");
    ann.text("b");
    ann.texts(2);
    server.ask::<()>(&["FLUSHALL"]);
    ann.text("c");
    // `texts` checks that the revisions continue.
    assert_eq!(ann.texts(1), ["c"]);
    server.down();
    std::fs::remove_dir_all(server.dir.path().join("appendonlydir")).unwrap();
    server.up();
    ann.text("d");
    assert_eq!((ann.texts(1), ann.rev), (vec!["d".to_owned()], 4));
}

#[test]
fn the_stream_stays_near_its_bound() {
    let Some(server) = Server::start() else {
        return;
    };
    let config = config(&server.socket(), "east");
    let redis = Redis {
        retain: 400,
        batch_items: 100,
        ..config.redis
    };
    let running = Running::start(Config { redis, ..config });
    let mut ann = running.client("one", "");
    for n in 0..2000 {
        ann.text(&n.to_string());
        if n % 100 == 99 {
            ann.texts(100);
        }
    }
    // Approximate trimming removes whole nodes of 100 entries.
    let length = server.ask::<u64>(&["XLEN", "chat:{one}:log"]);
    assert!((400..=700).contains(&length), "{length}");
}

#[test]
fn a_wrong_address_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        ..config(&dir.path().join("none.sock"), "east")
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime
        .block_on(crate::chat::Service::start(config, Default::default()))
        .err()
        .unwrap();
    assert!(
        format!("{error:#}").contains("[chat.redis] url"),
        "{error:#}"
    );
}
