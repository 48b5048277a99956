//! Rule files in the folder of a running agent, as root on this host: from the kernel's counters to
//! pages in another process, through bad files, kills, and receivers that are not there.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "rules/absent.rs"]
mod absent;
#[path = "rules/bad.rs"]
mod bad;
#[path = "rules/cut.rs"]
mod cut;
#[path = "rules/life.rs"]
mod life;
#[path = "kernel/network.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod network;
#[path = "alert/receiver.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod receiver;
#[path = "agent/running.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod running;
#[path = "agent/series.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod series;
#[path = "rules/site.rs"]
mod site;
#[path = "agent/traffic.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod traffic;
#[path = "alert/upstream.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod upstream;
