//! The ways out: Prometheus (pulled) and OTLP (pushed).

mod http;
pub mod otlp;
pub mod prometheus;
