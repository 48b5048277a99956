//! Serves HTTP/1.1 with bounds on connections and time. What is served is the caller's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) mod auth;
pub(super) mod tls;

use crate::seldom::Seldom;

/// How long answers under way may take after a stop.
const GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed accept, which is mostly a lack of file descriptors that lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time.
    pub(super) connections: usize,
    /// Time for a TLS handshake and for each request's header.
    pub(super) header: Duration,
    /// Time without any progress in sending an answer.
    pub(super) write: Duration,
}

/// Opens a port.
///
/// # Errors
/// If the address is in use, not this machine's, or not permitted; in words for the user.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let explain = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "address in use by another program or another weir",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            io::ErrorKind::PermissionDenied => "not permitted (ports below 1024 are reserved)",
            _ => &error.to_string(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {why}"))
    };
    let listener = TcpListener::bind(address).map_err(explain)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `router` until `stop`, then lets answers under way end within a grace period.
///
/// # Errors
/// If the listener cannot be used at all; failures of single connections are logged and passed over.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<tls::Acceptor>,
    limits: Limits,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let tls = tls.map(Arc::new);
    let free = Arc::new(Semaphore::new(limits.connections.max(1)));
    let connections = TaskTracker::new();
    let failures = Seldom::default();
    // Clients above the bound wait in the kernel's queue; they cost nothing there.
    while let Some(Ok(permit)) = stop
        .run_until_cancelled(Arc::clone(&free).acquire_owned())
        .await
    {
        let stream = match stop.run_until_cancelled(listener.accept()).await {
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                failures.run(|| tracing::warn!(%error, "cannot accept a connection"));
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            None => break,
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(stream, tls.as_deref(), limits, router, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::debug!(
            left = connections.len(),
            "connections left at the end of the grace period"
        );
    }
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<&tls::Acceptor>,
    limits: Limits,
    router: Router,
    stop: CancellationToken,
) {
    let Some(tls) = tls else {
        return serve_stream(stream, limits, router, stop).await;
    };
    match time::timeout(limits.header, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve_stream(stream, limits, router, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn serve_stream<S>(stream: S, limits: Limits, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write));
    let stream: Pin<Box<TimeoutStream<S>>> = Box::pin(stream);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
