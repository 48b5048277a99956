//! What passes between a player and its network.

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::super::playlist::Range;
use crate::truth::Reason;

/// One GET.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its name in [`Answer`]s and aborts.
    pub(crate) id: u64,
    /// With CMCD and delivery directives.
    pub(crate) url: Url,
    pub(crate) range: Option<Range>,
    pub(crate) want: Want,
    /// Longest wait for the first and for the last byte.
    pub(crate) within: (Duration, Duration),
}

/// Which part of the body the player wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The text.
    Text,
    /// Only that it came, and how large it was.
    Size,
}

impl Want {
    /// hls.js's `maxTimeToFirstByteMs` and `maxLoadTimeMs`.
    pub(crate) fn within(self) -> (Duration, Duration) {
        let whole = match self {
            Self::Text => Duration::from_secs(20),
            Self::Size => Duration::from_secs(120),
        };
        (Duration::from_secs(10), whole)
    }
}

/// A complete response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// From the request to the response's head, seconds.
    pub(crate) first_byte_s: f64,
    /// From the request to the last byte, seconds.
    pub(crate) took_s: f64,
    /// Size of the body.
    pub(crate) bytes: u64,
    /// The body, for [`Want::Text`].
    pub(crate) text: Bytes,
}

/// A request that brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}
