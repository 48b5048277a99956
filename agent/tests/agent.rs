//! The agent as a process, as root on this host: real traffic on loopback, faults, signals, bounds.
//!
//! The agent sees the whole host, so what is asserted of other services than the tests' own is a
//! bound, not a number. Agents run one at a time.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "agent/bound.rs"]
mod bound;
#[path = "prometheus/client.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod client;
#[path = "agent/exit.rs"]
mod exit;
#[path = "agent/fault.rs"]
mod fault;
#[path = "agent/grafana.rs"]
mod grafana;
#[path = "agent/histogram.rs"]
mod histogram;
#[path = "agent/hostile.rs"]
mod hostile;
#[path = "agent/object.rs"]
mod object;
#[path = "agent/probe.rs"]
mod probe;
#[path = "agent/push.rs"]
mod push;
#[path = "agent/receiver.rs"]
mod receiver;
#[path = "agent/reload.rs"]
mod reload;
#[path = "agent/ring.rs"]
mod ring;
#[path = "agent/running.rs"]
mod running;
#[path = "prometheus/scraper.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod scraper;
#[path = "agent/series.rs"]
mod series;
#[path = "beside/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
#[path = "agent/traffic.rs"]
mod traffic;
