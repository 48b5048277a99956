//! The API on the agent's own server: behind its credentials, beside the metrics.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir::alert::api::{Answer, Engine, Failure, Group, Limits, Metadata, Query, Span, router};
use weir::alert::page::Pairs;
use weir::config::Prometheus;
use weir::export::prometheus::{Ready, Server};
use weir::metrics::{Snapshot, Source};

/// An agent without series or rules.
struct Nothing;

impl Source for Nothing {
    fn snapshot(&self) -> Snapshot {
        Snapshot::default()
    }
}

impl Engine for Nothing {
    fn instant(&self, _: Query<'_>, _: i64) -> Result<Answer, Failure> {
        Ok(Answer::default())
    }

    fn range(&self, _: Query<'_>, _: Span) -> Result<Answer, Failure> {
        Ok(Answer::default())
    }

    fn series(&self, _: &[String], _: (i64, i64), _: usize) -> Result<Vec<Pairs>, Failure> {
        Ok(Vec::new())
    }

    fn metadata(&self) -> BTreeMap<String, Vec<Metadata>> {
        BTreeMap::new()
    }

    fn groups(&self) -> Vec<Group> {
        Vec::new()
    }
}

/// On a thread of its own, since the server has the test's.
async fn ask(address: SocketAddr, request: String) -> String {
    let asking = tokio::task::spawn_blocking(move || ask_blocking(address, &request));
    asking.await.unwrap()
}

fn ask_blocking(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str, token: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let request = format!("{head}authorization: Bearer {token}\r\n\r\n");
    ask(address, request).await
}

#[tokio::test]
async fn the_api_is_behind_the_servers_credentials_and_bounds() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret").unwrap();
    let config = Prometheus {
        listen: "127.0.0.1:0".parse().unwrap(),
        bearer_token_file: token.path().to_owned(),
        answer_timeout_seconds: 1,
        ..Prometheus::default()
    };
    let limits = Limits {
        queries: 1,
        timeout: Duration::from_secs(5),
    };
    let server = Server::bind(&config).unwrap();
    let server = server.mount(router(Arc::new(Nothing), limits));
    let address = server.address().unwrap();
    let (_ready, ready) = watch::channel(Ready::Yes);
    let stop = CancellationToken::new();
    let serving = server.serve(Arc::new(Nothing), Arc::default(), ready, stop.clone());
    let serving = tokio::spawn(serving);

    let answer = get(address, "/api/v1/query?query=up", "secret").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert!(answer.ends_with(empty), "{answer}");
    for path in ["/api/v1/query?query=up", "/api/v1/rules", "/metrics"] {
        let answer = get(address, path, "wrong").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
    for (path, status) in [("/metrics", "HTTP/1.1 200"), ("/nowhere", "HTTP/1.1 404")] {
        let answer = get(address, path, "secret").await;
        assert!(answer.starts_with(status), "{path}: {answer}");
    }
    // A form that never comes holds a place no longer than any answer.
    let head = "POST /api/v1/query HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let rest = "authorization: Bearer secret\r\ncontent-length: 9\r\n\r\nquery";
    let answer = ask(address, format!("{head}{rest}")).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    stop.cancel();
    serving.await.unwrap().unwrap();
}
