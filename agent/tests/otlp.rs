//! OTLP export against real receivers, misbehaving ones, and opentelemetry-proto's own types.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "otlp/cost.rs"]
mod cost;
#[path = "otlp/grpc.rs"]
mod grpc;
#[path = "otlp/http.rs"]
mod http;
#[path = "otlp/model.rs"]
mod model;
#[path = "otlp/receiver.rs"]
mod receiver;
#[path = "otlp/run.rs"]
mod run;
#[path = "otlp/tls.rs"]
mod tls;
#[path = "otlp/victoria.rs"]
mod victoria;
#[path = "otlp/wire.rs"]
mod wire;
