//! `[origin]` and the arguments that stand in for parts of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{ingest, media, stream, tls};

/// Arguments of `weir-stack origin`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of HTTP/1.1 and HTTP/2 without TLS
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Address of the same with TLS
    #[arg(long)]
    tls_listen: Option<SocketAddr>,
    /// Make a certificate for localhost at the start
    #[arg(long)]
    tls_self_signed: bool,
    /// A stream that loops the ladder; may be given more than once
    #[arg(long = "stream", value_name = "NAME")]
    streams: Vec<String>,
    /// Folder of ladder and player, as `weir-stack media` makes it
    #[arg(long, value_name = "DIR")]
    media: Option<PathBuf>,
    /// Length of the loop in seconds, a multiple of 8
    #[arg(long)]
    seconds: Option<u64>,
}

/// `[origin]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address of HTTP/1.1 and HTTP/2 without TLS.
    pub(crate) listen: SocketAddr,
    /// Address of the same with TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_listen: Option<SocketAddr>,
    /// File of the certificate chain (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File of the certificate's key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Make a certificate for localhost at the start instead.
    pub(crate) tls_self_signed: bool,
    /// Streams that loop the ladder.
    pub(crate) streams: Vec<String>,
    /// Folder of ladder and player; the user's cache without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media: Option<PathBuf>,
    /// Length of the loop in seconds, a multiple of 8.
    pub(crate) loop_seconds: u64,
    /// Length of a playlist in seconds.
    pub(crate) window_seconds: u64,
    /// Connections at a time; further ones wait in the kernel's queue.
    pub(crate) connections: usize,
    /// Requests at a time that are held until a playlist or part is there.
    pub(crate) held: usize,
    /// Player sessions at a time.
    pub(crate) sessions: usize,
    /// Seconds of silence after which a session is forgotten.
    pub(crate) session_silence_seconds: u64,
    pub(crate) ingest: ingest::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_listen: None,
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            streams: vec!["demo".to_owned()],
            media: None,
            loop_seconds: media::DEFAULT_SECONDS,
            window_seconds: 40,
            connections: 20_000,
            held: 20_000,
            sessions: 10_000,
            session_silence_seconds: 60,
            ingest: ingest::Config::default(),
        }
    }
}

impl Config {
    /// With what the command line says instead.
    pub(super) fn with(mut self, args: Args) -> Self {
        self.listen = args.listen.unwrap_or(self.listen);
        self.tls_listen = args.tls_listen.or(self.tls_listen);
        self.tls_self_signed |= args.tls_self_signed;
        if !args.streams.is_empty() {
            self.streams = args.streams;
        }
        self.media = args.media.or(self.media);
        self.loop_seconds = args.seconds.unwrap_or(self.loop_seconds);
        self
    }

    /// Length of a playlist.
    pub(super) fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds)
    }

    /// # Errors
    /// If a value cannot be; names its key.
    pub(super) fn check(&self) -> Result<()> {
        for (index, name) in self.streams.iter().enumerate() {
            ensure!(
                stream::is_name(name),
                "[origin] streams: {name:?}: want 1 to 64 letters, digits, - and _"
            );
            ensure!(
                !self.streams[..index].contains(name),
                "[origin] streams: {name:?} is there twice"
            );
        }
        // RFC 8216bis § 6.2.2 asks for three target durations; a delta update skips from six on.
        let window = self.window_seconds;
        ensure!(
            (6..=600).contains(&window),
            "[origin] window_seconds = {window}: want 6 to 600"
        );
        ensure!(
            self.held <= Semaphore::MAX_PERMITS,
            "[origin] held = {}: too many",
            self.held
        );
        Ok(())
    }

    /// Where and with which certificate TLS is spoken, if at all.
    ///
    /// # Errors
    /// If only a part of it is set.
    pub(super) fn tls(&self) -> Result<Option<(SocketAddr, tls::Source)>> {
        let Some(address) = self.tls_listen else {
            ensure!(
                !self.tls_self_signed && self.tls_cert.is_none(),
                "[origin] a certificate without tls_listen (--tls-listen): where to?"
            );
            return Ok(None);
        };
        let source = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => tls::Source::Files {
                cert: cert.clone(),
                key: key.clone(),
            },
            (None, None) if self.tls_self_signed => {
                tls::Source::SelfSigned(vec!["localhost".to_owned(), address.ip().to_string()])
            }
            _ => {
                anyhow::bail!("[origin] tls_listen: want tls_cert and tls_key, or tls_self_signed")
            }
        };
        Ok(Some((address, source)))
    }
}
