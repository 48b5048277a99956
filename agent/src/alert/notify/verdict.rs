//! What the end of a try means for the pages in it.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::LOCATION;

use crate::client::post::Answer;
use crate::client::text::{readable, retry_after};

/// The end of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken.
    Delivered,
    /// Failed in a way that may pass, or that has nothing to do with the pages.
    Retry {
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
        /// Why, for the log.
        cause: String,
    },
    /// These pages will never be taken.
    Refused {
        /// Why, for the log.
        cause: String,
    },
}

impl Verdict {
    /// A try that ended without an answer.
    pub(super) fn retry(cause: impl Into<String>) -> Self {
        Self::Retry {
            after: None,
            cause: cause.into(),
        }
    }

    /// Judges an answer; `now` is for a Retry-After that is a date.
    ///
    /// Tried again are server errors, and refusals that are not about the pages: too many
    /// requests, a timeout, and missing rights, since a token may be in the middle of a rotation.
    pub(super) fn of(answer: Result<Answer, String>, now: SystemTime) -> Self {
        let answer = match answer {
            Ok(answer) if answer.status.is_success() => return Self::Delivered,
            Ok(answer) => answer,
            Err(cause) => return Self::retry(cause),
        };
        let cause = cause(&answer);
        let passes = answer.status.is_server_error()
            || matches!(
                answer.status,
                StatusCode::UNAUTHORIZED
                    | StatusCode::FORBIDDEN
                    | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_EARLY
                    | StatusCode::TOO_MANY_REQUESTS
            );
        match passes {
            true => Self::Retry {
                after: retry_after(&answer.headers, now),
                cause,
            },
            false => Self::Refused { cause },
        }
    }
}

fn cause(answer: &Answer) -> String {
    let mut cause = format!("HTTP {}", answer.status);
    let place = answer.headers.get(LOCATION);
    if let Some(place) = place.and_then(|place| place.to_str().ok()) {
        cause = format!("{cause}, which points to {}", readable(place));
    }
    match readable(&String::from_utf8_lossy(&answer.body)) {
        text if text.is_empty() => cause,
        text => format!("{cause}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, header: Option<(&'static str, &'static str)>, body: &str) -> Verdict {
        let pair = |(name, value): (&'static str, &'static str)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: header.map(pair).into_iter().collect(),
            body: body.to_owned().into(),
        };
        Verdict::of(Ok(answer), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn every_status_has_its_verdict() {
        for status in 100..=999 {
            let verdict = judged(status, None, "");
            let expected = match status {
                200..300 => verdict == Verdict::Delivered,
                401 | 403 | 407 | 408 | 425 | 429 | 500..600 => {
                    matches!(verdict, Verdict::Retry { after: None, .. })
                }
                _ => matches!(verdict, Verdict::Refused { .. }),
            };
            assert!(expected, "{status}: {verdict:?}");
        }
    }

    #[test]
    fn the_receiver_may_ask_for_a_pause_and_say_why() {
        assert_eq!(
            judged(503, Some(("retry-after", "7")), "over\nloaded"),
            Verdict::Retry {
                after: Some(Duration::from_secs(7)),
                cause: "HTTP 503 Service Unavailable: over loaded".to_owned()
            }
        );
        assert_eq!(
            judged(302, Some(("location", "http://h/login")), ""),
            Verdict::Refused {
                cause: "HTTP 302 Found, which points to http://h/login".to_owned()
            }
        );
    }

    #[test]
    fn no_answer_is_tried_again() {
        let verdict = Verdict::of(Err("cannot connect".to_owned()), SystemTime::UNIX_EPOCH);
        assert_eq!(verdict, Verdict::retry("cannot connect"));
    }
}
