//! The envelope of every answer, and errors as Prometheus tells them.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

/// Most bytes of an answer.
const MAX_ANSWER: usize = 16 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub kind: Kind,
    /// In words.
    pub message: String,
}

/// Classes of errors, as Prometheus's API names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong.
    BadData,
    /// The query cannot be evaluated, or not within its bounds.
    Execution,
    /// It took too long.
    Timeout,
    /// The agent cannot answer now.
    Unavailable,
    /// Something broke.
    Internal,
}

impl Failure {
    /// A request that is wrong.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::BadData,
            message: message.into(),
        }
    }

    /// A query that cannot be evaluated.
    pub fn execution(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Execution,
            message: message.into(),
        }
    }

    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {why}"))
    }
}

impl Kind {
    fn told(self) -> (&'static str, StatusCode) {
        match self {
            Self::BadData => ("bad_data", StatusCode::BAD_REQUEST),
            Self::Execution => ("execution", StatusCode::UNPROCESSABLE_ENTITY),
            Self::Timeout => ("timeout", StatusCode::SERVICE_UNAVAILABLE),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

#[derive(Serialize)]
struct Success<'a, T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    infos: &'a [String],
}

#[derive(Serialize)]
struct Refusal<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    kind: &'static str,
    error: &'a str,
}

/// An answer, or, if it is too large to give, why not.
pub(super) fn success<T: Serialize>(
    data: T,
    warnings: &[String],
    infos: &[String],
) -> Response<Body> {
    let envelope = Success {
        status: "success",
        data,
        warnings,
        infos,
    };
    let mut body = Bounded(Vec::new());
    match serde_json::to_writer(&mut body, &envelope) {
        Ok(()) => respond(StatusCode::OK, body.0),
        Err(_) => failure(&Failure::execution(format!(
            "the answer is larger than {MAX_ANSWER} bytes: ask for fewer series or a larger step"
        ))),
    }
}

pub(super) fn failure(failure: &Failure) -> Response<Body> {
    let (kind, status) = failure.kind.told();
    let refusal = Refusal {
        status: "error",
        kind,
        error: &failure.message,
    };
    respond(status, serde_json::to_vec(&refusal).unwrap_or_default())
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A vector that does not grow without end.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_ANSWER {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
