//! Playing: playlists, parts, segments, caches, and players that are not ours.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::{Answer, Origin};
use crate::last_part;
use crate::media::{ladder, program};

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
