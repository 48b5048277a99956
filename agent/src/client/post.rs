//! Posts over one HTTP/1.1 connection that is kept between requests; JSON unless told otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::stream;
use super::text::chain;

/// Most bytes of an answer that are read where nothing else is said: it is only for the log.
const MAX_ANSWER: usize = 64 << 10;

/// Posts to one address.
pub(crate) struct Poster {
    address: Address,
    path: String,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    timeout: Duration,
    content: &'static str,
    max_answer: usize,
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// What came back. The body may be cut.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Poster {
    pub(crate) fn new(
        address: Address,
        path: String,
        tls: Option<Arc<ClientConfig>>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Self {
        Self {
            address,
            path,
            tls,
            connect_timeout,
            timeout,
            content: "application/json",
            max_answer: MAX_ANSWER,
            connection: None,
        }
    }

    /// Posts an HTML form instead, and reads answers of up to so many bytes.
    pub(crate) fn asking(self, max_answer: usize) -> Self {
        Self {
            content: "application/x-www-form-urlencoded",
            max_answer,
            ..self
        }
    }

    /// One try. Fails if there is no whole answer in time, in words for the log.
    pub(crate) async fn post(
        &mut self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        let request = self
            .request(headers, body)
            .map_err(|error| format!("cannot make a request: {error}"))?;
        let mut connection = self.connect().await?;
        match timeout(self.timeout, connection.exchange(request, self.max_answer)).await {
            Ok(Ok(answer)) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    /// The last connection if it still works, else a new one.
    async fn connect(&mut self) -> Result<Connection, String> {
        if let Some(mut connection) = self.connection.take()
            && let Ok(Ok(())) = timeout(self.connect_timeout, connection.sender.ready()).await
        {
            return Ok(connection);
        }
        let open = Connection::open(&self.address, self.tls.as_ref());
        match timeout(self.connect_timeout, open).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("no connection within {:?}", self.connect_timeout)),
        }
    }

    fn request(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> hyper::http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .body(Full::new(body))?;
        let own = request.headers_mut();
        own.extend(headers.clone());
        own.insert(
            HOST,
            HeaderValue::from_str(self.address.authority.as_str())?,
        );
        own.insert(CONTENT_TYPE, HeaderValue::from_static(self.content));
        let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
        own.insert(USER_AGENT, HeaderValue::from_static(agent));
        Ok(request)
    }
}

impl Connection {
    async fn open(address: &Address, tls: Option<&Arc<ClientConfig>>) -> anyhow::Result<Self> {
        let stream = stream::open(&address.host, address.port, tls).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error reaches the request too.
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        max_answer: usize,
    ) -> Result<Answer, String> {
        let response = self.sender.send_request(request).await;
        let (head, body) = response.map_err(|error| chain(&error))?.into_parts();
        let body = match Limited::new(body, max_answer).collect().await {
            Ok(body) => body.to_bytes(),
            // A refusal's status says all that matters; a success must be whole, since a receiver
            // or proxy that died in the middle may not have kept anything.
            Err(_) if !head.status.is_success() => Bytes::new(),
            Err(error) => return Err(format!("the answer ended early: {}", chain(&*error))),
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}
