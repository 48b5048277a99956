//! The Prometheus endpoint from outside: as an HTTP server with friendly and hostile clients, and
//! as a target of real Prometheus servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod client;
mod data;
mod endpoint;
mod limits;
mod scrape;
mod scraper;
