//! A chat user over real sockets against a small room.

use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::crowd::scene::Talking;
use crate::crowd::session::Shared;
use crate::crowd::summary::Summary;
use crate::truth::{Role, create};

/// A room that answers each message with a batch; leaves out two revisions at the second, and
/// cuts the user off as too slow at the third.
async fn room() -> (Url, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "ws://{}/rooms/main/ws?user=c-1",
        listener.local_addr().unwrap()
    )
    .parse()
    .unwrap();
    let (asked, paths) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let mut revision = 17;
        while let Ok((stream, _)) = listener.accept().await {
            let mut buffer = [0; 2048];
            let length = stream.peek(&mut buffer).await.unwrap();
            asked
                .send(
                    String::from_utf8_lossy(&buffer[..length])
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                )
                .await
                .unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let hello = format!(r#"{{"hello":{{"room":"main","rev":{revision}}}}}"#);
            socket.send(Message::text(hello)).await.unwrap();
            for turn in 1.. {
                let Some(Ok(Message::Text(said))) = socket.next().await else {
                    break;
                };
                let said: serde_json::Value = serde_json::from_str(&said).unwrap();
                revision += if turn == 2 { 3 } else { 1 };
                let batch = serde_json::json!({ "rev": revision, "items": [{ "t": said["t"], "id": said["id"], "at_ms": 1, "user": "c-1" }] });
                let _sent = socket.send(Message::text(batch.to_string())).await;
                if turn == 3 {
                    let close = CloseFrame {
                        code: CloseCode::Again,
                        reason: "slow".into(),
                    };
                    let _closed = socket.close(Some(close)).await;
                }
            }
        }
    });
    (url, paths)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_comes_back_timed_and_losses_are_told() {
    let (url, mut asked) = room().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let summary = Arc::new(Mutex::new(Summary::default()));
    let shared = Shared {
        truth: create(file.path()).unwrap(),
        summary,
        stop: CancellationToken::new(),
    };
    let session = shared.open(&"c-1".into(), Role::Chatter, "crowd", url.as_str(), 0.0);
    let talking = Talking {
        says_per_minute: 1200.0,
        votes: 0.3,
        gifts: 0.3,
        ..Talking::default()
    };
    let (_valve, gate) = watch::channel(true);
    let plan = Plan {
        url,
        talk: Talk::new(5, &talking, 0.0),
        begin_s: 0.0,
        leave_at: 4.0,
        text_bytes: 20,
    };
    talk(session, gate, plan).await;
    shared.truth.close();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let find = |kind: &str| {
        lines
            .iter()
            .find(|line| line["kind"] == kind)
            .unwrap_or_else(|| panic!("{kind} in {text}"))
    };
    assert_eq!(find("missed")["messages"], 2);
    assert_eq!(find("disconnect")["reason"], "slow_consumer");
    let received = find("received");
    assert!(received["mean_ms"].as_f64().unwrap() >= 0.0);
    let end = find("end");
    assert!(
        end["sent"].as_u64().unwrap() >= 3 && end["received"].as_u64().unwrap() >= 3,
        "{end}"
    );
    assert!(!asked.recv().await.unwrap().contains("from="));
    assert!(
        asked.recv().await.unwrap().contains("from=22"),
        "it resumes where it was cut off"
    );
}
