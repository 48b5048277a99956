//! OTLP over gRPC to Python's gRPC server, which has gRPC's default limit of 4 MiB.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::TcpListener;
use weir::export::otlp::Otlp;

use super::model;
use super::receiver::points;
use super::run::{Counts, Process, cache, export_once};

const POINTS: u64 = 25;

/// `google.rpc.Status` with a `RetryInfo` of 1.5 s, in hex: field 3 is an `Any` of type_url and
/// value; the value is a `Duration` of 1 s and 500,000,000 ns in field 1.
fn retry_info() -> String {
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let delay = [0x08, 1, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    let mut any = vec![0x0a, url.len() as u8];
    any.extend_from_slice(url);
    any.extend_from_slice(&[0x12, delay.len() as u8 + 2, 0x0a, delay.len() as u8]);
    any.extend_from_slice(&delay);
    let mut status = vec![0x1a, any.len() as u8];
    status.extend(any);
    status.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The server; ends with the test.
pub(crate) struct Server {
    _process: Process,
    directory: TempDir,
    endpoint: String,
}

/// A request that the server saw.
pub(crate) struct Seen {
    at: SystemTime,
    behaviour: String,
    pub(crate) request: ExportMetricsServiceRequest,
}

impl Server {
    /// `None`, said aloud, where Python's packages are not there.
    pub(crate) fn start(behaviours: &[&str]) -> Option<Self> {
        Self::start_in(TempDir::new().unwrap(), behaviours)
    }

    /// The same in a directory that may hold `server.pem` and `server.key`, for TLS.
    pub(crate) fn start_in(directory: TempDir, behaviours: &[&str]) -> Option<Self> {
        let python = cache().join("otlp-venv/bin/python");
        if !python.exists() {
            eprintln!("SKIP no {}: run `cargo xtask setup`", python.display());
            return None;
        }
        let scheme = match directory.path().join("server.pem").exists() {
            true => "https",
            false => "http",
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/receiver.py");
        let mut process = Process::start(
            Command::new(python)
                .arg(script)
                .arg(directory.path())
                .args(behaviours)
                .stdout(Stdio::piped()),
        );
        let mut port = String::new();
        let stdout = process.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the server prints its port");
        Some(Self {
            _process: process,
            directory,
            endpoint: format!("{scheme}://127.0.0.1:{port}"),
        })
    }

    pub(crate) fn config(&self) -> Otlp {
        Otlp {
            endpoint: self.endpoint.clone(),
            drain_seconds: 50.0,
            ..Otlp::default()
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        let mut files: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with('0'))
            .collect();
        files.sort();
        let read = |path: &std::path::PathBuf| Seen {
            at: path.metadata().unwrap().modified().unwrap(),
            behaviour: path.file_name().unwrap().to_string_lossy()[5..].to_owned(),
            request: ExportMetricsServiceRequest::decode(&std::fs::read(path).unwrap()[..])
                .unwrap(),
        };
        files.iter().map(read).collect()
    }
}

/// Exports one request to a server that does this first; checks the counts. Returns the pauses
/// between tries.
async fn check(behaviours: &[&str], expected: Counts) -> Vec<Duration> {
    let Some(server) = Server::start(behaviours) else {
        return Vec::new();
    };
    let mut config = server.config();
    config.timeout_seconds = 2.0;
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!(counts, expected, "{behaviours:?}");
    let seen = server.seen();
    assert_eq!(seen.len() as u64, expected.sent + expected.failed);
    assert!(seen.iter().all(|seen| points(&seen.request) == POINTS));
    seen.windows(2)
        .map(|pair| pair[1].at.duration_since(pair[0].at).unwrap())
        .collect()
}

fn retried(failed: u64) -> Counts {
    Counts {
        sent: 1,
        failed,
        points: POINTS,
        dropped: 0,
        queue: 0,
    }
}

const DROPPED: Counts = Counts {
    sent: 0,
    failed: 1,
    points: 0,
    dropped: POINTS,
    queue: 0,
};

#[tokio::test]
async fn fifty_thousand_series_arrive_whole() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let snapshot = model::node(2_000);
    for gzip in [true, false] {
        let config = Otlp {
            gzip,
            queue_bytes: 16 << 20,
            ..server.config()
        };
        let counts = export_once(&config, snapshot.clone()).await;
        let expected = Counts {
            sent: 25,
            failed: 0,
            points: 50_000,
            dropped: 0,
            queue: 0,
        };
        assert_eq!(counts, expected, "gzip {gzip}");
    }
    let seen = server.seen();
    assert_eq!(seen.len(), 50);
    for run in seen.chunks(25) {
        let parts = run
            .iter()
            .flat_map(|seen| seen.request.resource_metrics.clone())
            .flat_map(|resource| resource.scope_metrics)
            .flat_map(|scope| scope.metrics);
        let families = snapshot.families.iter();
        let expected: Vec<_> = families.map(|f| model::metric(&snapshot, f)).collect();
        assert!(model::joined(parts) == expected);
    }
}

#[tokio::test]
async fn unavailable_is_retried() {
    let gaps = check(&["UNAVAILABLE", "UNAVAILABLE"], retried(2)).await;
    assert!(
        gaps.get(1)
            .is_none_or(|gap| *gap > Duration::from_millis(900)),
        "{gaps:?}"
    );
}

#[tokio::test]
async fn exhausted_resources_without_retry_info_are_not_retried() {
    check(&["RESOURCE_EXHAUSTED"], DROPPED).await;
}

#[tokio::test]
async fn retry_info_is_kept_to() {
    for code in ["RESOURCE_EXHAUSTED", "UNAVAILABLE"] {
        let told = format!("{code}={}", retry_info());
        let gaps = check(&[&told], retried(1)).await;
        let long_enough = |gap: &Duration| *gap >= Duration::from_millis(1_490);
        assert!(gaps.iter().all(long_enough), "{code}: {gaps:?}");
    }
}

#[tokio::test]
async fn invalid_argument_is_not_retried() {
    check(&["INVALID_ARGUMENT"], DROPPED).await;
}

#[tokio::test]
async fn partial_success_is_not_retried() {
    let expected = Counts {
        points: POINTS - 7,
        dropped: 7,
        ..retried(0)
    };
    check(&["partial=7"], expected).await;
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure_that_may_pass() {
    check(&["hang"], retried(1)).await;
}

#[tokio::test]
async fn headers_are_sent_as_metadata() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "Authorization: Bearer abc\n").unwrap();
    let config = Otlp {
        headers_file: file.path().to_owned(),
        ..server.config()
    };
    assert_eq!(export_once(&config, model::node(1)).await, retried(0));
    let got = std::fs::read_to_string(server.directory.path().join("authorization")).unwrap();
    assert_eq!(got, "Bearer abc");
    assert!(server.seen().iter().all(|seen| seen.behaviour == "ok"));
}

#[tokio::test]
async fn a_peer_that_hangs_up_or_is_no_grpc_server_does_no_harm() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hang_up = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let nonsense = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, nonsense).await;
        }
    });
    let config = Otlp {
        endpoint: format!("http://{address}"),
        drain_seconds: 2.0,
        ..Otlp::default()
    };
    let counts = export_once(&config, model::node(1)).await;
    assert!(counts.failed >= 2, "{counts:?}");
    assert_eq!((counts.points, counts.dropped), (0, POINTS));
    hang_up.abort();
}
