//! `/healthz` and `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::metric::Table;

/// What a service finds wrong with itself, by the name of the part; well while that is nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Health {
    /// Says that a part fails, and why; `/healthz` answers 503 until it is [mended](Self::mend).
    pub(crate) fn fail(&self, part: &'static str, why: impl fmt::Display) {
        self.faults(|faults| _ = faults.insert(part, why.to_string()));
    }

    /// Says that a part works again.
    pub(crate) fn mend(&self, part: &'static str) {
        self.faults(|faults| _ = faults.remove(part));
    }

    fn faults<T>(&self, with: impl FnOnce(&mut BTreeMap<&'static str, String>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `/healthz` from `health` and `/metrics` from `table`, to be merged into a service's routes.
/// Metrics of the process itself are added.
pub(crate) fn router(table: Table, health: Health) -> Router {
    let registry = table.into_registry(Box::new(super::process::Process));
    Router::new()
        .route("/healthz", get(answer_health).with_state(health))
        .route(
            "/metrics",
            get(answer_metrics).with_state(Arc::new(registry)),
        )
}

async fn answer_health(State(health): State<Health>) -> Response {
    let faults = health.faults(|faults| faults.clone());
    let (code, status) = if faults.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failing")
    };
    let body = Json(serde_json::json!({ "status": status, "faults": faults }));
    (code, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

async fn answer_metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            body,
        )
            .into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = axum::http::Request::get(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_names_what_fails_until_it_is_mended() {
        let health = Health::default();
        let router = router(Table::default(), health.clone());
        let (code, body) = get(&router, "/healthz").await;
        assert_eq!(code, StatusCode::OK);
        let parse = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap();
        assert_eq!(
            parse(&body),
            serde_json::json!({ "status": "ok", "faults": {} })
        );
        health.fail("redis", "connection refused");
        let (code, body) = get(&router, "/healthz").await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            parse(&body),
            serde_json::json!({ "status": "failing", "faults": { "redis": "connection refused" } })
        );
        health.mend("redis");
        assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_hold_the_services_own_and_the_process() {
        let mut table = Table::default();
        let counter: Counter = table.add("things", "Things");
        counter.inc_by(7);
        let (code, body) = get(&router(table, Health::default()), "/metrics").await;
        assert_eq!(code, StatusCode::OK);
        assert!(body.contains("things_total 7\n"), "{body}");
        let resident = body
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(
            resident.unwrap().parse::<u64>().unwrap() > 100_000,
            "{body}"
        );
        assert!(body.contains("process_cpu_seconds_total "), "{body}");
        assert!(body.ends_with("# EOF\n"), "{body}");
    }
}
