//! Pages on their way to real receivers, misbehaving ones, and through kills of the sender.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "alert/alertmanager.rs"]
mod alertmanager;
#[path = "alert/fault.rs"]
mod fault;
#[path = "alert/kill.rs"]
mod kill;
#[path = "alert/node.rs"]
mod node;
#[path = "alert/receiver.rs"]
mod receiver;
#[path = "alert/reload.rs"]
mod reload;
#[path = "alert/secret.rs"]
mod secret;
#[path = "alert/served.rs"]
mod served;
#[path = "alert/upstream.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod upstream;
