//! What a receiver says, made fit for the log.

use std::time::{Duration, SystemTime};

use hyper::header::{HeaderMap, RETRY_AFTER};

/// Longest part of a receiver's message that is logged.
const MAX_TEXT: usize = 200;

/// A receiver's text, fit for a line of the log.
pub(crate) fn readable(text: &str) -> String {
    let mut line: String = text
        .trim()
        .chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.trim().chars().nth(MAX_TEXT).is_some() {
        line.push('…');
    }
    line
}

/// How long a receiver asks to be left alone: seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// hyper's errors keep what matters in their sources.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        assert_eq!(readable(" a\u{1b}[31m\nb "), "a [31m b");
        assert_eq!(readable(&"x".repeat(500)).chars().count(), MAX_TEXT + 1);
    }
}
