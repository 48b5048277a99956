//! Prometheus's HTTP API over the agent's series and rules, so that Grafana and `curl` can ask
//! the node itself. What is asked is behind [`Engine`]; this knows parameters, limits and JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use tokio::sync::Semaphore;

mod alert;
mod answer;
mod argument;
mod engine;
mod handler;
mod number;
mod time;
mod value;

pub use alert::{ActiveAlert, AlertState, Group, Health, Rule, RuleKind};
pub use answer::{Failure, Kind};
pub use engine::{Answer, Engine, Metadata, Query, Span};
pub use value::{Number, Point, Series, Value};

/// Most bytes of a POST request, by which Grafana sends long queries.
const MAX_REQUEST: usize = 1 << 20;

/// Bounds of the API.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries at a time; more are answered 503.
    pub queries: usize,
    /// Time for one.
    pub timeout: Duration,
}

/// What the handlers share.
struct Api {
    engine: Arc<dyn Engine>,
    free: Arc<Semaphore>,
    timeout: Duration,
}

/// The routes below `/api/v1`. Authentication is the server's.
pub fn router(engine: Arc<dyn Engine>, limits: Limits) -> Router {
    let api = Arc::new(Api {
        engine,
        free: Arc::new(Semaphore::new(limits.queries.max(1))),
        timeout: limits.timeout,
    });
    Router::new()
        .route("/api/v1/query", get(handler::query).post(handler::query))
        .route(
            "/api/v1/query_range",
            get(handler::query_range).post(handler::query_range),
        )
        .route("/api/v1/labels", get(handler::labels).post(handler::labels))
        .route("/api/v1/label/{name}/values", get(handler::label_values))
        .route("/api/v1/series", get(handler::series).post(handler::series))
        .route("/api/v1/metadata", get(handler::metadata))
        .route(
            "/api/v1/query_exemplars",
            get(handler::exemplars).post(handler::exemplars),
        )
        .route("/api/v1/rules", get(handler::rules))
        .route("/api/v1/alerts", get(handler::alerts))
        .route("/api/v1/status/buildinfo", get(handler::build_info))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(api)
}

#[cfg(test)]
mod tests;
