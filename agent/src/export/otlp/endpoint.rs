//! Where to send: the parts of an endpoint's address.

use std::fmt;

use anyhow::{Context as _, bail};
use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};

use super::config::Protocol;
use crate::client::address::Address;

/// The path of the metrics service by the OTLP specification, for HTTP.
const HTTP_PATH: &str = "/v1/metrics";
/// The method that takes metrics, for gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A checked address. Printed without path, and never with credentials: those are refused.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) protocol: Protocol,
    pub(super) address: Address,
    /// What a request is addressed to.
    pub(super) uri: Uri,
}

impl Endpoint {
    pub(super) fn parse(text: &str, protocol: Protocol) -> anyhow::Result<Self> {
        let port = match protocol {
            Protocol::Grpc => 4317,
            Protocol::Http => 4318,
        };
        let address = Address::parse(text, "otlp.headers_file", |_| port)?;
        let path = path(address.path.as_ref(), protocol).with_context(|| text.to_owned())?;
        let scheme = if address.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        Ok(Self {
            protocol,
            uri: target(protocol, scheme, address.authority.clone(), path)?,
            address,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
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
        assert_eq!(
            (grpc.address.host.as_str(), grpc.address.port),
            ("collector", 4317)
        );
        assert_eq!(
            grpc.uri.to_string(),
            format!("http://collector:4317{GRPC_PATH}")
        );
        let http = Endpoint::parse("https://[::1]/", Protocol::Http).unwrap();
        assert_eq!(
            (http.address.host.as_str(), http.address.port),
            ("::1", 4318)
        );
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
