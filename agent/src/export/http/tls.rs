//! TLS from PEM files, read again when they change, since certificates are renewed while we run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use std::{fs, io};

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::seldom::Seldom;

/// Accepts TLS with the certificate in two files.
pub(in crate::export) struct Acceptor {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: Mutex<Current>,
    failures: Seldom,
}

struct Current {
    changed: Changed,
    config: Arc<ServerConfig>,
}

/// When the two files were last written.
type Changed = [Option<SystemTime>; 2];

impl Acceptor {
    /// Reads certificate chain and key.
    ///
    /// # Errors
    /// If a file cannot be read or does not hold what it should, or if the two do not belong
    /// together.
    pub(in crate::export) fn open(cert_file: &Path, key_file: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            current: Mutex::new(Current {
                changed: changed(cert_file, key_file),
                config: load(cert_file, key_file)?,
            }),
            cert_file: cert_file.to_owned(),
            key_file: key_file.to_owned(),
            failures: Seldom::default(),
        })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current()).accept(stream).await
    }

    /// The newest usable configuration: files that are half written or wrong leave the old one.
    fn current(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changed(&self.cert_file, &self.key_file);
        if current.changed != changed {
            match load(&self.cert_file, &self.key_file) {
                Ok(config) => *current = Current { changed, config },
                Err(error) => self.failures.run(|| {
                    tracing::warn!("still using the old certificate: {error:#}");
                }),
            }
        }
        Arc::clone(&current.config)
    }
}

fn changed(cert_file: &Path, key_file: &Path) -> Changed {
    [cert_file, key_file].map(|file| fs::metadata(file).and_then(|meta| meta.modified()).ok())
}

fn load(cert_file: &Path, key_file: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("certificates in {}", cert_file.display()))?;
    anyhow::ensure!(
        !chain.is_empty(),
        "no certificate in {}",
        cert_file.display()
    );
    let key = PrivateKeyDer::from_pem_file(key_file)
        .with_context(|| format!("private key in {}", key_file.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(|| {
            format!(
                "certificate {} with key {}",
                cert_file.display(),
                key_file.display()
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
