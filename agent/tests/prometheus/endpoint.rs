//! Paths, methods, formats, start and stop.

use std::process::{Command, Stdio};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::net::TcpStream;
use weir::export::prometheus::{Format, Prometheus, Ready, Server};
use weir::metrics::{self, Histogram, Value};

use crate::client::{get, request};
use crate::data::{Running, gauges, point, snapshot};

#[tokio::test]
async fn each_path_answers_what_it_should() {
    let server = Running::start(Prometheus::default(), gauges(1));
    let at = server.address;
    let index = get(at, "/", &[]).await;
    assert_eq!(index.status, StatusCode::OK);
    assert!(index.text().contains("href=\"/metrics\""));
    assert_eq!(get(at, "/healthz", &[]).await.status, StatusCode::OK);
    let not_ready = get(at, "/readyz", &[]).await;
    assert_eq!(not_ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(not_ready.text(), "not ready: attaching probes\n");
    server.ready.send(Ready::Yes).unwrap();
    assert_eq!(get(at, "/readyz", &[]).await.status, StatusCode::OK);
    let unknown = get(at, "/metric", &[]).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(unknown.text().contains("/metrics"));
    for method in ["POST", "PUT", "DELETE"] {
        let stream = TcpStream::connect(at).await.unwrap();
        let answer = request(stream, method, "/metrics", &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), "GET,HEAD");
    }
    assert_eq!((server.scrapes(), server.refused()), (0, 0));
}

#[tokio::test]
async fn the_format_and_compression_asked_for_come() {
    let server = Running::start(Prometheus::default(), gauges(1_000));
    for format in Format::ALL {
        let accept = ("accept", format.content_type());
        let plain = get(server.address, "/metrics", &[accept]).await;
        assert_eq!(plain.status, StatusCode::OK);
        assert_eq!(plain.header("content-type"), format.content_type());
        assert_eq!(plain.header("content-encoding"), "");
        let gzip = get(
            server.address,
            "/metrics",
            &[accept, ("accept-encoding", "gzip")],
        )
        .await;
        assert_eq!(gzip.header("content-encoding"), "gzip");
        assert_eq!(gzip.unzipped(), plain.body);
        assert!(gzip.body.len() * 5 < plain.body.len());
    }
    assert_eq!(server.scrapes(), 6);
    assert!(
        server
            .counts
            .scrape_ns
            .load(std::sync::atomic::Ordering::Relaxed)
            > 0
    );
}

#[tokio::test]
async fn head_has_no_body_and_a_connection_serves_many_requests() {
    let server = Running::start(Prometheus::default(), gauges(10));
    let stream = TcpStream::connect(server.address).await.unwrap();
    let head = request(stream, "HEAD", "/metrics", &[]).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    let url = format!("http://{}/metrics", server.address);
    let Ok(out) = tokio::process::Command::new("curl")
        .args(["-sv", "--max-time", "5", &url, &url])
        .output()
        .await
    else {
        return eprintln!("SKIP curl is not installed");
    };
    assert!(String::from_utf8_lossy(&out.stderr).contains("Re-using existing connection"));
    assert_eq!(
        String::from_utf8_lossy(&out.stdout)
            .matches("# TYPE")
            .count(),
        2
    );
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let server = Running::start(Prometheus::default(), gauges(1));
    let config = Prometheus {
        listen: server.address,
        ..Prometheus::default()
    };
    let error = format!("{:#}", Server::bind(&config).err().unwrap());
    assert_eq!(
        error,
        format!(
            "cannot listen on {}: address in use by another program or another weir; set [prometheus] listen",
            server.address
        )
    );
    let config = Prometheus {
        listen: "192.0.2.1:9470".parse().unwrap(),
        ..Prometheus::default()
    };
    let error = format!("{:#}", Server::bind(&config).err().unwrap());
    assert!(
        error.contains("does not have that address; set [prometheus] listen"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stop_ends_the_answer_under_way_and_closes_the_port() {
    let server = Running::start(Prometheus::default(), gauges(50_000));
    let answer = tokio::spawn(get_all(server.address));
    crate::data::wait_for(&server.counts.scrape_ns, 1).await;
    server.stop.cancel();
    assert_eq!(
        answer.await.unwrap().lines().count(),
        50_002,
        "the answer is whole"
    );
    let ended = tokio::time::timeout(Duration::from_secs(3), server.task).await;
    ended
        .expect("ends within the grace period")
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

async fn get_all(address: std::net::SocketAddr) -> String {
    get(address, "/metrics", &[]).await.text().to_owned()
}

#[test]
fn promtool_finds_nothing_to_say() {
    let families = metrics::ALL.iter().map(|metric| {
        let value = match metric.kind.classic_exponents() {
            Some(_) => Value::Histogram(Histogram {
                zero_count: 1,
                ..Histogram::default()
            }),
            None => Value::Int(1),
        };
        (*metric, vec![point("web", &[("kind", "rto")], value)])
    });
    let encoder =
        weir::export::prometheus::Encoder::new(snapshot(families.collect()), Format::Text, false);
    let text: Vec<u8> = encoder.flatten().collect();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        return eprintln!("SKIP promtool is not installed (Debian: prometheus)");
    };
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), &text).unwrap();
    let out = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success() && said.is_empty(), "{said}");
}
