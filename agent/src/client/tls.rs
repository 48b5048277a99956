//! TLS towards the receiver: rustls with ring, which is built already for the Prometheus endpoint.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Files of certificates and keys, empty where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    /// The section of the configuration, for messages.
    pub(crate) section: &'a str,
    pub(crate) ca_file: &'a Path,
    pub(crate) cert_file: &'a Path,
    pub(crate) key_file: &'a Path,
}

/// Reads the certificates of the configuration, once; `protocol` is what ALPN calls it.
pub(crate) fn client(config: Files<'_>, protocol: &[u8]) -> anyhow::Result<Arc<ClientConfig>> {
    let section = config.section;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(section, config.ca_file)?);
    let mut client = match (is_set(config.cert_file), is_set(config.key_file)) {
        (false, false) => builder.with_no_client_auth(),
        (true, true) => {
            let place = || format!("{section}.key_file {}", config.key_file.display());
            let key = PrivateKeyDer::from_pem_file(config.key_file).with_context(place)?;
            let chain = certificates(section, "cert_file", config.cert_file)?;
            builder
                .with_client_auth_cert(chain, key)
                .with_context(|| format!("{section}.cert_file and {section}.key_file"))?
        }
        _ => bail!("{section}.cert_file and {section}.key_file belong together: set both or none"),
    };
    client.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(client))
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// The file's authorities if one is given, else the system's. The system's are not compiled in:
/// who runs the node decides whom it trusts.
fn roots(section: &str, ca_file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if is_set(ca_file) {
        for certificate in certificates(section, "ca_file", ca_file)? {
            let place = || format!("{section}.ca_file {}", ca_file.display());
            roots.add(certificate).with_context(place)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !roots.is_empty(),
            "no certificate authorities found on this system: install ca-certificates or set {section}.ca_file"
        );
    }
    Ok(roots)
}

fn certificates(
    section: &str,
    field: &str,
    path: &Path,
) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || format!("{section}.{field} {}", path.display());
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .with_context(place)?
        .collect::<Result<_, _>>()
        .with_context(place)?;
    ensure!(!all.is_empty(), "{}: no certificate in it", place());
    Ok(all)
}
