//! Immediate groups, from the kernel's events to the page: the agent as a process, as root on this
//! host, peers in network namespaces of the tests' own, and receivers outside the agent.
//!
//! Groups have a day between periodic evaluations, so that only an event explains a page. Agents run
//! one at a time.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "immediate/event.rs"]
mod event;
#[path = "immediate/hang.rs"]
mod hang;
#[path = "kernel/network.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod network;
#[path = "kernel/peer.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod peer;
#[path = "alert/receiver.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod receiver;
#[path = "immediate/reload.rs"]
mod reload;
#[path = "agent/running.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod running;
#[path = "agent/series.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod series;
#[path = "immediate/setup.rs"]
mod setup;
#[path = "immediate/storm.rs"]
mod storm;
#[path = "kernel/traffic.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod traffic;
