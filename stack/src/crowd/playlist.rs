//! HLS playlists as a player reads them: RFC 8216bis, low-latency tags included.
//!
//! No crate in use reads `EXT-X-PART` and its kin. Like players, this reader forgives what it can:
//! unknown tags and attributes are skipped, a bad optional value counts as absent. It never keeps
//! more than the text it was given holds.

use std::sync::Arc;

use thiserror::Error;

mod attribute;
mod master;
mod media;

pub(crate) use master::Master;
pub(crate) use media::{Map, Media, Part, Segment};

/// A byte range of a resource: length and offset (RFC 8216bis 4.4.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) length: u64,
    pub(crate) offset: u64,
}

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// As in the playlist, perhaps relative to it.
    pub(crate) uri: Arc<str>,
    /// The whole resource where absent.
    pub(crate) range: Option<Range>,
}

/// Why a playlist cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unusable {
    #[error("the first line is not #EXTM3U")]
    NoHeader,
    #[error("no EXT-X-TARGETDURATION")]
    NoTargetDuration,
    #[error("no variant stream")]
    NoVariant,
    #[error("segment numbers run over")]
    Overflow,
}

/// Lines without their ends, empty ones left out; refuses what does not open with `#EXTM3U`.
fn lines(text: &str) -> Result<impl Iterator<Item = &str>, Unusable> {
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    match lines.next() {
        Some("#EXTM3U") => Ok(lines),
        _ => Err(Unusable::NoHeader),
    }
}

/// Tag and value: `#EXTINF:2,` is (`#EXTINF`, `2,`).
fn split_tag(line: &str) -> (&str, &str) {
    line.split_once(':').unwrap_or((line, ""))
}

/// A duration in seconds; negative, endless and absurd ones are absent.
fn seconds(text: &str) -> Option<f64> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|value| (0.0..=86_400.0).contains(value))
}
