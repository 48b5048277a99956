//! Where to send: the parts of a receiver's address.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery};

/// A checked address. Printed without path, and never with credentials: those are refused.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    /// Name or address to connect to, without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host:port`, for the Host header.
    pub(crate) authority: Authority,
    /// Path and query as given; none if there is no more than a slash.
    pub(crate) path: Option<PathAndQuery>,
}

impl Address {
    /// Reads `http(s)://host[:port][/path]`. `secrets` is the key where credentials belong,
    /// `default_port` is asked with whether it is TLS.
    pub(crate) fn parse(
        text: &str,
        secrets: &str,
        default_port: impl FnOnce(bool) -> u16,
    ) -> anyhow::Result<Self> {
        let shape = "give http://host:port or https://host:port";
        // The address is logged, so it must not hold a secret.
        ensure!(
            !text.contains('@'),
            "credentials do not belong in the address: put them in {secrets}"
        );
        let uri: Uri = text.parse().with_context(|| format!("{text}: {shape}"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("{text}: {shape}"),
        };
        let authority = uri
            .authority()
            .with_context(|| format!("{text}: no host: {shape}"))?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some(port) if !port.is_empty() => port
                .trim_start_matches(':')
                .parse()
                .with_context(|| format!("{text}: not a port"))?,
            _ => default_port(tls),
        };
        let authority: Authority = format!("{}:{port}", authority.host()).parse()?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        ensure!(!host.is_empty(), "{text}: no host: {shape}");
        let path = uri.path_and_query().cloned();
        Ok(Self {
            tls,
            host,
            port,
            authority,
            path: path.filter(|path| path.as_str() != "/" && !path.as_str().is_empty()),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}
