//! Serves HTTP/1.1 and HTTP/2 (with prior knowledge, or by ALPN over TLS) with bounds on
//! connections, streams and time. What is served is the caller's.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::door::{Door, Seat};
use super::file;
use super::metric::Table;

/// How long answers under way may take after a stop.
const GRACE: Duration = Duration::from_secs(2);

/// Pause after a failed accept, which is mostly a lack of file descriptors that lasts.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted, where the kernel (`net.core.somaxconn`) allows as many.
/// Of a storm that is larger, the rest try again after a second; the 128 of `TcpListener::bind`
/// are a storm by themselves.
const BACKLOG: u32 = 4096;

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue, and those that have said
    /// nothing for a second give way. Fewer if the limit of open files does not allow as many.
    pub(crate) connections: usize,
    /// Requests at a time in one HTTP/2 connection.
    pub(crate) streams: u32,
    /// Time for a TLS handshake and for each HTTP/1 request's header, idle time before it included.
    pub(crate) header: Duration,
    /// Time without any progress in sending an answer, after which the connection is cut.
    pub(crate) write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            streams: 128,
            header: Duration::from_secs(30),
            write: Duration::from_secs(20),
        }
    }
}

/// A server and the count of its connections. Clones share bounds and counts, so that one service
/// may serve several ports.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    limits: Limits,
    door: Door,
    open: Gauge,
    accepted: Counter,
    failed: Family<[(&'static str, &'static str); 1], Counter>,
}

/// Opens a port.
///
/// # Errors
/// If the address is in use, not this machine's, or not permitted; in words for the user.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // As `TcpListener::bind` does, so that a restarted service gets its port back.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "address in use by another program",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            io::ErrorKind::PermissionDenied => "not permitted (ports below 1024 are reserved)",
            _ => &error.to_string(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {why}"))
    })
}

impl Server {
    /// A server whose counts of connections are in `table`.
    pub(crate) fn new(table: &mut Table, limits: Limits) -> Self {
        let fit = file::raise_limit(limits.connections);
        if fit < limits.connections {
            tracing::warn!(
                wanted = limits.connections,
                fit,
                "the limit of open files (ulimit -n) bounds the connections"
            );
        }
        Self {
            limits,
            door: Door::new(fit),
            open: table.add("http_connections", "Connections open now"),
            accepted: table.add("http_connections_accepted", "Connections accepted"),
            failed: table.by(
                &["reason"],
                "http_connections_failed",
                "Connections cut: silent or stuck for too long, crowded out by others, reset, against the protocol, or not taken for a failed accept or handshake",
            ),
        }
    }

    fn fail(&self, reason: &'static str) {
        self.failed.get_or_create(&[("reason", reason)]).inc();
    }

    /// Serves `router` until `stop`, then lets answers under way end within a grace period.
    /// Handlers may take `ConnectInfo<SocketAddr>`.
    ///
    /// # Errors
    /// If the listener cannot be used at all; failures of single connections are counted.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        router: Router,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let connections = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.fail("accept");
                    time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = stop.run_until_cancelled(self.door.enter()).await else {
                break;
            };
            self.accepted.inc();
            let (server, tls, router, stop) =
                (self.clone(), tls.clone(), router.clone(), stop.clone());
            connections.spawn(async move {
                server.open.inc();
                let end = tokio::select! {
                    end = server.serve_connection(stream, peer, tls, router, &seat, stop) => end,
                    () = seat.shown_out() => Err("crowded"),
                    // The limit of hyper begins with the first byte.
                    () = seat.stay_silent(server.limits.header) => Err("silent"),
                };
                if let Err(reason) = end {
                    server.fail(reason);
                }
                server.open.dec();
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

    /// Serves to the end; the error is the reason that it is counted under.
    async fn serve_connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<TlsAcceptor>,
        router: Router,
        seat: &Arc<Seat>,
        stop: CancellationToken,
    ) -> Result<(), &'static str> {
        // Answers are whole messages; waiting for more to send would only make them late.
        stream.set_nodelay(true).map_err(|_| "reset")?;
        let Some(tls) = tls else {
            return self.serve_stream(stream, peer, router, seat, stop).await;
        };
        match time::timeout(self.limits.header, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_stream(stream, peer, router, seat, stop).await,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "failed TLS handshake");
                Err("handshake")
            }
            Err(_) => Err("silent"),
        }
    }

    async fn serve_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        peer: SocketAddr,
        router: Router,
        seat: &Arc<Seat>,
        stop: CancellationToken,
    ) -> Result<(), &'static str> {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write));
        let stream: Pin<Box<TimeoutStream<_>>> = Box::pin(stream);
        let seat = Arc::clone(seat);
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            seat.speak();
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .keep_alive_interval(Duration::from_secs(20));
        let mut connection =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let end = tokio::select! {
            end = connection.as_mut() => end,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        end.map_err(|error| {
            tracing::debug!(%peer, error, "connection cut");
            reason_of(&*error)
        })
    }
}

/// Why a connection was cut: `silent` (a limit of time for what the peer should say), `stuck` (one
/// for what it should take), `reset` (by the peer, or a request that ends early) or `protocol`.
fn reason_of(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return "silent";
            }
            if error.is_incomplete_message() {
                return "reset";
            }
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::TimedOut => "stuck",
                _ => "reset",
            };
        }
        next = error.source();
    }
    "protocol"
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::{BodyExt as _, Empty};
    use hyper_util::client::legacy::{Client, connect::HttpConnector};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    type Browser = Client<HttpConnector, Empty<bytes::Bytes>>;

    async fn start(
        limits: Limits,
    ) -> (
        SocketAddr,
        Server,
        CancellationToken,
        tokio::task::JoinHandle<io::Result<()>>,
    ) {
        let server = Server::new(&mut Table::default(), limits);
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new()
            .route(
                "/peer",
                get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
            )
            .route("/large", get(|| async { vec![b'x'; 64 << 20] }))
            .layer(axum::middleware::from_fn(crate::daemon::trace));
        let task = tokio::spawn(server.clone().serve(listener, None, router, stop.clone()));
        (address, server, stop, task)
    }

    async fn ask(browser: &Browser, address: SocketAddr) -> (hyper::Version, String) {
        let uri = format!("http://{address}/peer").parse().unwrap();
        let response = browser.get(uri).await.unwrap();
        let version = response.version();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (version, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn both_versions_of_http_are_served_on_one_port() {
        let (address, server, stop, task) = start(Limits::default()).await;
        let first: Browser = Client::builder(TokioExecutor::new()).build_http();
        let second: Browser = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let (version, peer) = ask(&first, address).await;
        assert_eq!(version, hyper::Version::HTTP_11);
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
        assert_eq!(ask(&second, address).await.0, hyper::Version::HTTP_2);
        assert_eq!((server.accepted.get(), server.open.get()), (2, 2));
        stop.cancel();
        task.await.unwrap().unwrap();
        assert_eq!(server.open.get(), 0);
    }

    #[tokio::test]
    async fn a_connection_above_the_bound_waits_for_its_turn() {
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let (address, server, _stop, _task) = start(limits).await;
        // One that has asked, and may ask again.
        let holder: Browser = Client::builder(TokioExecutor::new()).build_http();
        ask(&holder, address).await;
        let browser: Browser = Client::builder(TokioExecutor::new()).build_http();
        let waiting = tokio::spawn(async move { ask(&browser, address).await });
        time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        assert_eq!(server.accepted.get(), 1);
        drop(holder);
        assert_eq!(waiting.await.unwrap().0, hyper::Version::HTTP_11);
    }

    #[tokio::test]
    async fn silent_connections_give_way_to_those_that_ask() {
        let limits = Limits {
            connections: 2,
            ..Limits::default()
        };
        let (address, server, _stop, _task) = start(limits).await;
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let browser: Browser = Client::builder(TokioExecutor::new()).build_http();
        assert_eq!(ask(&browser, address).await.0, hyper::Version::HTTP_11);
        let crowded = server.failed.get_or_create(&[("reason", "crowded")]).get();
        assert!((4..=5).contains(&crowded), "{crowded}");
    }

    #[tokio::test]
    async fn why_a_connection_was_cut_is_counted() {
        let limits = Limits {
            header: Duration::from_millis(500),
            write: Duration::from_millis(500),
            ..Limits::default()
        };
        let (address, server, _stop, _task) = start(limits).await;
        let mut peers = Vec::new();
        for words in [
            "",
            "no request at all\r\n\r\n",
            "GET /large HTTP/1.1\r\nhost: x\r\n\r\n",
        ] {
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(words.as_bytes()).await.unwrap();
            peers.push(peer);
        }
        for reason in ["silent", "protocol", "stuck"] {
            let counted = async {
                while server.failed.get_or_create(&[("reason", reason)]).get() == 0 {
                    time::sleep(Duration::from_millis(5)).await;
                }
            };
            let waited = time::timeout(Duration::from_secs(20), counted).await;
            assert!(waited.is_ok(), "{reason} is not counted");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let (address, ..) = start(Limits::default()).await;
        let error = listen(address).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("cannot listen on {address}: address in use by another program")
        );
    }
}
