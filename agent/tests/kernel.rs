//! Truth: what the probes count, against sources that Weir did not write: the kernel's own counters
//! (`ss`, `nstat`, `/proc`), and clocks in the programs that make the traffic.
//!
//! Run as root, one test at a time: `cargo test --test kernel -- --test-threads=1`. The agent's
//! library runs in the test's process. All traffic is between two network namespaces of the test's
//! own, by children that are this program under another name: a service is named by its executable,
//! so each child is a service of its own, and what others do on the machine counts elsewhere.
//!
//! Each check prints `FACT <fact> <rung> ok|fail|skip <figures>`, from which the VM runner makes its
//! table. What a kernel cannot do is said by a line that begins with SKIP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "kernel/agent.rs"]
mod agent;
#[path = "kernel/change.rs"]
mod change;
#[path = "kernel/connection.rs"]
mod connection;
#[path = "kernel/delay.rs"]
mod delay;
#[path = "kernel/fact.rs"]
mod fact;
#[path = "kernel/flow.rs"]
mod flow;
#[path = "kernel/kind.rs"]
mod kind;
#[path = "kernel/network.rs"]
mod network;
#[path = "kernel/peer.rs"]
mod peer;
#[path = "kernel/retransmit.rs"]
mod retransmit;
#[path = "kernel/sched.rs"]
mod sched;
#[path = "kernel/seed.rs"]
mod seed;
#[path = "kernel/send.rs"]
mod send;
#[path = "kernel/tracer.rs"]
mod tracer;
#[path = "kernel/traffic.rs"]
mod traffic;
