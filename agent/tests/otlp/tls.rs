//! OTLP over TLS.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use weir::export::otlp::{Otlp, Protocol};

use super::grpc::Server;
use super::model;
use super::receiver::{Receiver, points};
use super::run::export_once;

const POINTS: u64 = 25;

/// An authority that signs for a receiver and for the agent.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let files = TempDir::new().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["agent".to_owned()]).unwrap();
        let client = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(files.path().join("client.pem"), client.pem()).unwrap();
        std::fs::write(files.path().join("client.key"), key.serialize_pem()).unwrap();
        Self { issuer, files }
    }

    fn path(&self) -> &Path {
        self.files.path()
    }

    /// A certificate for a receiver on loopback, and its key.
    fn server(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A receiver's side, which asks for a certificate of the client if told so.
    fn acceptor(&self, asks_client: bool) -> TlsAcceptor {
        let (server, key) = self.server();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![server.der().clone()], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

async fn receiver(authority: &Authority, asks_client: bool) -> (Receiver, Otlp) {
    let tls = Some(authority.acceptor(asks_client));
    let receiver = Receiver::start_at("127.0.0.1:0", [], tls).await;
    let config = Otlp {
        endpoint: format!("https://{}", receiver.address),
        protocol: Protocol::Http,
        ca_file: authority.path().join("ca.pem"),
        drain_seconds: 1.0,
        ..Otlp::default()
    };
    (receiver, config)
}

#[tokio::test]
async fn a_receiver_of_the_given_authority_is_trusted() {
    let authority = Authority::new();
    let (receiver, config) = receiver(&authority, false).await;
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.points, counts.failed), (POINTS, 0));
    assert_eq!(receiver.accepted_points(), POINTS);
}

#[tokio::test]
async fn a_receiver_of_another_authority_gets_nothing() {
    let (receiver, mut config) = receiver(&Authority::new(), false).await;
    let other = Authority::new();
    config.ca_file = other.path().join("ca.pem");
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.points, counts.dropped), (0, POINTS));
    assert!(counts.failed >= 1 && receiver.seen().is_empty());
}

#[tokio::test]
async fn a_receiver_may_ask_for_a_certificate() {
    let authority = Authority::new();
    let (receiver, mut config) = receiver(&authority, true).await;
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.points, counts.dropped), (0, POINTS));
    config.cert_file = authority.path().join("client.pem");
    config.key_file = authority.path().join("client.key");
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.points, counts.failed), (POINTS, 0));
    assert_eq!(receiver.accepted_points(), POINTS);
}

#[tokio::test]
async fn grpc_goes_over_tls_too() {
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let directory = TempDir::new().unwrap();
    let write = |name, text| std::fs::write(directory.path().join(name), text).unwrap();
    write("server.pem", certificate.pem());
    write("server.key", key.serialize_pem());
    let Some(server) = Server::start_in(directory, &[]) else {
        return;
    };
    let config = Otlp {
        ca_file: authority.path().join("ca.pem"),
        ..server.config()
    };
    let counts = export_once(&config, model::node(1)).await;
    assert_eq!((counts.points, counts.failed), (POINTS, 0));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(points(&seen[0].request), POINTS);
}

#[test]
fn bad_certificate_files_are_named_before_the_start() {
    let authority = Authority::new();
    let base = Otlp {
        endpoint: "https://127.0.0.1:1".to_owned(),
        ca_file: authority.path().join("ca.pem"),
        ..Otlp::default()
    };
    let error = |config: Otlp| format!("{:#}", config.check().unwrap_err());
    base.check().unwrap();
    let key = authority.path().join("client.key");
    let certificate = authority.path().join("client.pem");
    let missing = error(Otlp {
        ca_file: "/nowhere/ca.pem".into(),
        ..base.clone()
    });
    assert!(
        missing.contains("otlp.ca_file /nowhere/ca.pem"),
        "{missing}"
    );
    let empty = error(Otlp {
        ca_file: key.clone(),
        ..base.clone()
    });
    assert!(empty.contains("no certificate in it"), "{empty}");
    let half = error(Otlp {
        cert_file: certificate.clone(),
        ..base.clone()
    });
    assert!(half.contains("belong together"), "{half}");
    let swapped = error(Otlp {
        cert_file: certificate.clone(),
        key_file: certificate,
        ..base
    });
    assert!(swapped.contains("otlp.key_file"), "{swapped}");
}
