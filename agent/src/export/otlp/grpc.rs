//! OTLP over gRPC: the answer's meaning, by gRPC's status and the specification's table of codes.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use prost::Message;

use super::answer::{Answer, Detail, Status};
use crate::client::text::readable;

/// What the body is, in requests and answers.
pub(super) const PROTOBUF: &str = "application/grpc+proto";

/// Padding is optional in gRPC's binary headers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Names of the codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

const UNKNOWN: usize = 2;
const RESOURCE_EXHAUSTED: usize = 8;
const UNAVAILABLE: usize = 14;

/// Judges an answer. The status is in the trailers, or in the headers where there is no message.
pub(super) fn judge(
    http: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    trailers: &HeaderMap,
) -> Answer {
    let status = [trailers, headers]
        .into_iter()
        .find(|map| map.contains_key("grpc-status"));
    let Some(status) = status else {
        return without_status(http);
    };
    let code = status
        .get("grpc-status")
        .and_then(|code| code.to_str().ok()?.parse().ok())
        .filter(|code| *code < CODES.len())
        .unwrap_or(UNKNOWN);
    if code == 0 {
        return success(body);
    }
    let text = status
        .get("grpc-message")
        .map(|text| readable(&percent_decoded(text.as_bytes())))
        .unwrap_or_default();
    let name = CODES.get(code).copied().unwrap_or_default();
    let cause = match text.as_str() {
        "" => format!("gRPC {name}"),
        text => format!("gRPC {name}: {text}"),
    };
    judge_code(code, retry_delay(status), cause)
}

/// The specification's table. Exhausted resources may recover only if the receiver says when.
fn judge_code(code: usize, after: Option<Duration>, cause: String) -> Answer {
    let is_retryable = match code {
        1 | 4 | 10 | 11 | UNAVAILABLE | 15 => true,
        RESOURCE_EXHAUSTED => after.is_some(),
        _ => false,
    };
    if is_retryable {
        Answer::Retry { after, cause }
    } else {
        Answer::Refused { cause }
    }
}

/// An answer from something that is not a gRPC server, such as a proxy: its HTTP status stands
/// for a code, as gRPC defines.
fn without_status(http: StatusCode) -> Answer {
    let code = match http.as_u16() {
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    };
    judge_code(code, None, format!("HTTP {http} without a gRPC status"))
}

/// The one message of a success, behind its prefix of flag and length.
fn success(body: &[u8]) -> Answer {
    let message = match body.split_first_chunk::<5>() {
        Some(([0, a, b, c, d], message))
            if u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len() =>
        {
            Some(message)
        }
        _ => None,
    };
    match message {
        Some(message) => Answer::success(message),
        None => Answer::Refused {
            cause: "answered success with a body that is not a gRPC message".to_owned(),
        },
    }
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The delay of a RetryInfo among the status' details. One without a delay still says that
/// trying again makes sense.
fn retry_delay(status: &HeaderMap) -> Option<Duration> {
    let encoded = status.get("grpc-status-details-bin")?.as_bytes();
    let details = Status::decode(BASE64.decode(encoded).ok()?.as_slice()).ok()?;
    let is_retry_info = |detail: &&Detail| detail.type_url.ends_with("/google.rpc.RetryInfo");
    let info = details.details.iter().find(is_retry_info)?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay;
    let delay = delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos))
}

/// gRPC's messages are percent-encoded UTF-8.
fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| tail.split_at_checked(2))
            .flatten()
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        let (byte, after) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn details(type_url: &str, delay: Option<Delay>) -> String {
        let info = RetryInfo { retry_delay: delay };
        let status = Status {
            message: String::new(),
            details: vec![Detail {
                type_url: type_url.to_owned(),
                value: info.encode_to_vec(),
            }],
        };
        BASE64.encode(status.encode_to_vec())
    }

    fn judged(pairs: &[(&'static str, String)]) -> Answer {
        judge(StatusCode::OK, &HeaderMap::new(), &[], &headers(pairs))
    }

    #[test]
    fn only_the_codes_of_the_specification_are_retried() {
        let retried = [
            "CANCELLED",
            "DEADLINE_EXCEEDED",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNAVAILABLE",
            "DATA_LOSS",
        ];
        for (code, name) in CODES.iter().enumerate().skip(1) {
            let answer = judged(&[("grpc-status", code.to_string())]);
            let is_retry = matches!(answer, Answer::Retry { after: None, .. });
            assert_eq!(is_retry, retried.contains(name), "{name}: {answer:?}");
        }
        let strange = judged(&[("grpc-status", "99".to_owned())]);
        assert!(matches!(strange, Answer::Refused { .. }), "{strange:?}");
    }

    #[test]
    fn exhausted_resources_are_retried_only_with_retry_info() {
        let answer = |details: String| {
            judged(&[
                ("grpc-status", "8".to_owned()),
                ("grpc-status-details-bin", details),
            ])
        };
        let delay = Delay {
            seconds: 2,
            nanos: 500_000_000,
        };
        let info = "type.googleapis.com/google.rpc.RetryInfo";
        let padded = details(info, Some(delay.clone()));
        for details in [padded.trim_end_matches('=').to_owned(), padded] {
            let answer = answer(details);
            let expected = Some(Duration::from_millis(2_500));
            assert!(
                matches!(&answer, Answer::Retry { after, .. } if *after == expected),
                "{answer:?}"
            );
        }
        for details in [
            details("type.googleapis.com/google.rpc.BadRequest", Some(delay)),
            "%%%".to_owned(),
        ] {
            let answer = answer(details);
            assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
        }
    }

    #[test]
    fn a_negative_delay_is_none_at_all() {
        let delay = Delay {
            seconds: -1,
            nanos: i32::MIN,
        };
        let map = headers(&[(
            "grpc-status-details-bin",
            details("x/google.rpc.RetryInfo", Some(delay)),
        )]);
        assert_eq!(retry_delay(&map), Some(Duration::ZERO));
    }

    #[test]
    fn messages_are_percent_decoded() {
        assert_eq!(percent_decoded(b"a%20b%C3%A9%zz%"), "a bé%zz%");
        let answer = judged(&[
            ("grpc-status", "13".to_owned()),
            ("grpc-message", "no%20room".to_owned()),
        ]);
        let cause = "gRPC INTERNAL: no room".to_owned();
        assert_eq!(answer, Answer::Refused { cause });
    }

    #[test]
    fn a_proxy_answers_for_the_server() {
        for (http, is_retry) in [(503, true), (429, true), (404, false), (200, false)] {
            let http = StatusCode::from_u16(http).unwrap();
            let answer = judge(http, &HeaderMap::new(), &[], &HeaderMap::new());
            assert_eq!(matches!(answer, Answer::Retry { .. }), is_retry, "{http}");
        }
    }

    #[test]
    fn a_success_holds_one_message() {
        let ok = headers(&[("grpc-status", "0".to_owned())]);
        let judged = |body: &[u8]| judge(StatusCode::OK, &HeaderMap::new(), body, &ok);
        assert!(matches!(judged(&[0; 5]), Answer::Accepted { .. }));
        for body in [&[][..], &[0, 0, 0, 0, 1], &[1, 0, 0, 0, 0], b"garbage"] {
            assert!(matches!(judged(body), Answer::Refused { .. }), "{body:?}");
        }
    }
}
