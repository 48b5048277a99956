//! A connection's bytes: TCP, with TLS if asked for.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// What can be read and written.
pub(crate) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Connects. The error says what failed, without the address.
pub(crate) async fn open(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
) -> anyhow::Result<Stream> {
    let stream = TcpStream::connect((host, port))
        .await
        .context("cannot connect")?;
    stream
        .set_nodelay(true)
        .context("cannot set up the socket")?;
    let Some(tls) = tls else {
        return Ok(Either::Left(stream));
    };
    let name = ServerName::try_from(host.to_owned()).context("not a name for TLS")?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .context("TLS failed")?;
    Ok(Either::Right(stream))
}
