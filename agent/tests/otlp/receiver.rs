//! An HTTP receiver that misbehaves as it is told.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answer with these bytes and keep the connection.
    Say(Vec<u8>),
    /// Answer with these bytes and close the connection.
    SayAndClose(Vec<u8>),
    /// Say nothing and keep the connection open.
    Hang,
}

/// An answer with status line, headers and body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let all = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
    let mut all = all.into_bytes();
    all.extend_from_slice(body);
    all
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) request: ExportMetricsServiceRequest,
    /// Whether it was answered by 200 of the receiver's own accord.
    pub(crate) accepted: bool,
}

impl Seen {
    pub(crate) fn points(&self) -> u64 {
        points(&self.request)
    }
}

/// Number of points in a request.
pub(crate) fn points(request: &ExportMetricsServiceRequest) -> u64 {
    let scopes = request
        .resource_metrics
        .iter()
        .flat_map(|r| &r.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    let count = |data: &Data| match data {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::ExponentialHistogram(data) => data.data_points.len(),
        other => panic!("{other:?}"),
    };
    metrics
        .map(|m| count(m.data.as_ref().unwrap()) as u64)
        .sum()
}

#[derive(Clone, Default)]
struct Shared {
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicU64>,
}

/// Does as told, request by request, and afterwards accepts everything.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Shared,
    _task: AbortOnDropHandle<()>,
}

impl Receiver {
    pub(crate) async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        Self::start_at("127.0.0.1:0", acts, None).await
    }

    pub(crate) async fn start_at(
        address: &str,
        acts: impl IntoIterator<Item = Act>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared::default();
        shared.acts.lock().unwrap().extend(acts);
        let task = tokio::spawn(accept(listener, tls, shared.clone()));
        Self {
            address,
            shared,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Points of the requests that were accepted.
    pub(crate) fn accepted_points(&self) -> u64 {
        let seen = self.seen();
        seen.iter().filter(|s| s.accepted).map(Seen::points).sum()
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Shared) {
    // Connections end with the receiver.
    let mut connections = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (tls, shared) = (tls.clone(), shared.clone());
        let serve = async move {
            match tls {
                None => serve(stream, shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, shared).await,
                    Err(_) => None,
                },
            }
        };
        connections.push(AbortOnDropHandle::new(tokio::spawn(serve)));
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: Shared) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let (head, body) = read_request(&mut stream, &mut buffer).await?;
        let act = shared.acts.lock().unwrap().pop_front();
        let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
        shared.seen.lock().unwrap().push(Seen {
            at: Instant::now(),
            head,
            request,
            accepted: act.is_none(),
        });
        match act.unwrap_or_else(|| Act::Say(answer("200 OK", "", b""))) {
            Act::Say(bytes) => stream.write_all(&bytes).await.ok()?,
            Act::SayAndClose(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Act::Hang => std::future::pending().await,
        }
    }
}

/// Head, and body unpacked; `None` at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    let mut more = async |buffer: &mut Vec<u8>| match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    };
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        more(buffer).await?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let lower = head.to_lowercase();
    let length: usize = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map(|length| length.parse().unwrap())
        .unwrap();
    while buffer.len() < end + length {
        more(buffer).await?;
    }
    let body: Vec<u8> = buffer.drain(..end + length).skip(end).collect();
    if !lower.contains("content-encoding: gzip") {
        return Some((head, body));
    }
    let mut plain = Vec::new();
    GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
    Some((head, plain))
}
