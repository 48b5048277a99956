//! What a receiver's answer means for a request, whatever it came by.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;

use crate::client::text::readable;

/// The end of one try.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Taken, but for `rejected` points; never sent again.
    Accepted {
        /// Points of the request that the receiver did not take.
        rejected: u64,
        /// What the receiver had to say, if anything.
        warning: Option<String>,
    },
    /// Failed in a way that may pass.
    Retry {
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
        /// Why, for the log.
        cause: String,
    },
    /// Failed for good: dropped.
    Refused {
        /// Why, for the log.
        cause: String,
    },
}

impl Answer {
    /// A try that ended without an answer.
    pub(super) fn no_answer(cause: impl Into<String>) -> Self {
        Self::Retry {
            after: None,
            cause: cause.into(),
        }
    }

    /// Reads the message of a success. No body is an empty message: all was taken.
    pub(super) fn success(body: &[u8]) -> Self {
        let Ok(response) = ExportMetricsServiceResponse::decode(body) else {
            return Self::Refused {
                cause: "answered success with a body that is not OTLP".to_owned(),
            };
        };
        let partial = response.partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
        let message = readable(&partial.error_message);
        let warning = match (rejected, message.is_empty()) {
            (0, true) => None,
            (0, false) => Some(format!("receiver warns: {message}")),
            _ => Some(format!("receiver rejected {rejected} points: {message}")),
        };
        Self::Accepted { rejected, warning }
    }
}

/// `google.rpc.Status`: why a request failed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Detail>,
}

/// `google.protobuf.Any`: one detail of a status.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Detail {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;

    use super::*;

    fn partial(rejected_data_points: i64, error_message: &str) -> Vec<u8> {
        ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message: error_message.to_owned(),
            }),
        }
        .encode_to_vec()
    }

    #[test]
    fn partial_success_is_accepted_with_a_warning() {
        let accepted = |rejected, warning: Option<&str>| Answer::Accepted {
            rejected,
            warning: warning.map(str::to_owned),
        };
        assert_eq!(Answer::success(&[]), accepted(0, None));
        assert_eq!(
            Answer::success(&partial(3, "too old\n")),
            accepted(3, Some("receiver rejected 3 points: too old"))
        );
        assert_eq!(
            Answer::success(&partial(0, "soon full")),
            accepted(0, Some("receiver warns: soon full"))
        );
        assert_eq!(Answer::success(&partial(-1, "")), accepted(0, None));
        let garbage = Answer::success(b"<html>no");
        assert!(matches!(garbage, Answer::Refused { .. }), "{garbage:?}");
    }
}
