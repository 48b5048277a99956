//! The origin as its clients see it: the real program on a free port, real ffmpeg and curl.

#![expect(clippy::unwrap_used, reason = "a failure here fails the test")]

mod collector;
mod host;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host::{Answer, Origin, ladder, program};

/// Number and place of the last part that a playlist lists.
fn last_part(playlist: &str) -> (u64, u32) {
    let uri = playlist.rsplit("#EXT-X-PART:").next().unwrap();
    let (_, uri) = uri.split_once("URI=\"part-").unwrap();
    let (msn, rest) = uri.split_once('-').unwrap();
    (
        msn.parse().unwrap(),
        rest.split('.').next().unwrap().parse().unwrap(),
    )
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let (_, rest) = text
        .split_once(key)
        .unwrap_or_else(|| panic!("no {key} in {text}"));
    rest.split(['\n', ',']).next().unwrap()
}

/// Decode times of all fragments in some bytes.
fn decode_times(bytes: &[u8]) -> Vec<u64> {
    use mp4_atom::{Any, Decode as _};
    let mut rest = bytes;
    let mut times = Vec::new();
    while !rest.is_empty() {
        if let Any::Moof(moof) = Any::decode(&mut rest).unwrap() {
            times.push(moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time);
        }
    }
    times
}

#[test]
fn a_low_latency_player_gets_each_part_once_it_is_there() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    for rung in ["720p", "480p", "240p", "audio"] {
        let base = format!("/live/demo/{rung}");
        let (msn, part) = last_part(&origin.get(&format!("{base}/index.m3u8")).text());
        // Two parts ahead: held, and the answer holds it.
        let began = Instant::now();
        let held = origin.get(&format!(
            "{base}/index.m3u8?_HLS_msn={msn}&_HLS_part={}",
            part + 2
        ));
        let text = held.text();
        assert_eq!(held.code, 200);
        assert!(began.elapsed() > Duration::from_millis(20), "not held");
        assert!(
            last_part(&text) >= (msn, part + 2) || last_part(&text).0 > msn,
            "{text}"
        );
        assert_eq!(held.header("cache-control"), Some("public, max-age=12"));
        // The hinted part is held too, and is what the playlist then lists.
        let hint = value(&text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=")
            .trim_matches('"')
            .to_owned();
        let ahead = origin.get(&format!("{base}/{hint}"));
        assert_eq!((ahead.code, decode_times(&ahead.body).len()), (200, 1));
        let after = origin.get(&format!("{base}/index.m3u8")).text();
        assert!(
            after.contains(&format!("URI=\"{hint}\""))
                && !after.contains(&format!("PART,URI=\"{hint}\"")),
            "{after}"
        );
        // Only the hinted one.
        let (msn, _) = last_part(&after);
        assert_eq!(
            origin.get(&format!("{base}/part-{}-5.m4s", msn + 3)).code,
            404
        );
    }
}

#[test]
fn segments_are_their_parts_and_time_runs_on_through_the_loop() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    for (rung, scale) in [("720p", 15360), ("audio", 48000)] {
        let playlist = origin.get(&format!("/live/demo/{rung}/index.m3u8")).text();
        let parsed = m3u8_rs::parse_media_playlist_res(playlist.as_bytes()).unwrap();
        assert!(parsed.segments.len() >= 18, "{playlist}");
        let mut times = Vec::new();
        let mut expected_ms = None;
        for segment in &parsed.segments {
            let bytes = origin
                .get(&format!("/live/demo/{rung}/{}", segment.uri))
                .body;
            let own = decode_times(&bytes);
            assert_eq!(own.len(), 10);
            let start_ms = segment.program_date_time.unwrap().timestamp_millis();
            assert!(
                (own[0] as i64 * 1000 / scale - start_ms).abs() <= 1,
                "decode time and date differ"
            );
            assert!(expected_ms.is_none_or(|expected: i64| (expected - start_ms).abs() <= 1));
            expected_ms = Some(start_ms + (f64::from(segment.duration) * 1000.0).round() as i64);
            times.extend(own);
        }
        // 200 ms a part; sound to within a frame of 1024 samples.
        let steps: Vec<i64> = times
            .windows(2)
            .map(|pair| pair[1] as i64 - pair[0] as i64)
            .collect();
        assert!(
            steps
                .iter()
                .all(|step| (step - scale / 5).abs() <= 1024 * i64::from(rung == "audio")),
            "{steps:?}"
        );
        let (msn, _) = last_part(&playlist);
        let parts: Vec<u8> = (0..10)
            .flat_map(|part| {
                origin
                    .get(&format!("/live/demo/{rung}/part-{}-{part}.m4s", msn - 2))
                    .body
            })
            .collect();
        let whole = origin.get(&format!("/live/demo/{rung}/seg-{}.m4s", msn - 2));
        assert!(parts == whole.body, "a segment is not its parts");
        assert_eq!(
            whole.header("content-length"),
            Some(parts.len().to_string().as_str())
        );
    }
}

#[test]
fn requests_that_cannot_be_are_refused_with_their_code() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    let playlist = "/live/demo/720p/index.m3u8";
    let (msn, _) = last_part(&origin.get(playlist).text());
    for (path, code) in [
        (format!("{playlist}?_HLS_part=1"), 400),
        (format!("{playlist}?_HLS_msn=x"), 400),
        (format!("{playlist}?_HLS_msn={}", msn + 10), 400),
        (format!("{playlist}?_HLS_msn={msn}&_HLS_part=400"), 400),
        (format!("/live/demo/720p/seg-{}.m4s", msn + 1), 404),
        ("/live/demo/720p/seg-1.m4s".to_owned(), 404),
        ("/live/demo/720p/init-7.mp4".to_owned(), 404),
        ("/live/none/720p/index.m3u8".to_owned(), 404),
        ("/live/demo/900p/index.m3u8".to_owned(), 404),
        ("/live/demo/720p/..%2f..%2fpasswd".to_owned(), 404),
    ] {
        assert_eq!(origin.get(&path).code, code, "{path}");
    }
    let metrics = origin.get("/metrics").text();
    assert!(
        metrics.contains("origin_refused_total{why=\"too_far_ahead\"} 2\n"),
        "{metrics}"
    );
    assert_eq!(origin.ask("DELETE", playlist, &[], b"").code, 405);
}

#[test]
fn caches_get_tags_ranges_and_lifetimes() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    let init = origin.get("/live/demo/720p/init.mp4");
    assert_eq!(init.header("access-control-allow-origin"), Some("*"));
    assert_eq!(init.header("cache-control"), Some("public, max-age=3600"));
    let tag = init.header("etag").unwrap().to_owned();
    let same = origin.ask(
        "GET",
        "/live/demo/720p/init.mp4",
        &[("if-none-match", &tag)],
        b"",
    );
    assert_eq!((same.code, same.body.len()), (304, 0));
    let range = origin.ask(
        "GET",
        "/live/demo/720p/init.mp4",
        &[("range", "bytes=4-7")],
        b"",
    );
    assert_eq!((range.code, &range.body[..]), (206, &b"ftyp"[..]));
    let head = origin.ask("HEAD", "/live/demo/720p/init.mp4", &[], b"");
    assert_eq!((head.code, head.body.len()), (200, 0));
    assert_eq!(
        head.header("content-length"),
        Some(init.body.len().to_string().as_str())
    );
    let preflight = [
        ("origin", "http://a"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "cmcd-session"),
    ];
    let preflight = origin.ask("OPTIONS", "/live/demo/720p/init.mp4", &preflight, b"");
    assert_eq!(
        (
            preflight.code,
            preflight.header("access-control-allow-headers")
        ),
        (200, Some("*"))
    );
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
fn held_requests_are_bounded_and_the_bound_is_named() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "held = 1\n");
    let playlist = "/live/demo/720p/index.m3u8";
    let (msn, _) = last_part(&origin.get(playlist).text());
    let ask = || origin.get(&format!("{playlist}?_HLS_msn={}", msn + 1));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let refused: Vec<String> = answers
        .iter()
        .filter(|answer| answer.code == 503)
        .map(Answer::text)
        .collect();
    assert_eq!(
        refused,
        ["too many held requests (limit: [origin] held)\n"; 2]
    );
}

#[test]
fn ffmpeg_plays_both_playlists_without_an_error() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    for path in ["/live/demo/480p/index.m3u8", "/live/demo/master.m3u8"] {
        let output = Command::new("ffmpeg")
            .args([
                "-v",
                "error",
                "-nostdin",
                "-i",
                &origin.url(path),
                "-t",
                "3",
                "-f",
                "null",
                "-",
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{path}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn curl_speaks_http_2_with_and_without_tls() {
    let Some(media) = ladder() else { return };
    if !program("curl") {
        return;
    }
    let origin = Origin::start(
        &media,
        "tls_listen = \"127.0.0.1:0\"\ntls_self_signed = true\n",
    );
    let ask = |args: &[&str]| {
        let base = [
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
        ];
        let output = Command::new("curl").args(base).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let path = "/live/demo/master.m3u8";
    assert_eq!(
        ask(&["--http2-prior-knowledge", &origin.url(path)]),
        "2 200"
    );
    assert_eq!(ask(&["--http1.1", &origin.url(path)]), "1.1 200");
    let tls = format!("{}{path}", origin.https.as_deref().unwrap());
    assert_eq!(ask(&["-k", &tls]), "2 200");
    assert_eq!(ask(&["-k", "--http1.1", &tls]), "1.1 200");
    assert_eq!(ask(&[&tls]), "0 000", "an unknown certificate was trusted");
}

/// An encoder as one has it: H.264 and AAC in one file, parts of 200 ms, in real time.
fn encoder(url: &str, seconds: u32) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args([
            "-v",
            "error",
            "-nostdin",
            "-re",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=30",
        ])
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=sample_rate=48000",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
        ])
        .args([
            "-tune",
            "zerolatency",
            "-g",
            "30",
            "-keyint_min",
            "30",
            "-sc_threshold",
            "0",
            "-c:a",
            "aac",
        ])
        .args([
            "-t",
            &seconds.to_string(),
            "-f",
            "mp4",
            "-movflags",
            "+cmaf+empty_moov+default_base_moof",
        ])
        .args([
            "-frag_duration",
            "200000",
            "-flush_packets",
            "1",
            "-method",
            "PUT",
            url,
        ]);
    command
}

#[test]
fn an_encoders_stream_is_shown_goes_on_when_it_comes_back_and_ends() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "[origin.ingest]\nresume_seconds = 2\n");
    let url = origin.url("/ingest/cam");
    let mut first = encoder(&url, 30).spawn().unwrap();
    let shown = || (origin.get("/live/cam/main/index.m3u8").code == 200).then_some(());
    origin.until("the stream to be shown", shown);
    let text = origin.get("/live/cam/main/index.m3u8").text();
    assert!(
        text.contains("#EXT-X-PART-INF:PART-TARGET=0.20000\n") && text.contains("INDEPENDENT=YES"),
        "{text}"
    );
    assert!(
        origin
            .get("/live/cam/master.m3u8")
            .text()
            .contains("mp4a.40.2\",RESOLUTION=320x180")
    );
    let (msn, part) = last_part(&text);
    let held = origin
        .get(&format!(
            "/live/cam/main/index.m3u8?_HLS_msn={msn}&_HLS_part={}",
            part + 1
        ))
        .text();
    assert!(last_part(&held) > (msn, part), "{held}");
    // Another one may not send at the same time.
    assert_eq!(origin.ask("PUT", "/ingest/cam", &[], b"x").code, 409);
    first.kill().unwrap();
    first.wait().unwrap();
    origin.until("the first encoder to be gone", || {
        origin
            .get("/metrics")
            .text()
            .contains("origin_ingests 0\n")
            .then_some(())
    });
    assert!(encoder(&url, 3).status().unwrap().success());
    let text = origin.get("/live/cam/main/index.m3u8").text();
    assert!(
        text.contains("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4\"\n"),
        "{text}"
    );
    origin.until("the end", || {
        origin
            .get("/live/cam/main/index.m3u8")
            .text()
            .contains("#EXT-X-ENDLIST")
            .then_some(())
    });
    let output = Command::new("ffprobe")
        .args(["-v", "error", &origin.url("/live/cam/master.m3u8")])
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A file of fragments by ffmpeg, and where its `moof` boxes begin.
fn recording(media: &std::path::Path) -> (Vec<u8>, Vec<usize>) {
    let bytes = std::fs::read(media.join("ladder-1-8s/240p.mp4")).unwrap();
    let starts = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, four)| four == b"moof")
        .map(|(at, _)| at - 4)
        .collect();
    (bytes, starts)
}

#[test]
fn bad_ingest_is_refused_by_name_and_counted() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(
        &media,
        "[origin.ingest]\nfragment_bytes = 20000\nstreams = 3\nsilence_seconds = 1\n",
    );
    let (good, starts) = recording(&media);
    let init = &good[..starts[0]];
    let put = |name: &str, body: &[u8]| {
        let answer = origin.ask("PUT", &format!("/ingest/{name}"), &[], body);
        (
            answer.code,
            answer.text().split(':').next().unwrap().to_owned(),
        )
    };
    let is = |code, why: &str| (code, why.to_owned());
    assert_eq!(put("demo", &good), is(409, "busy"));
    assert_eq!(put("a%20b", &good), is(400, "bad_name"));
    assert_eq!(
        put("x", b"GET / HTTP/1.1 and more of it"),
        is(413, "oversized")
    );
    assert_eq!(put("x", &good[starts[0]..]), is(400, "no_init"));
    assert_eq!(put("x", &[init, init].concat()), is(201, ""));
    assert_eq!(put("x", &good[..starts[1] - 7]), is(400, "truncated"));
    assert_eq!(
        put(
            "x",
            &[init, &good[starts[0]..starts[0] + 8], &[0xff; 200]].concat()
        )
        .0,
        400
    );
    assert_eq!(put("y", b""), is(201, ""));
    assert_eq!(put("z", b""), is(201, ""));
    assert_eq!(put("w", b""), is(503, "too_many_streams"));
    // One that says nothing more is cut.
    let mut silent = std::net::TcpStream::connect(origin.address).unwrap();
    silent
        .write_all(b"PUT /ingest/y HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let counted = || {
        origin
            .get("/metrics")
            .text()
            .contains("origin_ingest_faults_total{why=\"silent\"} 1\n")
            .then_some(())
    };
    origin.until("the silent encoder to be cut", counted);
}

#[test]
fn media_that_does_not_join_on_is_a_break() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    let (bytes, starts) = recording(&media);
    let part = |number: usize| &bytes[starts[number]..starts[number + 1]];
    let mut sent = bytes[..starts[0]].to_vec();
    // 4 s on end, back by 2 s, then on with a gap of 2 s.
    for number in (0..20).chain(10..20).chain(30..39) {
        sent.extend_from_slice(part(number));
    }
    assert_eq!(origin.ask("PUT", "/ingest/jump", &[], &sent).code, 201);
    let text = origin.get("/live/jump/main/index.m3u8").text();
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "{text}");
    let metrics = origin.get("/metrics").text();
    for why in ["back_in_time", "gap"] {
        assert!(
            metrics.contains(&format!("origin_ingest_breaks_total{{why=\"{why}\"}} 1\n")),
            "{metrics}"
        );
    }
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
        missing.starts_with(
            "error: cannot start ffmpeg, which makes the ladder: apt-get install ffmpeg"
        ),
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
