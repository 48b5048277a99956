//! Encoders, good and bad.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::Origin;
use crate::last_part;
use crate::media::ladder;

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

/// Bytes are changed at places that a seed gives, so that a failure can be had again.
#[test]
fn damaged_ingest_is_taken_or_refused_and_the_origin_goes_on() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "");
    let (good, starts) = recording(&media);
    let good = &good[..starts[12]];
    // Most of a recording is media that nobody looks into; aim at the boxes around it.
    let heads: Vec<usize> = (0..starts[0])
        .chain(starts[..12].iter().flat_map(|start| *start..start + 200))
        .collect();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let mut bytes = good.to_vec();
        for _ in 0..=random(3) {
            bytes[heads[random(heads.len())]] = random(256) as u8;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let answer = loop {
            // A refused one may still hold the stream for a moment.
            let answer = origin.ask("PUT", "/ingest/damaged", &[], &bytes);
            if answer.code != 409 || Instant::now() > deadline {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(
            [201, 400, 413].contains(&answer.code),
            "{} {}",
            answer.code,
            answer.text()
        );
        *codes.entry(answer.code).or_insert(0) += 1;
    }
    assert!(codes.len() > 1, "nothing was damaged: {codes:?}");
    assert_eq!(origin.get("/healthz").code, 200);
    assert_eq!(origin.ask("PUT", "/ingest/whole", &[], good).code, 201);
    assert_eq!(origin.get("/live/whole/main/index.m3u8").code, 200);
}
