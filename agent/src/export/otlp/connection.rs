//! One connection to the receiver: TCP, TLS if asked for, HTTP/1.1 or HTTP/2.
//!
//! hyper's connection level serves both protocols. tonic would add a channel, a balancer and
//! tower's stack for one unary call whose message is encoded already, and hyper-util's pooled
//! client a pool for one connection: neither would save code here, as the answer has to be judged
//! by hand anyway to keep the specification's rules to the letter.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    USER_AGENT,
};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::answer::Answer;
use super::config::{Protocol, Settings};
use super::{grpc, http};
use crate::client::stream;
use crate::client::text::chain;

/// Most bytes of an answer, as the specification recommends.
const MAX_ANSWER: usize = 4 << 20;

/// An open connection. Dropping it closes it.
pub(super) struct Connection {
    sender: Sender,
    _driver: AbortOnDropHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Connects. The error says what failed, without the address.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let endpoint = &settings.endpoint;
        let (host, port) = (&endpoint.address.host, endpoint.address.port);
        let stream = stream::open(host, port, settings.tls.as_ref()).await?;
        Self::handshake(endpoint.protocol, stream).await
    }

    async fn handshake<S>(protocol: Protocol, stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let (sender, driver) = match protocol {
            Protocol::Http => {
                let (sender, connection) = http1::handshake(io).await?;
                // Its error reaches the request too.
                let driver = tokio::spawn(async { drop(connection.await) });
                (Sender::Http1(sender), driver)
            }
            Protocol::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                let driver = tokio::spawn(async { drop(connection.await) });
                (Sender::Http2(sender), driver)
            }
        };
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Whether another request can be sent; waits until the last one is out of the way.
    pub(super) async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends one request and judges the answer. The flag says whether the connection can be used
    /// again.
    pub(super) async fn exchange(
        &mut self,
        settings: &Settings,
        headers: &HeaderMap,
        body: Bytes,
    ) -> (Answer, bool) {
        let request = match request(settings, headers, body) {
            Ok(request) => request,
            Err(error) => {
                let cause = format!("cannot make a request: {error}");
                return (Answer::Refused { cause }, true);
            }
        };
        let response = match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        };
        match response {
            Ok(response) => read(settings.endpoint.protocol, response).await,
            Err(error) => (Answer::no_answer(chain(&error)), false),
        }
    }
}

fn request(
    settings: &Settings,
    headers: &HeaderMap,
    body: Bytes,
) -> hyper::http::Result<Request<Full<Bytes>>> {
    let endpoint = &settings.endpoint;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(endpoint.uri.clone())
        .body(Full::new(body))?;
    let own = request.headers_mut();
    own.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))),
    );
    own.extend(
        headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    match endpoint.protocol {
        Protocol::Http => {
            own.insert(
                HOST,
                HeaderValue::from_str(endpoint.address.authority.as_str())?,
            );
            own.insert(CONTENT_TYPE, HeaderValue::from_static(http::PROTOBUF));
            own.insert(ACCEPT, HeaderValue::from_static(http::PROTOBUF));
            if settings.gzip {
                own.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        Protocol::Grpc => {
            own.insert(CONTENT_TYPE, HeaderValue::from_static(grpc::PROTOBUF));
            own.insert(TE, HeaderValue::from_static("trailers"));
            if settings.gzip {
                own.insert(
                    HeaderName::from_static("grpc-encoding"),
                    HeaderValue::from_static("gzip"),
                );
            }
        }
    }
    Ok(request)
}

/// Reads the answer to its end, within the bound, and judges it.
async fn read(protocol: Protocol, response: Response<Incoming>) -> (Answer, bool) {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(body) => body,
        Err(error) => return (judge_cut(protocol, &head, &*error), false),
    };
    let trailers = body.trailers().cloned().unwrap_or_default();
    let body = body.to_bytes();
    let answer = match protocol {
        Protocol::Http => http::judge(head.status, &head.headers, &body, SystemTime::now()),
        Protocol::Grpc => grpc::judge(head.status, &head.headers, &body, &trailers),
    };
    (answer, true)
}

/// Judges an answer whose body could not be read to its end.
fn judge_cut(
    protocol: Protocol,
    head: &Parts,
    error: &(dyn std::error::Error + 'static),
) -> Answer {
    if protocol == Protocol::Http && !head.status.is_success() {
        // The status says all that matters.
        return http::judge(head.status, &head.headers, &[], SystemTime::now());
    }
    if error.is::<LengthLimitError>() {
        let cause = "the answer is longer than 4 MiB".to_owned();
        return Answer::Refused { cause };
    }
    Answer::no_answer(format!("the answer ended early: {}", chain(error)))
}
