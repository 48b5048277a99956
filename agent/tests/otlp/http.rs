//! OTLP over HTTP to a receiver that misbehaves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use prost::Message as _;
use weir::export::otlp::{Otlp, Protocol};

use super::model;
use super::receiver::{Act, Receiver, answer};
use super::run::{Counts, Exporter, export_once, until};

const POINTS: u64 = 25;

pub(crate) fn config(receiver: &Receiver) -> Otlp {
    Otlp {
        endpoint: format!("http://{}", receiver.address),
        protocol: Protocol::Http,
        drain_seconds: 30.0,
        ..Otlp::default()
    }
}

/// Exports one request to a receiver that does this first. Returns the counts and when requests
/// came.
async fn after(acts: impl IntoIterator<Item = Act>) -> (Counts, Vec<Duration>, u64) {
    let receiver = Receiver::start(acts).await;
    let mut config = config(&receiver);
    config.timeout_seconds = 0.5;
    let counts = export_once(&config, model::node(1)).await;
    let seen = receiver.seen();
    let gaps = seen
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    assert_eq!(counts.queue, 0);
    assert!(seen.iter().all(|seen| seen.points() == POINTS));
    (counts, gaps, receiver.accepted_points())
}

/// It was tried again until it was accepted, nothing was lost.
async fn check_retried(acts: Vec<Act>) -> Vec<Duration> {
    let failed = acts.len() as u64;
    let (counts, gaps, accepted) = after(acts).await;
    let expected = Counts {
        sent: 1,
        failed,
        points: POINTS,
        dropped: 0,
        queue: 0,
    };
    assert_eq!(counts, expected);
    assert_eq!((gaps.len() as u64, accepted), (failed, POINTS));
    gaps
}

/// It was tried once, its points are counted as dropped.
async fn check_dropped(act: Act) {
    let (counts, gaps, accepted) = after([act]).await;
    let expected = Counts {
        sent: 0,
        failed: 1,
        points: 0,
        dropped: POINTS,
        queue: 0,
    };
    assert_eq!(counts, expected);
    assert_eq!((gaps.len(), accepted), (0, 0));
}

fn partial(rejected_data_points: i64) -> Act {
    let body = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points,
            error_message: "too old".to_owned(),
        }),
    };
    let kind = "content-type: application/x-protobuf\r\n";
    Act::Say(answer("200 OK", kind, &body.encode_to_vec()))
}

#[tokio::test]
async fn too_many_requests_waits_as_long_as_asked() {
    let busy = answer("429 Too Many Requests", "retry-after: 2\r\n", b"");
    let gaps = check_retried(vec![Act::Say(busy)]).await;
    assert!(gaps[0] >= Duration::from_secs(2), "{gaps:?}");
}

#[tokio::test]
async fn unavailable_for_a_while_loses_nothing() {
    let down = |status| Act::Say(answer(status, "", b"no upstream"));
    let statuses = ["503 Service Unavailable", "502 Bad Gateway"];
    let gaps = check_retried(statuses.map(down).to_vec()).await;
    assert!(gaps[1] > Duration::from_millis(900), "{gaps:?}");
}

#[tokio::test]
async fn bad_request_is_not_retried() {
    check_dropped(Act::Say(answer("400 Bad Request", "", b"what?"))).await;
}

#[tokio::test]
async fn an_error_of_the_server_is_not_retried() {
    check_dropped(Act::Say(answer("500 Internal Server Error", "", b""))).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    check_dropped(Act::Say(answer("302 Found", "location: /login\r\n", b""))).await;
}

#[tokio::test]
async fn garbage_for_success_is_not_success() {
    let kind = "content-type: application/x-protobuf\r\n";
    check_dropped(Act::Say(answer("200 OK", kind, b"\xff\xff\xff"))).await;
}

#[tokio::test]
async fn garbage_for_http_is_a_failure_that_may_pass() {
    check_retried(vec![Act::SayAndClose(b"SSH-2.0-nope\r\n\r\n".to_vec())]).await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    // A success by all rules but that of size: one field of 5 MiB that is not known.
    let mut huge = vec![0x7a];
    prost::encoding::encode_varint(5 << 20, &mut huge);
    huge.resize(huge.len() + (5 << 20), 0);
    check_dropped(Act::Say(answer("200 OK", "", &huge))).await;
}

#[tokio::test]
async fn a_closed_connection_is_made_again() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    let half_a_head = b"HTTP/1.1 200 OK\r\ncontent-".to_vec();
    let acts = [Vec::new(), half_a_head, cut].map(Act::SayAndClose);
    check_retried(acts.to_vec()).await;
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure_that_may_pass() {
    check_retried(vec![Act::Hang]).await;
}

#[tokio::test]
async fn partial_success_counts_what_was_rejected() {
    for (rejected, dropped) in [(7, 7), (0, 0), (-3, 0), (1_000, POINTS)] {
        let (counts, gaps, _) = after([partial(rejected)]).await;
        let expected = Counts {
            sent: 1,
            failed: 0,
            points: POINTS - dropped,
            dropped,
            queue: 0,
        };
        assert_eq!((counts, gaps.len()), (expected, 0), "{rejected}");
    }
}

#[tokio::test]
async fn one_connection_serves_all_requests() {
    let receiver = Receiver::start([]).await;
    let counts = export_once(&config(&receiver), model::node(400)).await;
    assert_eq!((counts.sent, counts.points, counts.failed), (5, 10_000, 0));
    assert_eq!(receiver.connections(), 1);
    let seen = receiver.seen();
    assert!(seen.iter().all(|seen| seen.points() == 2_000));
    assert!(seen[0].head.starts_with("POST /v1/metrics HTTP/1.1\r\n"));
    let head = seen[0].head.to_lowercase();
    for line in [
        format!("host: {}\r\n", receiver.address),
        "content-type: application/x-protobuf\r\n".to_owned(),
        "content-encoding: gzip\r\n".to_owned(),
        format!("user-agent: weir/{}\r\n", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(head.contains(&line), "{line} in {head}");
    }
}

#[tokio::test]
async fn a_receiver_away_for_long_costs_counted_points_and_bounded_memory() {
    // The address of a receiver that is gone.
    let gone = Receiver::start([]).await.address;
    let config = Otlp {
        endpoint: format!("http://{gone}"),
        protocol: Protocol::Http,
        interval_seconds: 0.1,
        queue_requests: 3,
        drain_seconds: 30.0,
        ..Otlp::default()
    };
    let exporter = Exporter::start(&config, model::node(1));
    until("dropped", || exporter.counts().dropped >= 5 * POINTS).await;
    let counts = exporter.counts();
    assert!(counts.queue <= 3 && counts.points == 0, "{counts:?}");
    assert!(counts.failed >= 1, "{counts:?}");
    let receiver = Receiver::start_at(&gone.to_string(), [], None).await;
    until("sent", || exporter.counts().sent >= 10).await;
    let source = exporter.source.clone();
    let counts = exporter.stop().await;
    let made = source.given.load(Ordering::Relaxed) * POINTS;
    assert_eq!(counts.points + counts.dropped, made, "{counts:?}");
    assert_eq!(counts.points, receiver.accepted_points());
    assert_eq!(counts.queue, 0);
}

#[tokio::test]
async fn a_request_is_given_up_when_it_is_too_old() {
    let down = || Act::Say(answer("503 Service Unavailable", "", b""));
    let receiver = Receiver::start([down()]).await;
    let config = Otlp {
        retry_seconds: 0.0,
        ..config(&receiver)
    };
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.sent, counts.failed, counts.dropped), (0, 1, POINTS));
}

#[tokio::test]
async fn the_end_is_not_delayed_by_a_receiver_that_is_gone() {
    let gone = Receiver::start([]).await.address;
    let config = Otlp {
        endpoint: format!("http://{gone}"),
        protocol: Protocol::Http,
        drain_seconds: 0.2,
        ..Otlp::default()
    };
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.sent, counts.dropped, counts.queue), (0, POINTS, 0));
}

#[tokio::test]
async fn the_end_does_not_come_sooner_than_a_receiver_asked_for() {
    let busy = answer("503 Service Unavailable", "retry-after: 2\r\n", b"");
    let receiver = Receiver::start([Act::Say(busy)]).await;
    let config = Otlp {
        interval_seconds: 0.1,
        ..config(&receiver)
    };
    let exporter = Exporter::start(&config, model::node(1));
    until("a refusal", || exporter.counts().failed == 1).await;
    exporter.stop().await;
    let seen = receiver.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(2));
}

#[tokio::test]
async fn headers_come_from_a_file_that_may_change_and_from_the_environment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "Authorization: Bearer one\n").unwrap();
    let receiver = Receiver::start([]).await;
    let config = Otlp {
        interval_seconds: 0.1,
        headers_file: file.path().to_owned(),
        headers_env: [("x-home".to_owned(), "CARGO_PKG_NAME".to_owned())].into(),
        ..config(&receiver)
    };
    let exporter = Exporter::start(&config, model::node(1));
    until("a request", || !receiver.seen().is_empty()).await;
    std::fs::write(file.path(), "Authorization: Bearer two\n").unwrap();
    let count = receiver.seen().len() + 1;
    until("another", || receiver.seen().len() > count).await;
    exporter.stop().await;
    let heads: Vec<_> = receiver.seen().into_iter().map(|seen| seen.head).collect();
    assert!(
        heads[0].contains("authorization: Bearer one\r\n"),
        "{heads:?}"
    );
    assert!(heads[0].contains("x-home: weir\r\n"), "{heads:?}");
    let last = heads.last().unwrap();
    assert!(last.contains("authorization: Bearer two\r\n"), "{heads:?}");
}
