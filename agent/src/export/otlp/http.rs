//! OTLP over HTTP: the answer's meaning, by the specification's table of status codes.

use std::time::SystemTime;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{StatusCode, header::LOCATION};
use prost::Message as _;

use super::answer::{Answer, Status};
use crate::client::text::{readable, retry_after};

/// What the body is, in requests and answers.
pub(super) const PROTOBUF: &str = "application/x-protobuf";

/// Judges an answer; `now` is for a Retry-After that is a date.
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Answer {
    if status.is_success() {
        return success(headers, body);
    }
    let cause = cause(status, headers, body);
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Retry {
            after: retry_after(headers, now),
            cause,
        },
        _ => Answer::Refused { cause },
    }
}

fn success(headers: &HeaderMap, body: &[u8]) -> Answer {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    match kind {
        // A page for people is not from a receiver, whatever its status says.
        Some(kind) if kind.starts_with(b"text/html") => Answer::Refused {
            cause: "answered with a web page: this is not an OTLP receiver".to_owned(),
        },
        // Some receivers answer protobuf with an empty JSON object or a word. They did take it.
        Some(kind) if !kind.starts_with(PROTOBUF.as_bytes()) => Answer::success(&[]),
        _ => Answer::success(body),
    }
}

fn cause(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let mut cause = format!("HTTP {status}");
    if let Some(place) = headers.get(LOCATION).and_then(|place| place.to_str().ok()) {
        cause = format!("{cause}, which points to {}", readable(place));
    }
    let is_protobuf = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(PROTOBUF.as_bytes()));
    let text = match Status::decode(body) {
        Ok(status) if is_protobuf => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    match readable(&text) {
        text if text.is_empty() => cause,
        text => format!("{cause}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn judged(status: u16, pairs: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, &headers(pairs), body, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn only_the_codes_of_the_specification_are_retried() {
        for status in 100..=599 {
            let answer = judged(status, &[], b"");
            let expected = match status {
                200..300 => matches!(answer, Answer::Accepted { rejected: 0, .. }),
                429 | 502 | 503 | 504 => matches!(answer, Answer::Retry { after: None, .. }),
                _ => matches!(answer, Answer::Refused { .. }),
            };
            assert!(expected, "{status}: {answer:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |text: &str| match judged(429, &[("retry-after", text)], b"") {
            Answer::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        let date = "Thu, 01 Jan 1970 00:01:00 GMT";
        assert_eq!(after(date), Some(Duration::from_secs(60)));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn the_cause_says_what_the_receiver_said() {
        let status = Status {
            message: "bad unit".to_owned(),
            details: Vec::new(),
        };
        let kind = [("content-type", PROTOBUF)];
        let text = |answer| match answer {
            Answer::Refused { cause } => cause,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(judged(400, &kind, &status.encode_to_vec())),
            "HTTP 400 Bad Request: bad unit"
        );
        assert_eq!(
            text(judged(404, &[], b"no such page\n")),
            "HTTP 404 Not Found: no such page"
        );
        assert_eq!(
            text(judged(301, &[("location", "http://h/x")], b"")),
            "HTTP 301 Moved Permanently, which points to http://h/x"
        );
    }

    #[test]
    fn a_success_must_come_from_a_receiver() {
        let refused = |answer| matches!(answer, Answer::Refused { .. });
        assert!(refused(judged(
            200,
            &[("content-type", "text/html")],
            b"<html>"
        )));
        assert!(refused(judged(200, &[("content-type", PROTOBUF)], b"\xff")));
        let json = judged(200, &[("content-type", "application/json")], b"{}");
        assert!(matches!(json, Answer::Accepted { rejected: 0, .. }));
    }
}
