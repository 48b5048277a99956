//! HTTP/1.1 for players: keep-alive, bodies counted and thrown away, reading that can be stopped.

use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Response, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::watch;

use super::player::{Answer, Failure, Request, Want};
use crate::truth::Reason;

/// Longest playlist that is read; longer ones are refused.
const TEXT_BYTES: usize = 1 << 20;
/// Idle connections are kept this long, about as long as browsers do.
const IDLE: Duration = Duration::from_secs(90);

/// One player's connections.
#[derive(Clone)]
pub(crate) struct Net {
    client: Client<HttpConnector, Empty<Bytes>>,
    gate: Gate,
}

/// Says whether sockets are read: true is open.
pub(crate) type Gate = watch::Receiver<bool>;

/// How far a response has come, for whoever wants to give it up.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    first_byte_us: AtomicU64,
    loaded: AtomicU64,
}

impl Progress {
    /// Seconds to the head, and bytes of the body so far; none before the head.
    pub(crate) fn get(&self) -> Option<(f64, u64)> {
        let first = self.first_byte_us.load(Ordering::Relaxed);
        (first > 0).then(|| {
            (
                Duration::from_micros(first).as_secs_f64(),
                self.loaded.load(Ordering::Relaxed),
            )
        })
    }
}

/// A response with the addresses of its connection.
pub(crate) struct Fetched {
    pub(crate) answer: Answer,
    /// Local and remote.
    pub(crate) addresses: Option<(std::net::SocketAddr, std::net::SocketAddr)>,
}

impl Net {
    pub(crate) fn new(gate: Gate) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, gate }
    }

    /// Sends a request and waits for all of its response.
    pub(crate) async fn fetch(
        &self,
        request: &Request,
        progress: &Progress,
    ) -> Result<Fetched, Failure> {
        let within = request.within.1;
        match tokio::time::timeout(within, self.exchange(request, progress)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(failure(
                Reason::Timeout,
                format!("no whole answer within {:.1} s", within.as_secs_f64()),
            )),
        }
    }

    async fn exchange(&self, request: &Request, progress: &Progress) -> Result<Fetched, Failure> {
        let began = Instant::now();
        let within = request.within.0;
        let response = tokio::time::timeout(within, self.client.request(build(request)?))
            .await
            .map_err(|_| {
                failure(
                    Reason::Timeout,
                    format!("no answer within {:.1} s", within.as_secs_f64()),
                )
            })?
            .map_err(|error| explain(&error))?;
        let first_byte = began.elapsed();
        progress.first_byte_us.store(
            u64::try_from(first_byte.as_micros())
                .unwrap_or(u64::MAX)
                .max(1),
            Ordering::Relaxed,
        );
        if !response.status().is_success() {
            return Err(failure(Reason::Status, response.status().to_string()));
        }
        let info = response.extensions().get::<HttpInfo>();
        let addresses = info.map(|info| (info.local_addr(), info.remote_addr()));
        let (bytes, text) = self.read(response, request.want, progress).await?;
        let answer = Answer {
            first_byte_s: first_byte.as_secs_f64(),
            took_s: began.elapsed().as_secs_f64(),
            bytes,
            text,
        };
        Ok(Fetched { answer, addresses })
    }

    async fn read(
        &self,
        response: Response<Incoming>,
        want: Want,
        progress: &Progress,
    ) -> Result<(u64, Bytes), Failure> {
        let mut body = response.into_body();
        let (mut bytes, mut text) = (0, Vec::new());
        let mut gate = self.gate.clone();
        loop {
            // hyper reads a socket only as far as somebody asks for its body: not asking lets
            // TCP's window fill up, which is what a client that stops reading looks like.
            wait_open(&mut gate).await;
            let Some(frame) = body.frame().await else {
                break;
            };
            let frame = frame.map_err(|error| explain_cause(&error, error.to_string()))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            bytes += data.len() as u64;
            progress.loaded.store(bytes, Ordering::Relaxed);
            if want == Want::Text {
                if text.len() + data.len() > TEXT_BYTES {
                    return Err(failure(
                        Reason::Protocol,
                        format!("playlist above {TEXT_BYTES} bytes"),
                    ));
                }
                text.extend_from_slice(data);
            }
        }
        Ok((bytes, text.into()))
    }
}

/// Waits until reading is allowed; for ever allowed once the sender is gone.
pub(crate) async fn wait_open(gate: &mut Gate) {
    let _closed = gate.wait_for(|open| *open).await;
}

fn build(request: &Request) -> Result<hyper::Request<Empty<Bytes>>, Failure> {
    let mut builder = hyper::Request::get(request.url.as_str())
        .header(
            header::USER_AGENT,
            concat!("weir-crowd/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT, "*/*");
    if let Some(range) = request.range {
        // Parsing has checked that the sum holds; an empty range cannot be asked for.
        let last = (range.offset + range.length).saturating_sub(1);
        builder = builder.header(header::RANGE, format!("bytes={}-{last}", range.offset));
    }
    builder
        .body(Empty::new())
        .map_err(|error| failure(Reason::Protocol, error.to_string()))
}

pub(crate) fn failure(reason: Reason, detail: String) -> Failure {
    Failure { reason, detail }
}

fn explain(error: &hyper_util::client::legacy::Error) -> Failure {
    let detail = error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    explain_cause(error, detail)
}

/// Finds the system's error among the causes of another.
pub(crate) fn explain_cause(error: &(dyn std::error::Error + 'static), detail: String) -> Failure {
    let mut cause = Some(error);
    while let Some(this) = cause {
        if let Some(io) = this.downcast_ref::<std::io::Error>() {
            return failure(reason_of(io.kind()), detail);
        }
        if this
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_incomplete_message)
        {
            return failure(Reason::Reset, detail);
        }
        cause = this.source();
    }
    failure(Reason::Other, detail)
}

/// The reason behind a system's error.
pub(crate) fn reason_of(kind: ErrorKind) -> Reason {
    match kind {
        ErrorKind::ConnectionRefused => Reason::Refused,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Reason::Reset,
        ErrorKind::TimedOut => Reason::Timeout,
        _ => Reason::Other,
    }
}

/// Shared by a request and whoever looks at its progress.
pub(crate) type SharedProgress = Arc<Progress>;
