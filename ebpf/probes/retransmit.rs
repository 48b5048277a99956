//! Retransmitted segments by kind, and those that were needless.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use weir_ebpf::change::Fact;
use weir_ebpf::tcp::{Retransmit, ca};

use crate::ctx::{arg, read, read_bits};
use crate::maps::{LISTENERS, SOCKETS, add, field, setting, stats};
use crate::{owner, record, socket};

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn retransmit_raw(ctx: RawTracePointContext) -> i32 {
    segment(&ctx);
    0
}

#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn retransmit_btf(ctx: BtfTracePointContext) -> i32 {
    segment(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub fn synack_raw(ctx: RawTracePointContext) -> i32 {
    synack(&ctx, arg(&ctx, 0));
    0
}

#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn synack_btf(ctx: BtfTracePointContext) -> i32 {
    synack(&ctx, arg(&ctx, 0));
    0
}

#[raw_tracepoint(tracepoint = "tcp_cong_state_set")]
pub fn congestion_raw(ctx: RawTracePointContext) -> i32 {
    congestion(&ctx, arg(&ctx, 0), arg(&ctx, 1) as u32);
    0
}

#[btf_tracepoint(function = "tcp_cong_state_set")]
pub fn congestion_btf(ctx: BtfTracePointContext) -> i32 {
    congestion(&ctx, arg(&ctx, 0), arg(&ctx, 1) as u32);
    0
}

/// A buffer was sent again; it may hold several segments. One that could not be sent (still in a
/// queue of the host, no room in the window) is none.
#[inline(always)]
fn segment(ctx: &impl EbpfContext) {
    if setting!(retransmit_error) == 1 && arg(ctx, 2) as i32 != 0 {
        return;
    }
    let (sk, skb) = (arg(ctx, 0), arg(ctx, 1));
    let Some(state) = socket::state(sk) else {
        return;
    };
    // SAFETY: points into `SOCKETS`; see `send::end`.
    let state = unsafe { &mut *state };
    let kind = Retransmit::kind(
        u32::from(read::<u8>(sk, field!(sk_state))),
        read_bits(sk, field!(ca_state)),
    );
    let segments: u16 = read(skb, field!(skb_cb) + field!(cb_gso_segs));
    let segments = if segments == 0 {
        1
    } else {
        u32::from(segments)
    };
    if matches!(kind, Retransmit::Rto | Retransmit::Fast) {
        if state.episode == 0 {
            state.episode_dsacks = read(sk, field!(dsack_dups));
        }
        state.episode += segments;
    }
    count(ctx, state.slot, kind, segments);
}

/// A listener answered a connection request again.
#[inline(always)]
fn synack(ctx: &impl EbpfContext, listener: u64) {
    let key = owner::listener_key(listener);
    // SAFETY: the reference is read before any other call.
    let slot = unsafe { LISTENERS.get(key) }.map_or(0, |found| found.owner.slot);
    count(ctx, slot, Retransmit::Synack, 1);
}

#[inline(always)]
fn count(ctx: &impl EbpfContext, slot: u32, kind: Retransmit, segments: u32) {
    if let Some(stats) = stats(slot) {
        // SAFETY: points into `STATS`; a kind is an index of the array.
        add(
            unsafe { &raw mut (*stats).retransmits[kind as usize] },
            u64::from(segments),
        );
    }
    record::tell(ctx, slot, Fact::of_retransmit(kind));
}

/// The end of a loss episode. The kernel clears `undo_marker` only when it undoes the episode
/// because all its retransmissions were needless (`tcp_undo_cwnd_reduction`). Those that the peer
/// reported itself are counted from `dsack_dups`.
#[inline(always)]
fn congestion(ctx: &impl EbpfContext, sk: u64, new: u32) {
    let Some(state) = SOCKETS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: points into `SOCKETS`; see `send::end`.
    let state = unsafe { &mut *state };
    if new != ca::OPEN || state.episode == 0 {
        return;
    }
    let segments = state.episode;
    state.episode = 0;
    let undone = read::<u32>(sk, field!(undo_marker)) == 0;
    let reported = read::<u32>(sk, field!(dsack_dups)) != state.episode_dsacks;
    if undone
        && !reported
        && let Some(stats) = stats(state.slot)
    {
        // SAFETY: points into `STATS`.
        add(unsafe { &raw mut (*stats).undone }, u64::from(segments));
    }
    if undone || reported {
        record::tell(ctx, state.slot, Fact::Needless);
    }
}
