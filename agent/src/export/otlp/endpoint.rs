//! Where to send: the parts of an endpoint's address.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};

use super::config::Protocol;

/// The path of the metrics service by the OTLP specification, for HTTP.
const HTTP_PATH: &str = "/v1/metrics";
/// The method that takes metrics, for gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A checked address. Printed without path, and never with credentials: those are refused.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) protocol: Protocol,
    pub(super) tls: bool,
    /// Name or address to connect to, without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
    /// What a request is addressed to.
    pub(super) uri: Uri,
    /// `host:port`, for the Host header.
    pub(super) authority: Authority,
}

impl Endpoint {
    pub(super) fn parse(text: &str, protocol: Protocol) -> anyhow::Result<Self> {
        let shape = "give http://host:port or https://host:port";
        // The address is logged, so it must not hold a secret.
        ensure!(
            !text.contains('@'),
            "credentials do not belong in the address: put them in otlp.headers_file"
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
        let path = path(uri.path_and_query(), protocol).with_context(|| text.to_owned())?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some(port) if !port.is_empty() => port
                .trim_start_matches(':')
                .parse()
                .with_context(|| format!("{text}: not a port"))?,
            _ => match protocol {
                Protocol::Grpc => 4317,
                Protocol::Http => 4318,
            },
        };
        let authority: Authority = format!("{}:{port}", authority.host()).parse()?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        ensure!(!host.is_empty(), "{text}: no host: {shape}");
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        Ok(Self {
            protocol,
            tls,
            host,
            port,
            uri: target(protocol, scheme, authority.clone(), path)?,
            authority,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

fn path(given: Option<&PathAndQuery>, protocol: Protocol) -> anyhow::Result<PathAndQuery> {
    let given = given.filter(|path| path.as_str() != "/" && !path.as_str().is_empty());
    match (protocol, given) {
        (Protocol::Grpc, None) => Ok(PathAndQuery::from_static(GRPC_PATH)),
        (Protocol::Grpc, Some(path)) => bail!(
            "grpc takes no path ({path}): leave it out, or set otlp.protocol = \"http\" and its port"
        ),
        (Protocol::Http, None) => Ok(PathAndQuery::from_static(HTTP_PATH)),
        (Protocol::Http, Some(path)) => Ok(path.clone()),
    }
}

/// HTTP/2 wants the whole address in the request, HTTP/1.1 its path only.
fn target(
    protocol: Protocol,
    scheme: Scheme,
    authority: Authority,
    path: PathAndQuery,
) -> anyhow::Result<Uri> {
    let builder = match protocol {
        Protocol::Grpc => Uri::builder().scheme(scheme).authority(authority),
        Protocol::Http => Uri::builder(),
    };
    Ok(builder.path_and_query(path).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_paths_have_the_defaults_of_the_protocol() {
        let grpc = Endpoint::parse("http://collector", Protocol::Grpc).unwrap();
        assert_eq!((grpc.host.as_str(), grpc.port), ("collector", 4317));
        assert_eq!(
            grpc.uri.to_string(),
            format!("http://collector:4317{GRPC_PATH}")
        );
        let http = Endpoint::parse("https://[::1]/", Protocol::Http).unwrap();
        assert_eq!((http.host.as_str(), http.port), ("::1", 4318));
        assert_eq!(http.uri.to_string(), "/v1/metrics");
        assert_eq!(http.to_string(), "https://[::1]:4318");
        let own = Endpoint::parse("http://h:1/a/b?c=d", Protocol::Http).unwrap();
        assert_eq!(own.uri.to_string(), "/a/b?c=d");
    }

    #[test]
    fn bad_addresses_are_refused() {
        for (text, protocol, word) in [
            ("collector:4317", Protocol::Grpc, "http://host"),
            ("ftp://h", Protocol::Http, "http://host"),
            ("http://", Protocol::Http, "http://host"),
            ("http://h/path", Protocol::Grpc, "takes no path"),
            ("http://user:secret@h", Protocol::Http, "headers_file"),
            ("http://h:99999", Protocol::Http, "not a port"),
            ("http://h:", Protocol::Http, "not a port"),
        ] {
            let error = format!("{:#}", Endpoint::parse(text, protocol).unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
