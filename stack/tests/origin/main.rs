//! The origin as its clients see it: the real program on a free port, real ffmpeg and curl.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod collector;
mod full;
mod host;
mod ingest;
#[path = "../service/media.rs"]
mod media;
#[path = "../service/ready.rs"]
mod ready;
mod storm;
mod watch;

use std::process::{Command, Stdio};

use host::Origin;
use media::ladder;

/// Number and place of the last part that a playlist lists.
pub(crate) fn last_part(playlist: &str) -> (u64, u32) {
    let uri = playlist.rsplit("#EXT-X-PART:").next().unwrap();
    let (_, uri) = uri.split_once("URI=\"part-").unwrap();
    let (msn, rest) = uri.split_once('-').unwrap();
    (
        msn.parse().unwrap(),
        rest.split('.').next().unwrap().parse().unwrap(),
    )
}

#[test]
fn what_players_say_is_kept_by_session() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "sessions = 3\n");
    let playlist = "/live/demo/240p/index.m3u8";
    origin.get(&format!("{playlist}?CMCD=bl%3D1500%2Cbs%2Csid%3D%22one%22"));
    let headers = [
        ("cmcd-session", "sid=\"two\",v=2"),
        ("cmcd-object", "br=484"),
    ];
    origin.ask(
        "GET",
        &format!("{playlist}?CMCD=sid%3D%22not%22"),
        &headers,
        b"",
    );
    let events = b"e=ps,sid=\"three\",sta=r,v=2\nsid=\"three\",v=9\n\nnonsense=\ne=ps,sid=\"three\",sta=p,v=2,msd=460\nsid=\"four\"\n";
    assert_eq!(origin.ask("POST", "/cmcd", &[], events).code, 204);
    let sessions: Vec<serde_json::Value> =
        serde_json::from_slice(&origin.get("/sessions").body).unwrap();
    let find = |sid: &str| {
        sessions
            .iter()
            .find(|session| session["sid"] == sid)
            .unwrap_or_else(|| panic!("no {sid}"))
    };
    assert_eq!(sessions.len(), 3);
    assert_eq!(
        (&find("one")["buffer_ms"], &find("one")["starved"]),
        (&1500.0.into(), &1.into())
    );
    assert_eq!(find("two")["bitrate_kbps"], 484.0);
    assert_eq!(
        (&find("three")["state"], &find("three")["stalls"]),
        (&"playing".into(), &1.into())
    );
    let metrics = origin.get("/metrics").text();
    for line in [
        "origin_cmcd_refused_total{why=\"newer_version\"} 1",
        "origin_cmcd_refused_total{why=\"malformed\"} 1",
        "origin_cmcd_refused_total{why=\"too_many_sessions\"} 1",
        "origin_player_stalls_total 1",
        "origin_player_startup_seconds_sum 0.46",
    ] {
        assert!(
            metrics.contains(&format!("{line}\n")),
            "{line} is not in {metrics}"
        );
    }
    assert_eq!(origin.ask("POST", "/cmcd", &[], &[b'x'; 70_000]).code, 413);
}

#[test]
fn a_request_is_a_span_in_its_callers_trace() {
    let Some(media) = ladder() else { return };
    let collector = collector::Collector::start();
    let log = format!("[log]\ntraces = \"{}\"\n", collector.url());
    let origin = Origin::start_with(&media, "", &log);
    // The caller's decision to keep the trace wins over the share.
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    origin.ask(
        "GET",
        "/live/demo/480p/init.mp4",
        &[("traceparent", parent)],
        b"",
    );
    let unkept = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    origin.ask(
        "GET",
        "/live/demo/480p/init.mp4",
        &[("traceparent", unkept)],
        b"",
    );
    let spans = origin.until("the span", || {
        Some(collector.spans()).filter(|spans| !spans.is_empty())
    });
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span.name, "GET /live/{stream}/{rung}/{file}");
    assert_eq!(
        span.trace_id,
        0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes()
    );
    assert_eq!(span.parent_span_id, 0xb7ad6b7169203331_u64.to_be_bytes());
    let attribute = |key: &str| {
        let found = span
            .attributes
            .iter()
            .find(|attribute| attribute.key == key);
        format!("{:?}", found.unwrap_or_else(|| panic!("no {key}")).value)
    };
    assert!(attribute("http.response.status_code").contains("IntValue(200)"));
    assert!(attribute("url.path").contains("/live/demo/480p/init.mp4"));
}

#[test]
fn a_missing_ffmpeg_and_wrong_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir-stack"))
            .args(args)
            .env("PATH", folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let out = folder.path().join("media");
    let missing = run(&["media", "--seconds", "8", "--out", out.to_str().unwrap()]);
    assert!(
        missing.starts_with("error: cannot make the ladder in ")
            && missing
                .contains("cannot start ffmpeg, which makes the ladder: apt-get install ffmpeg"),
        "{missing}"
    );
    assert_eq!(
        std::fs::read_dir(&out).unwrap().count(),
        0,
        "something was left behind"
    );
    let odd = run(&["media", "--seconds", "9", "--out", out.to_str().unwrap()]);
    assert!(
        odd.starts_with("error: a loop of 9 s: want a multiple of 8"),
        "{odd}"
    );
    let name = run(&["origin", "--stream", "a b"]);
    assert!(
        name.starts_with("error: [origin] streams: \"a b\": want"),
        "{name}"
    );
    let tls = run(&["origin", "--tls-self-signed"]);
    assert!(
        tls.starts_with("error: [origin] a certificate without tls_listen"),
        "{tls}"
    );
}
