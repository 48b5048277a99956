//! One span a request, joined to the caller's trace by its `traceparent` (W3C Trace Context).

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::Extractor;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Middleware (`axum::middleware::from_fn`) that opens a span for each request, with the
/// attributes that OpenTelemetry's conventions for HTTP servers name. Free where nobody listens.
pub(crate) async fn trace(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let span = tracing::info_span!(
        target: crate::log::SPAN,
        "request",
        otel.kind = "server",
        otel.name = format_args!("{} {}", request.method(), route.map_or("", MatchedPath::as_str)),
        http.request.method = request.method().as_str(),
        http.route = route.map(MatchedPath::as_str),
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
    );
    if span.is_disabled() {
        return next.run(request).await;
    }
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&Headers(request.headers()))
    });
    // Fails only where no layer takes spans, and then there is nothing to join.
    _ = span.set_parent(parent);
    let response = next.run(request).instrument(span.clone()).await;
    // Signed, for unsigned numbers become text on the way.
    span.record(
        "http.response.status_code",
        i64::from(response.status().as_u16()),
    );
    response
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}
