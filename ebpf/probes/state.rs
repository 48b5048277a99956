//! Connections: opened, closed, failed; by role.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use weir_ebpf::change::Fact;
use weir_ebpf::layout::Socket;
use weir_ebpf::tcp::{Outcome, Role, state};

use crate::ctx::{arg, now, read};
use crate::maps::{LISTENERS, SEEDS, SOCKETS, add, field, observe, stats};
use crate::{owner, record, socket};

const IPPROTO_TCP: u16 = 6;

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn state_raw(ctx: RawTracePointContext) -> i32 {
    change(&ctx, arg(&ctx, 0), arg(&ctx, 1) as u32, arg(&ctx, 2) as u32);
    0
}

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state_btf(ctx: BtfTracePointContext) -> i32 {
    change(&ctx, arg(&ctx, 0), arg(&ctx, 1) as u32, arg(&ctx, 2) as u32);
    0
}

#[inline(always)]
fn change(ctx: &impl EbpfContext, sk: u64, old: u32, new: u32) {
    if read::<u16>(sk, field!(sk_protocol)) != IPPROTO_TCP {
        return;
    }
    match (old, new) {
        (_, state::LISTEN) => owner::remember_listener(sk, &owner::of_current(ctx, 0)),
        (_, state::SYN_SENT) => connect(ctx, sk),
        (state::LISTEN, state::SYN_RECV) => child(sk),
        (_, state::ESTABLISHED) => establish(ctx, sk),
        (state::LISTEN, state::CLOSE) => {}
        (_, state::CLOSE) => close(ctx, sk),
        _ => {}
    }
}

/// `connect` was called, by the process whose connection it is.
#[inline(always)]
fn connect(ctx: &impl EbpfContext, sk: u64) {
    let Some(state) = socket::begin(sk) else {
        return;
    };
    // SAFETY: points into `SOCKETS`; see `send::end`.
    let state = unsafe { &mut *state };
    state.group = socket::group(sk);
    state.slot = owner::of_current(ctx, state.group).owner.slot;
    state.role = Role::Connected as u8;
    state.claimed = 1;
}

/// A listener's child is born, in whatever context the packet came in: still a copy of its parent
/// (`inet_csk_clone_lock` sets the state first), so its port is the listener's and its peer unset.
#[inline(always)]
fn child(sk: u64) {
    if let Some(state) = socket::begin(sk) {
        // SAFETY: points into `SOCKETS`.
        unsafe { (*state).role = Role::Accepted as u8 };
    }
}

#[inline(always)]
fn establish(ctx: &impl EbpfContext, sk: u64) {
    let Some(state) = SOCKETS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: points into `SOCKETS`; see `send::end`.
    let state = unsafe { &mut *state };
    if state.role == Role::Accepted as u8 && state.claimed == 0 {
        state.group = socket::group(sk);
        // SAFETY: the reference is copied from before any other call.
        if let Some(listener) = unsafe { LISTENERS.get(owner::listener_key(sk)) } {
            let listener = *listener;
            state.slot = owner::towards(ctx, &listener, state.group);
        }
    }
    state.established = 1;
    state.opened_at_ns = now();
    count(state.slot, state.role, Outcome::Opened);
}

#[inline(always)]
fn close(ctx: &impl EbpfContext, sk: u64) {
    let Some(found) = SOCKETS.get_ptr_mut(sk).or_else(|| adopt_seeded(sk)) else {
        return;
    };
    // SAFETY: points into `SOCKETS`, until the entry is removed below.
    let state = unsafe { &*found };
    let (slot, now) = (state.slot, now());
    let mut failed = None;
    socket::settle(state.slot, &socket::done(sk, state, now));
    if state.established == 0 {
        let role = if state.role == 0 {
            Role::Connected
        } else {
            Role::Accepted
        };
        let why = Outcome::of_failure(role, read(sk, field!(sk_err)));
        count(state.slot, state.role, why);
        failed = Fact::of_outcome(why);
    } else {
        count(state.slot, state.role, Outcome::Closed);
        observe_life(state, now);
    }
    let _ = SOCKETS.remove(sk);
    if let Some(failed) = failed {
        record::tell(ctx, slot, failed);
    }
}

/// How long a connection lived, if its begin was seen.
#[inline(always)]
fn observe_life(state: &Socket, now: u64) {
    if state.opened_at_ns == 0 {
        return;
    }
    if let Some(stats) = stats(state.slot) {
        // SAFETY: points into `STATS`; only this program writes the histogram.
        observe(
            unsafe { &raw mut (*stats).life },
            now.saturating_sub(state.opened_at_ns),
        );
    }
}

/// A socket from before the start that had no event since. One that the dump did not know either
/// never was a connection: it closed before it was established.
#[inline(always)]
fn adopt_seeded(sk: u64) -> Option<*mut Socket> {
    let cookie: u64 = read(sk, field!(sk_cookie));
    // SAFETY: only whether it is there is asked.
    unsafe { SEEDS.get(cookie) }?;
    socket::adopt(sk)
}

#[inline(always)]
fn count(slot: u32, role: u8, outcome: Outcome) {
    if let Some(stats) = stats(slot) {
        // SAFETY: points into `STATS`; role is masked, an outcome is an index of the array.
        add(
            unsafe { &raw mut (*stats).connections[usize::from(role & 1)][outcome as usize] },
            1,
        );
    }
}
