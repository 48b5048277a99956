//! The `[prometheus]` section: fields and defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The HTTP endpoint that Prometheus scrapes: `/metrics`, `/healthz`, `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// Address and port to listen on. `0.0.0.0:9470` or `[::]:9470` to be scraped from elsewhere;
    /// set TLS and credentials then.
    pub listen: SocketAddr,
    /// Most connections at a time; more wait until one closes.
    pub max_connections: usize,
    /// Most scrapes at a time; more are answered 503 and counted as refused. Bounds the memory
    /// that answers take.
    pub max_scrapes: usize,
    /// Seconds for a TLS handshake and for each request's header. An idle connection is closed
    /// after this time, too.
    pub header_timeout_seconds: u32,
    /// Seconds in which a client must have read an answer.
    pub answer_timeout_seconds: u32,
    /// PEM file of the server's certificate chain, its own certificate first. Read again when it
    /// changes. Empty: plain HTTP.
    pub cert_file: PathBuf,
    /// PEM file of the certificate's private key. Empty: plain HTTP.
    pub key_file: PathBuf,
    /// User name for basic authentication. Empty: no basic authentication.
    pub username: String,
    /// File with the password for basic authentication. Read again for each request.
    pub password_file: PathBuf,
    /// File with a bearer token that clients must send; either this or the password is enough if
    /// both are set. Read again for each request. Empty: no token.
    ///
    /// `/healthz` and `/readyz` never ask for credentials.
    pub bearer_token_file: PathBuf,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9470)),
            max_connections: 64,
            max_scrapes: 4,
            header_timeout_seconds: 10,
            answer_timeout_seconds: 30,
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            bearer_token_file: PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_survives_a_round_trip() {
        let default = Prometheus::default();
        assert_eq!(toml::from_str::<Prometheus>("").unwrap(), default);
        let text = toml::to_string(&default).unwrap();
        assert_eq!(toml::from_str::<Prometheus>(&text).unwrap(), default);
        assert_eq!(default.listen.to_string(), "127.0.0.1:9470");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = toml::from_str::<Prometheus>("max_scrapes = 2\nlisten_on = \"x\"\n");
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("listen_on"),
            "{error}"
        );
    }
}
