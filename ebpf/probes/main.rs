//! The kernel programs. Each file is one subject; `maps` holds all state, `ctx` all that is unsafe
//! about reading the kernel. A program with several rungs is one function with several entries.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "the only way to an atomic add on this target, see `maps::add`"
)]
#![allow(
    unreachable_pub,
    reason = "the entry macros want public functions, and all modules are private"
)]

mod ack;
mod ctx;
mod maps;
mod owner;
mod record;
mod retransmit;
mod sched;
mod send;
mod socket;
mod state;
mod walk;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that the probes use are open to programs under the GPL only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
