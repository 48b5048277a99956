//! Clients that are many, slow, mute or deaf.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir::export::prometheus::Prometheus;

use crate::client::get;
use crate::data::{Running, gauges, wait_for};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: weir\r\n\r\n";

/// More than the buffers of both sockets hold.
const MUCH: usize = 300_000;

/// Asks and reads nothing.
async fn deaf_client(server: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    stream
}

#[tokio::test]
async fn too_many_scrapes_are_refused_and_counted() {
    let config = Prometheus {
        max_scrapes: 2,
        ..Prometheus::default()
    };
    let server = Running::start(config, gauges(MUCH));
    let mut deaf = vec![deaf_client(&server).await, deaf_client(&server).await];
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = get(server.address, "/metrics", &[]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(server.refused(), 1);
    assert_eq!(
        get(server.address, "/healthz", &[]).await.status,
        StatusCode::OK
    );

    // One goes: its place is free again.
    drop(deaf.pop());
    let began = Instant::now();
    while get(server.address, "/metrics", &[]).await.status != StatusCode::OK {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let config = Prometheus {
        max_scrapes: 1,
        answer_timeout_seconds: 1,
        ..Prometheus::default()
    };
    let server = Running::start(config, gauges(MUCH));
    let _deaf = deaf_client(&server).await;
    wait_for(&server.counts.scrape_ns, 1).await;
    assert_eq!(
        get(server.address, "/metrics", &[]).await.status.as_u16(),
        503
    );
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(
        get(server.address, "/metrics", &[]).await.status,
        StatusCode::OK
    );
    assert_eq!(
        server.scrapes(),
        1,
        "the one that was cut off does not count"
    );
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_cut_off() {
    let config = Prometheus {
        max_scrapes: 1,
        answer_timeout_seconds: 1,
        ..Prometheus::default()
    };
    let server = Running::start(config, gauges(MUCH));
    let mut slow = deaf_client(&server).await;
    let mut buffer = vec![0; 512 * 1024];
    let began = Instant::now();
    // About 5 MB/s at most of about 30 MB: never stuck for a second, yet far too slow.
    let mut total = 0;
    while let Ok(n @ 1..) = slow.read(&mut buffer).await {
        total += n;
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "still served after 4 s"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(total < 25_000_000, "got {total} bytes");
    assert_eq!(server.scrapes(), 0);
    assert_eq!(
        get(server.address, "/metrics", &[]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_client_that_never_ends_its_header_is_cut_off() {
    let config = Prometheus {
        header_timeout_seconds: 1,
        ..Prometheus::default()
    };
    let server = Running::start(config, gauges(1));
    for sent in [&b""[..], b"GET /metrics HTTP/1.1\r\nhost: we"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), end).await;
        let took = began.elapsed();
        assert!(
            (0.9..3.0).contains(&took.as_secs_f64()),
            "closed after {took:?}"
        );
    }
}

#[tokio::test]
async fn connections_above_the_bound_wait_for_a_place() {
    let config = Prometheus {
        max_connections: 2,
        header_timeout_seconds: 1,
        ..Prometheus::default()
    };
    let server = Running::start(config, gauges(1));
    let _mute = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    let began = Instant::now();
    assert_eq!(
        get(server.address, "/metrics", &[]).await.status,
        StatusCode::OK
    );
    let took = began.elapsed();
    assert!(
        (0.5..3.0).contains(&took.as_secs_f64()),
        "served after {took:?}"
    );
}

#[tokio::test]
async fn garbage_and_bodies_do_no_harm() {
    let server = Running::start(Prometheus::default(), gauges(1));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000));
    let body = "GET /metrics HTTP/1.1\r\nhost: weir\r\ncontent-length: 1000000000\r\n\r\nabc";
    for garbage in [
        &b"\0\xff\r\n\r\n"[..],
        b"GET\r\n\r\n",
        long.as_bytes(),
        body.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut answer))
            .await
            .expect("the connection is closed");
        assert_eq!(
            get(server.address, "/metrics", &[]).await.status,
            StatusCode::OK
        );
    }
}
