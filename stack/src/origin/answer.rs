//! Answers with what caches and players need: entity tags, conditions, ranges, lifetimes.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use headers::{ContentRange, ETag, HeaderMapExt as _, IfNoneMatch, IfRange, Range};

use super::body::Chunks;

/// Something that can be had.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) chunks: Chunks,
    pub(crate) kind: &'static str,
    /// Without quotes.
    pub(crate) tag: String,
    /// How long caches may keep it, in seconds.
    pub(crate) lifetime: u64,
}

impl Found {
    /// The answer to a GET with these headers (RFC 9110 §§ 13, 14). Several ranges at once get the
    /// whole, as is allowed.
    pub(crate) fn answer(self, request: &HeaderMap) -> Response {
        let mut headers = HeaderMap::new();
        let tag = format!("\"{}\"", self.tag).parse::<ETag>().ok();
        if let Some(tag) = &tag {
            headers.typed_insert(tag.clone());
        }
        let lifetime = format!("public, max-age={}", self.lifetime);
        if let Ok(lifetime) = HeaderValue::try_from(lifetime) {
            headers.insert(header::CACHE_CONTROL, lifetime);
        }
        let known = request.typed_get::<IfNoneMatch>();
        if let (Some(known), Some(tag)) = (known, &tag)
            && !known.precondition_passes(tag)
        {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let length = self.chunks.len();
        match wanted(request, tag.as_ref(), length) {
            Wanted::Whole => with_length(StatusCode::OK, headers, self.chunks),
            Wanted::Part(from, to) => {
                if let Ok(range) = ContentRange::bytes(from..=to, length) {
                    headers.typed_insert(range);
                }
                with_length(
                    StatusCode::PARTIAL_CONTENT,
                    headers,
                    self.chunks.slice(from..to + 1),
                )
            }
            Wanted::Nothing => {
                headers.remove(header::CONTENT_TYPE);
                headers.typed_insert(ContentRange::unsatisfied_bytes(length));
                (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response()
            }
        }
    }
}

enum Wanted {
    Whole,
    /// First and last byte.
    Part(u64, u64),
    Nothing,
}

fn wanted(request: &HeaderMap, tag: Option<&ETag>, length: u64) -> Wanted {
    let Some(range) = request.typed_get::<Range>() else {
        return Wanted::Whole;
    };
    let changed = request
        .typed_get::<IfRange>()
        .is_some_and(|condition| condition.is_modified(tag, None));
    if changed {
        return Wanted::Whole;
    }
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let mut ranges = range.satisfiable_ranges(length);
    let (first, more) = (ranges.next(), ranges.next().is_some());
    let Some((from, to)) = first else {
        return Wanted::Nothing;
    };
    if more {
        return Wanted::Whole;
    }
    let from = match from {
        Included(from) => from,
        Excluded(from) => from.saturating_add(1),
        Unbounded => 0,
    };
    let to = match to {
        Included(to) => to,
        Excluded(to) => to.saturating_sub(1),
        Unbounded => u64::MAX,
    };
    let to = to.min(length.saturating_sub(1));
    if from > to || from >= length {
        Wanted::Nothing
    } else {
        Wanted::Part(from, to)
    }
}

fn with_length(code: StatusCode, mut headers: HeaderMap, chunks: Chunks) -> Response {
    headers.insert(header::CONTENT_LENGTH, chunks.len().into());
    (code, headers, Body::new(chunks)).into_response()
}

/// A refusal in words, with how long caches may keep it, in seconds.
pub(crate) fn refuse(code: StatusCode, lifetime: u64, words: &str) -> Response {
    let caching = if lifetime == 0 {
        "no-store".to_owned()
    } else {
        format!("public, max-age={lifetime}")
    };
    let headers: [(HeaderName, String); 2] = [
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
    ];
    (code, headers, Bytes::from(format!("{words}\n"))).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    async fn ask(headers: &[(&str, &str)]) -> (u16, Option<String>, String) {
        let found = Found {
            chunks: [Bytes::from_static(b"0123"), Bytes::from_static(b"456789")]
                .into_iter()
                .collect(),
            kind: "video/mp4",
            tag: "a-1".to_owned(),
            lifetime: 60,
        };
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.insert(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let answer = found.answer(&request);
        let range = answer
            .headers()
            .get("content-range")
            .map(|value| value.to_str().unwrap().to_owned());
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, range, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ranges_and_conditions_are_kept() {
        let is = |code, range: Option<&str>, body: &str| {
            (code, range.map(str::to_owned), body.to_owned())
        };
        assert_eq!(ask(&[]).await, is(200, None, "0123456789"));
        assert_eq!(
            ask(&[("range", "bytes=3-5")]).await,
            is(206, Some("bytes 3-5/10"), "345")
        );
        assert_eq!(
            ask(&[("range", "bytes=7-")]).await,
            is(206, Some("bytes 7-9/10"), "789")
        );
        assert_eq!(
            ask(&[("range", "bytes=-2")]).await,
            is(206, Some("bytes 8-9/10"), "89")
        );
        assert_eq!(
            ask(&[("range", "bytes=8-99")]).await,
            is(206, Some("bytes 8-9/10"), "89")
        );
        assert_eq!(
            ask(&[("range", "bytes=10-")]).await,
            is(416, Some("bytes */10"), "")
        );
        assert_eq!(
            ask(&[("range", "bytes=0-0, 5-6")]).await,
            is(200, None, "0123456789")
        );
        assert_eq!(
            ask(&[("range", "lines=1-2")]).await,
            is(200, None, "0123456789")
        );
        assert_eq!(
            ask(&[("if-none-match", "\"a-1\"")]).await,
            is(304, None, "")
        );
        assert_eq!(ask(&[("if-none-match", "*")]).await, is(304, None, ""));
        assert_eq!(
            ask(&[("if-none-match", "\"b\"")]).await,
            is(200, None, "0123456789")
        );
        let old = [("range", "bytes=0-1"), ("if-range", "\"old\"")];
        assert_eq!(ask(&old).await, is(200, None, "0123456789"));
        let same = [("range", "bytes=0-1"), ("if-range", "\"a-1\"")];
        assert_eq!(ask(&same).await, is(206, Some("bytes 0-1/10"), "01"));
    }

    proptest! {
        #[test]
        fn any_range_is_answered(text in "bytes=[0-9,-]{0,40}", length in 0u64..40) {
            let mut request = HeaderMap::new();
            request.insert("range", text.parse().unwrap());
            if let Wanted::Part(from, to) = wanted(&request, None, length) {
                prop_assert!(from <= to && to < length);
            }
        }
    }
}
