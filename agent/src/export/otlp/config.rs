//! The `[otlp]` section: fields, defaults, and the checks that turn it into what the exporter uses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::resource::Origin;
use crate::client::header::Headers;
use crate::client::tls::{self, Files};

/// Export of metrics by OTLP. Off unless `endpoint` is set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Where to send: `http(s)://host[:port][/path]`. Empty: nothing is sent. The port defaults to
    /// 4317 for grpc and 4318 for http, the path to `/v1/metrics` for http; grpc takes no path.
    pub endpoint: String,
    /// `grpc`, or `http` for protobuf over HTTP/1.1.
    pub protocol: Protocol,
    /// Seconds between exports.
    pub interval_seconds: f64,
    /// Compress requests with gzip, level 1.
    pub gzip: bool,
    /// Seconds a connection may take to be made, TLS included.
    pub connect_timeout_seconds: f64,
    /// Seconds a request may take from its first byte to the end of the answer.
    pub timeout_seconds: f64,
    /// Seconds for which a request is tried again after failures that may pass. Afterwards it is
    /// dropped and its points are counted.
    pub retry_seconds: f64,
    /// Seconds for one last export and the emptying of the queue when the agent stops.
    pub drain_seconds: f64,
    /// Most requests (of at most 2,000 points each) that wait; the oldest are dropped and counted.
    pub queue_requests: usize,
    /// Most bytes, as sent, that wait; the oldest are dropped and counted. One export must fit:
    /// 50,000 points take about 1.2 MB with gzip and 7 MB without.
    pub queue_bytes: usize,
    /// File of headers to send, one `name: value` a line, `#` for comments; for credentials. Read
    /// again before each request, so that a rotated secret is picked up. Empty: none.
    pub headers_file: PathBuf,
    /// Headers whose values come from environment variables: header name = variable name.
    pub headers_env: BTreeMap<String, String>,
    /// PEM file of the authorities to trust. Empty: those of the system.
    pub ca_file: PathBuf,
    /// PEM file of the client's certificate chain, for receivers that ask for one. Empty: none.
    pub cert_file: PathBuf,
    /// PEM file of the client certificate's private key. Empty: none.
    pub key_file: PathBuf,
    /// More attributes of the resource, such as `deployment.environment.name`. They replace those
    /// that Weir sets itself: service.name, service.version, service.instance.id, host.name and
    /// os.type.
    pub resource: BTreeMap<String, String>,
}

/// How OTLP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: Protocol::Grpc,
            interval_seconds: 15.0,
            gzip: true,
            connect_timeout_seconds: 5.0,
            timeout_seconds: 10.0,
            retry_seconds: 300.0,
            drain_seconds: 3.0,
            queue_requests: 256,
            queue_bytes: 4 << 20,
            headers_file: PathBuf::new(),
            headers_env: BTreeMap::new(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            resource: BTreeMap::new(),
        }
    }
}

impl Otlp {
    /// Whether anything is to be sent.
    pub fn is_enabled(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// Checks everything that can be checked without the receiver: fields, files, environment.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.is_enabled() {
            Settings::new(self)?;
        }
        Ok(())
    }
}

/// The checked form of [`Otlp`].
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) interval: Duration,
    pub(super) gzip: bool,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    pub(super) retry: Duration,
    pub(super) drain: Duration,
    pub(super) queue_requests: usize,
    pub(super) queue_bytes: usize,
    pub(super) headers: Headers,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) origin: Origin,
}

impl Settings {
    pub(super) fn new(config: &Otlp) -> anyhow::Result<Self> {
        let endpoint =
            Endpoint::parse(&config.endpoint, config.protocol).context("otlp.endpoint")?;
        ensure!(
            config.queue_requests > 0,
            "otlp.queue_requests is 0: at least one request must fit"
        );
        ensure!(
            config.queue_bytes > 0,
            "otlp.queue_bytes is 0: at least one request must fit"
        );
        let files = Files {
            section: "otlp",
            ca_file: &config.ca_file,
            cert_file: &config.cert_file,
            key_file: &config.key_file,
        };
        let protocol: &[u8] = match config.protocol {
            Protocol::Grpc => b"h2",
            Protocol::Http => b"http/1.1",
        };
        let tls = endpoint.address.tls.then(|| tls::client(files, protocol));
        let tls = tls.transpose()?;
        Ok(Self {
            interval: seconds("interval_seconds", config.interval_seconds, 0.1)?,
            gzip: config.gzip,
            connect_timeout: seconds(
                "connect_timeout_seconds",
                config.connect_timeout_seconds,
                0.01,
            )?,
            timeout: seconds("timeout_seconds", config.timeout_seconds, 0.01)?,
            retry: seconds("retry_seconds", config.retry_seconds, 0.0)?,
            drain: seconds("drain_seconds", config.drain_seconds, 0.0)?,
            queue_requests: config.queue_requests,
            queue_bytes: config.queue_bytes,
            headers: Headers::new("otlp", &config.headers_file, &config.headers_env)?,
            tls,
            origin: Origin::new(&config.resource)?,
            endpoint,
        })
    }
}

/// A duration within bounds that no timer overflows.
fn seconds(field: &str, value: f64, least: f64) -> anyhow::Result<Duration> {
    ensure!(
        (least..=86_400.0).contains(&value),
        "otlp.{field} is {value}: give a number of seconds from {least} to 86400"
    );
    Ok(Duration::from_secs_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_off_and_valid() {
        let config = Otlp::default();
        assert!(!config.is_enabled());
        config.check().unwrap();
        let enabled = Otlp {
            endpoint: "http://127.0.0.1:4317".to_owned(),
            ..config
        };
        enabled.check().unwrap();
        let text = toml::to_string(&enabled).unwrap();
        assert_eq!(toml::from_str::<Otlp>(&text).unwrap(), enabled);
    }

    #[test]
    fn whole_numbers_are_seconds_too() {
        let config: Otlp = toml::from_str("interval_seconds = 30").unwrap();
        assert!((config.interval_seconds - 30.0).abs() < f64::EPSILON);
    }

    #[test]
    fn bad_values_are_named() {
        for (text, word) in [
            ("interval_seconds = 0", "otlp.interval_seconds"),
            ("timeout_seconds = nan", "otlp.timeout_seconds"),
            ("queue_requests = 0", "otlp.queue_requests"),
            ("headers_file = '/nowhere/h'", "/nowhere/h"),
            (
                "headers_env = { authorization = 'WEIR_TEST_UNSET' }",
                "WEIR_TEST_UNSET",
            ),
            ("resource = { '' = 'x' }", "otlp.resource"),
        ] {
            let mut config: Otlp = toml::from_str(text).unwrap();
            config.endpoint = "http://127.0.0.1".to_owned();
            let error = format!("{:#}", config.check().unwrap_err());
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(toml::from_str::<Otlp>("endpoints = 'x'").is_err());
    }
}
