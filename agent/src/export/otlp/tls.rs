//! TLS towards the receiver: rustls with ring, which is built already for the Prometheus endpoint.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::config::{Otlp, Protocol};

/// Reads the certificates of the configuration, once: a SIGHUP reads them again.
pub(super) fn client(config: &Otlp) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&config.ca_file)?);
    let mut client = match (is_set(&config.cert_file), is_set(&config.key_file)) {
        (false, false) => builder.with_no_client_auth(),
        (true, true) => {
            let place = || format!("otlp.key_file {}", config.key_file.display());
            let key = PrivateKeyDer::from_pem_file(&config.key_file).with_context(place)?;
            let chain = certificates("cert_file", &config.cert_file)?;
            builder
                .with_client_auth_cert(chain, key)
                .context("otlp.cert_file and otlp.key_file")?
        }
        _ => bail!("otlp.cert_file and otlp.key_file belong together: set both or none"),
    };
    client.alpn_protocols = vec![match config.protocol {
        Protocol::Grpc => b"h2".to_vec(),
        Protocol::Http => b"http/1.1".to_vec(),
    }];
    Ok(Arc::new(client))
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// The file's authorities if one is given, else the system's. The system's are not compiled in:
/// who runs the node decides whom it trusts.
fn roots(ca_file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if is_set(ca_file) {
        for certificate in certificates("ca_file", ca_file)? {
            let place = || format!("otlp.ca_file {}", ca_file.display());
            roots.add(certificate).with_context(place)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !roots.is_empty(),
            "no certificate authorities found on this system: install ca-certificates or set otlp.ca_file"
        );
    }
    Ok(roots)
}

fn certificates(field: &str, path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || format!("otlp.{field} {}", path.display());
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .with_context(place)?
        .collect::<Result<_, _>>()
        .with_context(place)?;
    ensure!(!all.is_empty(), "{}: no certificate in it", place());
    Ok(all)
}
