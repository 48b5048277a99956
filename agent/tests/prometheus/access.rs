//! TLS and credentials.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weir::export::prometheus::{Prometheus, Server};

use crate::client::{Answer, get, request};
use crate::data::{Running, gauges, write};

/// Writes a new certificate and its key.
fn certify(dir: &TempDir) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write(dir, "key.pem", &signing_key.serialize_pem());
    write(dir, "cert.pem", &cert.pem());
    cert.der().clone()
}

fn with_tls(dir: &TempDir) -> Prometheus {
    Prometheus {
        cert_file: dir.path().join("cert.pem"),
        key_file: dir.path().join("key.pem"),
        ..Prometheus::default()
    }
}

async fn get_by_tls(
    server: &Running,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    Ok(request(stream, "GET", "/metrics", &[]).await)
}

#[tokio::test]
async fn tls_serves_and_follows_a_renewed_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let old = certify(&dir);
    let server = Running::start(with_tls(&dir), gauges(10_000));
    let answer = get_by_tls(&server, &old).await.unwrap();
    assert_eq!(answer.text().lines().count(), 10_002);

    // Half of a renewal: the key does not fit the certificate yet. The old pair stays.
    let later = SystemTime::now() + Duration::from_secs(1);
    let key = std::fs::read(dir.path().join("key.pem")).unwrap();
    let new = certify(&dir);
    let new_key = std::fs::read(dir.path().join("key.pem")).unwrap();
    std::fs::write(dir.path().join("key.pem"), key).unwrap();
    assert!(get_by_tls(&server, &old).await.is_ok());

    std::fs::write(dir.path().join("key.pem"), new_key).unwrap();
    let file = std::fs::File::open(dir.path().join("key.pem")).unwrap();
    file.set_modified(later).unwrap();
    assert!(get_by_tls(&server, &new).await.is_ok());
    assert!(get_by_tls(&server, &old).await.is_err());
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_nowhere_and_harms_nobody() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dir = tempfile::tempdir().unwrap();
    let cert = certify(&dir);
    let server = Running::start(with_tls(&dir), gauges(1));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: weir\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|bytes| bytes == b"weir"));
    assert!(get_by_tls(&server, &cert).await.is_ok());
}

#[tokio::test]
async fn without_the_secret_only_the_probes_of_kubernetes_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let config = Prometheus {
        username: "prom".to_owned(),
        password_file: write(&dir, "password", "secret\n"),
        bearer_token_file: write(&dir, "token", "t0ken"),
        ..Prometheus::default()
    };
    let server = Running::start(config, gauges(1));
    let at = server.address;
    let wrong = [("authorization", "Bearer wrong")];
    for headers in [&[][..], &wrong[..]] {
        let answer = get(at, "/metrics", headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(
            answer
                .header("www-authenticate")
                .starts_with("Basic realm=\"weir\"")
        );
    }
    assert_eq!((server.scrapes(), server.refused()), (0, 2));
    // "prom:secret" in base64.
    for right in ["Basic cHJvbTpzZWNyZXQ=", "Bearer t0ken"] {
        let answer = get(at, "/metrics", &[("authorization", right)]).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    assert_eq!(get(at, "/healthz", &[]).await.status, StatusCode::OK);
    assert_eq!(
        get(at, "/readyz", &[]).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[test]
fn wrong_files_are_named_at_start() {
    let dir = tempfile::tempdir().unwrap();
    certify(&dir);
    let missing = dir.path().join("missing.pem");
    let text = write(&dir, "text.pem", "no PEM\n");
    let tls = |cert: &std::path::Path, key: &std::path::Path| Prometheus {
        cert_file: cert.to_owned(),
        key_file: key.to_owned(),
        ..with_tls(&dir)
    };
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let other = tempfile::tempdir().unwrap();
    certify(&other);
    let cases = [
        (tls(&missing, &key), "missing.pem"),
        (tls(&text, &key), "text.pem"),
        (tls(&cert, &text), "text.pem"),
        (
            tls(&cert, &other.path().join("key.pem")),
            "cert.pem with key",
        ),
        (tls(&cert, std::path::Path::new("")), "go together"),
        (
            Prometheus {
                username: "prom".into(),
                ..Prometheus::default()
            },
            "go together",
        ),
        (
            Prometheus {
                bearer_token_file: missing,
                ..Prometheus::default()
            },
            "missing.pem",
        ),
        (
            Prometheus {
                max_scrapes: 0,
                ..Prometheus::default()
            },
            "max_scrapes: must be",
        ),
    ];
    for (mut config, expected) in cases {
        config.listen.set_port(0);
        let error = format!("{:#}", Server::bind(&config).err().expect(expected));
        assert!(
            error.starts_with("prometheus.") && error.contains(expected),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
}
