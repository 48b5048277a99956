//! `weir-stack game` as a process, with players that speak its documented protocols by hand:
//! whole matches, dying and hanging arenas, hostile players, stops.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "game/arena.rs"]
mod arena;
#[path = "game/fault.rs"]
mod fault;
#[path = "game/player.rs"]
mod player;
#[path = "game/server.rs"]
mod server;
#[path = "game/ticket.rs"]
mod ticket;

#[allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod proto {
    tonic::include_proto!("weir.game.v1");
}
