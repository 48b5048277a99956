//! Resuming, paging, publishing by HTTP, and what a restart keeps.

use serde_json::{Value, json};

use super::{Client, Running, memory};
use crate::chat::Config;
use crate::chat::config::{Fjall, Storage};

fn on_disk(dir: &std::path::Path) -> Config {
    Config {
        storage: Storage::Fjall,
        recent_items: 10,
        fjall: Fjall {
            dir: dir.to_owned(),
            ..Fjall::default()
        },
        ..memory()
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn say(client: &mut Client, range: std::ops::Range<usize>) {
    let count = range.len();
    for text in numbers(range) {
        client.text(&text);
    }
    client.texts(count);
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_once() {
    let running = Running::start(memory());
    let mut ann = running.client("one", "");
    say(&mut ann, 0..5);
    let mut bob = running.client("one", "from=2");
    bob.rev = 2;
    assert_eq!(bob.texts(3), numbers(2..5));
    ann.text("next");
    assert_eq!(bob.texts(1), ["next"]);
    // One that knows more than there is gets what comes.
    let mut eve = running.client("one", "from=99");
    ann.text("more");
    assert_eq!(eve.texts(1), ["more"]);
}

#[test]
fn what_is_said_while_clients_come_back_reaches_them_once() {
    let running = Running::start(Config {
        tick_ms: 0,
        ..memory()
    });
    let mut ann = running.client("one", "");
    let address = running.address;
    let speaker = std::thread::spawn(move || say(&mut ann, 0..300));
    for _ in 0..40 {
        let mut client = running.client("one", "from=0");
        client.rev = 0;
        // `items` checks that nothing is missing and nothing comes twice.
        while client.rev < 1 {
            client.items();
        }
    }
    speaker.join().unwrap();
    let mut last = running.client("one", "from=0");
    last.rev = 0;
    assert_eq!(last.texts(300), numbers(0..300), "{address}");
}

#[test]
fn a_restart_keeps_items_revisions_and_sums() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(on_disk(dir.path()));
    let mut ann = running.client("one", "user=ann");
    say(&mut ann, 0..100);
    ann.say(&json!({ "t": "gift", "gift": "rose", "n": 5 }));
    ann.items();
    running.stop();
    let running = Running::start(on_disk(dir.path()));
    let mut bob = running.client("one", "from=40");
    assert_eq!(bob.rev, 101);
    bob.rev = 40;
    assert_eq!(bob.texts_or_gifts(61), 61);
    bob.text("after");
    assert_eq!((bob.texts(1), bob.rev), (vec!["after".to_owned()], 102));
    let (_, tally) = running.http("GET", "/rooms/one/tally", "");
    assert_eq!(
        serde_json::from_str::<Value>(&tally).unwrap()["tally"]["gifts"]["rose"],
        5
    );
}

impl Client {
    /// Receives so many items of any kind.
    fn texts_or_gifts(&mut self, count: usize) -> usize {
        let mut seen = 0;
        while seen < count {
            seen += self.items().len();
        }
        seen
    }
}

#[test]
fn pages_of_history_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(on_disk(dir.path()));
    let mut ann = running.client("one", "");
    say(&mut ann, 0..100);
    running.wait_for("chat_stored_total", 100);
    let (mut rev, mut texts) = (0, Vec::new());
    loop {
        let (status, body) = running.http("GET", &format!("/rooms/one?from={rev}&limit=30"), "");
        let page: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        let items = page["items"].as_array().unwrap();
        if items.is_empty() {
            break;
        }
        texts.extend(
            items
                .iter()
                .map(|item| item["text"].as_str().unwrap().to_owned()),
        );
        rev = page["rev"].as_u64().unwrap();
    }
    assert_eq!((texts, rev), (numbers(0..100), 100));
}

#[test]
fn the_log_keeps_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let config = on_disk(dir.path());
    let fjall = Fjall {
        retain: 20,
        max_rooms: 2,
        ..config.fjall
    };
    let running = Running::start(Config { fjall, ..config });
    for room in ["one", "two", "three"] {
        let mut ann = running.client(room, "");
        say(&mut ann, 0..200);
    }
    running.wait_for("chat_stored_total", 600);
    let (_, body) = running.http("GET", "/rooms/three?from=0", "");
    let page: Value = serde_json::from_str(&body).unwrap();
    let texts: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, numbers(180..200));
}

#[test]
fn a_log_in_use_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(on_disk(dir.path()));
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        max_connections: 10,
        ..on_disk(dir.path())
    };
    let second = running
        .runtime
        .block_on(crate::chat::Service::start(config, running.stop.clone()));
    let error = format!("{:#}", second.err().unwrap());
    assert!(
        error.contains("another process") && error.contains("[chat.fjall] dir"),
        "{error}"
    );
}

#[test]
fn messages_are_taken_by_http_too() {
    let running = Running::start(memory());
    let mut ann = running.client("one", "");
    let (status, body) = running.http(
        "POST",
        "/rooms/one?user=bot",
        r#"{"t":"msg","text":"posted","id":"h1"}"#,
    );
    assert_eq!((status, body.as_str()), (200, r#"{"taken":1}"#));
    let items = ann.items();
    assert_eq!(
        (&items[0]["user"], &items[0]["id"]),
        (&json!("bot"), &json!("h1"))
    );
    let (status, body) = running.http(
        "POST",
        "/rooms/one",
        r#"[{"t":"msg","text":"a"},{"t":"msg","text":""},{"t":"msg","text":"c"}]"#,
    );
    assert_eq!(
        (status, body.as_str()),
        (400, r#"{"taken":1,"err":{"code":"bad_field"}}"#)
    );
    assert_eq!(ann.texts(1), ["a"]);
    assert_eq!(running.http("POST", "/rooms/one", "{").0, 400);
    assert_eq!(
        running.http("POST", "/rooms/one", &"x".repeat(2 << 20)).0,
        413
    );
}

#[test]
fn a_long_history_comes_whole_through_a_short_queue() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        queue_frames: 4,
        queue_bytes: 16 * 1024,
        batch_items: 10,
        send_buffer_bytes: 4096,
        ..on_disk(dir.path())
    };
    let running = Running::start(config);
    let mut ann = running.client("one", "");
    let texts: Vec<String> = (0..400)
        .map(|n| format!("{n}{}", "x".repeat(900)))
        .collect();
    for text in &texts {
        ann.say(&json!({ "t": "msg", "text": text }));
        assert_eq!(ann.texts(1), [text.as_str()]);
    }
    running.wait_for("chat_stored_total", 400);
    let mut late = running.client("one", "from=0");
    late.rev = 0;
    // Long enough for everything that fits to be under way.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(late.texts(400), texts);
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_with_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        max_connections: 10,
        ..on_disk(&file)
    };
    let error = runtime
        .block_on(crate::chat::Service::start(config, Default::default()))
        .err()
        .unwrap();
    assert!(
        format!("{error:#}").contains("[chat.fjall] dir"),
        "{error:#}"
    );
}
