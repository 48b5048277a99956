//! Takes connections: a bounded number, from a listen queue deep enough for ten thousand in a
//! second, and serves HTTP on each until it becomes a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::config::Config;
use super::hub::Shared;
use crate::daemon::{Door, Seat};

/// Connections the kernel completes for us while we are busy (`net.core.somaxconn` may lower it).
const BACKLOG: u32 = 16_384;
/// For the headers of a request, also on a connection that is kept alive.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// After an error of accept (no descriptors, no memory), for the cause to pass.
const PAUSE: Duration = Duration::from_millis(50);
/// The smallest that hyper allows; requests here are short.
const BUFFER_BYTES: usize = 8192;

/// Opens the listening socket; its options are inherited by every connection.
pub(crate) fn listen(config: &Config) -> Result<TcpListener> {
    let open = || -> std::io::Result<TcpListener> {
        let socket = if config.listen.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.set_nodelay(true)?;
        if config.send_buffer_bytes > 0 {
            socket.set_send_buffer_size(config.send_buffer_bytes)?;
        }
        socket.bind(config.listen)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| {
        format!(
            "cannot listen on {}: set [chat] listen or --listen to a free address",
            config.listen
        )
    })
}

/// Raises the limit of open files to what `max_connections` needs, or says that it cannot.
pub(crate) fn raise_file_limit(max_connections: usize) -> Result<()> {
    let fit = crate::daemon::raise_limit(max_connections);
    ensure!(
        fit >= max_connections,
        "setrlimit: {fit} connections fit into the limit of open files: lower [chat] max_connections from {max_connections} or raise the limit (ulimit -n)"
    );
    Ok(())
}

/// Accepts until told to stop.
pub(crate) async fn run(
    shared: Arc<Shared>,
    router: Router,
    listener: TcpListener,
    stop: CancellationToken,
) {
    let door = Door::new(shared.config.max_http);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let Some(seat) = stop.run_until_cancelled(door.enter()).await else {
                    return;
                };
                tokio::spawn(serve(Arc::clone(&shared), router.clone(), stream, seat));
            }
            Err(_) => {
                shared.metrics.not_accept("accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves HTTP on a connection; its place is free again once it is a WebSocket.
async fn serve(shared: Arc<Shared>, router: Router, stream: TcpStream, seat: Arc<Seat>) {
    let speaker = Arc::clone(&seat);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        speaker.speak();
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        end = connection => {
            if end.is_err() {
                shared.metrics.not_accept("http");
            }
        }
        () = seat.shown_out() => shared.metrics.not_accept("crowded"),
    }
}
