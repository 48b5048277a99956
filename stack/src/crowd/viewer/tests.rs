//! A viewer over real sockets against a small origin.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::crowd::player::tests::server::{PART_S, PARTS, master, media, number, object_bytes};
use crate::crowd::session::Shared;
use crate::crowd::summary::Summary;
use crate::truth::{Role, create};

/// Serves the ladder of the simulated origin in real time, on a free port.
async fn origin() -> Url {
    let began = Instant::now();
    let serve = move |request: Request| answer(began, request);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(serve)).await });
    format!("http://{address}/live/x/master.m3u8")
        .parse()
        .unwrap()
}

async fn answer(began: Instant, request: Request) -> Response {
    let (path, query) = (
        request.uri().path().to_owned(),
        request.uri().query().unwrap_or_default().to_owned(),
    );
    let made = || ((began.elapsed().as_secs_f64() + 60.0) / PART_S) as u64;
    if path.ends_with("master.m3u8") {
        return master().into_response();
    }
    if !path.ends_with(".m3u8") {
        return vec![0; object_bytes(&path) as usize].into_response();
    }
    let asked = number(&query, "_HLS_msn").map(|segment| {
        segment * PARTS + number(&query, "_HLS_part").map_or(PARTS, |part| part + 1)
    });
    while asked.is_some_and(|asked| asked > made()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    media(made(), true).into_response()
}

struct Run {
    shared: Shared,
    file: tempfile::NamedTempFile,
}

impl Run {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let truth = create(file.path()).unwrap();
        let summary = Arc::new(Mutex::new(Summary::default()));
        Self {
            shared: Shared {
                truth,
                summary,
                stop: CancellationToken::new(),
            },
            file,
        }
    }

    fn session(&self, url: &Url) -> Session {
        self.shared
            .open(&"p-1".into(), Role::Player, "crowd", url.as_str(), 0.0)
    }

    /// Kinds and lines of the truth.
    fn lines(&self) -> Vec<serde_json::Value> {
        self.shared.truth.close();
        let text = std::fs::read_to_string(self.file.path()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn plan(url: Url, leave_at: f64) -> Plan {
    Plan {
        url,
        acts: vec![(2.0, Act::Pause), (2.5, Act::Resume)],
        leave_at,
        settings: Settings::default(),
    }
}

fn find<'a>(lines: &'a [serde_json::Value], kind: &str) -> Option<&'a serde_json::Value> {
    lines.iter().find(|line| line["kind"] == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_writes_its_whole_truth() {
    let (run, url) = (Run::new(), origin().await);
    let (_valve, gate) = watch::channel(true);
    watch(run.session(&url), gate, plan(url, 4.0)).await;
    let lines = run.lines();
    for kind in [
        "start",
        "connect",
        "startup",
        "level",
        "pause",
        "resume",
        "disconnect",
        "end",
        "last",
    ] {
        assert!(find(&lines, kind).is_some(), "{kind} in {lines:?}");
    }
    let end = find(&lines, "end").unwrap();
    assert_eq!(end["quit"], true);
    assert!(end["bytes"].as_u64().unwrap() > 10_000 && end["parts"].as_u64().unwrap() > 0);
    assert!(
        find(&lines, "startup").unwrap()["mono_ns"].as_u64()
            > find(&lines, "start").unwrap()["mono_ns"].as_u64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_never_starts() {
    let (run, url) = (Run::new(), origin().await);
    let (_valve, gate) = watch::channel(false);
    watch(run.session(&url), gate, plan(url, 2.0)).await;
    let lines = run.lines();
    assert!(
        find(&lines, "start").is_some() && find(&lines, "startup").is_none(),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_a_refusal_and_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!(
        "http://{}/live/x/master.m3u8",
        listener.local_addr().unwrap()
    )
    .parse()
    .unwrap();
    drop(listener);
    let run = Run::new();
    let (_valve, gate) = watch::channel(true);
    watch(run.session(&url), gate, plan(url, 2.5)).await;
    let lines = run.lines();
    let failures: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "failure")
        .collect();
    assert!(failures.len() >= 2, "{lines:?}");
    assert!(
        failures.iter().all(|line| line["reason"] == "refused"),
        "{failures:?}"
    );
}
