//! TLS from PEM files, or with a certificate made at the start for trying things out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate chain and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Two PEM files.
    Files { cert: PathBuf, key: PathBuf },
    /// Made now, for these names; no client trusts it unasked.
    SelfSigned(Vec<String>),
}

/// Takes handshakes with the certificate of `source`; offers HTTP/2 and HTTP/1.1.
///
/// # Errors
/// If a file cannot be read or does not hold what it should.
pub(crate) fn acceptor(source: &Source) -> Result<TlsAcceptor> {
    let (chain, key) = match source {
        Source::Files { cert, key } => read(cert, key)?,
        Source::SelfSigned(names) => make(names)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("certificate and key do not belong together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn read(cert: &Path, key: &Path) -> Result<Identity> {
    let wrong =
        |what: &str, path: &Path| format!("cannot read the {what} in {} (PEM)", path.display());
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| wrong("certificate", cert))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| wrong("key", key))?;
    Ok((chain, key))
}

fn make(names: &[String]) -> Result<Identity> {
    let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
    let key =
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok((vec![made.cert.der().clone()], key))
}
