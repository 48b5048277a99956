//! Consumers that do not read, and clients that say nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Client, PATIENCE, Running, memory};
use crate::chat::Config;
use crate::chat::outbox::SlowConsumer;

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
    // Both queues, and a batch each that was queued while there was room.
    let batch = 50 * 1024;
    assert!(running.metric("chat_queued_bytes") <= 2 * (32 * 1024 + batch));
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
