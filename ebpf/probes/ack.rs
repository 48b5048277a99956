//! ACK progress: round-trip time, end of a delivery measurement, shut windows.
//!
//! The tracepoint `tcp_probe` is at the head of `tcp_rcv_established`: the socket is still as it
//! was, so what this segment brings is read from its header, which `skb->data` points to.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use weir_ebpf::change::Fact;
use weir_ebpf::layout::Socket;
use weir_ebpf::tcp::{SendSide, reaches};

use crate::ctx::{arg, coarse_now, now, read, read_bits, read_tcp};
use crate::maps::{field, observe, observe_shared, stats};
use crate::{record, socket};

const RTT_EVERY_NS: u64 = 100_000_000;
/// `srtt_us` is in eighths of a microsecond.
const NS_PER_SRTT: u64 = 125;

#[raw_tracepoint(tracepoint = "tcp_probe")]
pub fn ack_raw(ctx: RawTracePointContext) -> i32 {
    segment(&ctx);
    0
}

#[btf_tracepoint(function = "tcp_probe")]
pub fn ack_btf(ctx: BtfTracePointContext) -> i32 {
    segment(&ctx);
    0
}

/// A segment arrived at an established connection.
#[inline(always)]
fn segment(ctx: &impl EbpfContext) {
    let (sk, skb) = (arg(ctx, 0), arg(ctx, 1));
    let Some(state) = socket::state(sk) else {
        return;
    };
    // SAFETY: points into `SOCKETS`; see `send::end`.
    let state = unsafe { &mut *state };
    let coarse = coarse_now();
    if coarse >= state.rtt_next_ns {
        state.rtt_next_ns = coarse + RTT_EVERY_NS;
        sample_rtt(sk, state);
    }
    // SAFETY: a field of a live reference; see `send::begin_delivery`.
    let from = unsafe { (&raw const state.delivery_from_ns).read_volatile() };
    let unsent = socket::has_unsent(sk);
    if (from != 0 || state.zero_since_ns != 0 || unsent)
        && acknowledge(sk, skb, state, from, unsent)
    {
        record::tell(ctx, state.slot, Fact::ZeroWindow);
    }
}

/// Takes the smoothed RTT if it changed since the last sample: then it was measured anew.
#[inline(always)]
fn sample_rtt(sk: u64, state: &mut Socket) {
    let srtt: u32 = read_tcp(sk, field!(srtt_us));
    if srtt == 0 || srtt == state.rtt_last {
        return;
    }
    state.rtt_last = srtt;
    if let Some(stats) = stats(state.slot) {
        // SAFETY: points into `STATS`; only this program writes the histogram.
        observe(
            unsafe { &raw mut (*stats).rtt },
            u64::from(srtt) * NS_PER_SRTT,
        );
    }
}

/// What the segment's acknowledgement and window mean for the data that waits; says whether the
/// window now begins to hold it back.
#[inline(always)]
fn acknowledge(sk: u64, skb: u64, state: &mut Socket, from: u64, unsent: bool) -> bool {
    // Bytes 8 to 15 of a TCP header: acknowledgement, offset, flags, window.
    let part: [u8; 8] = read(read(skb, field!(skb_data)), 8);
    let has_ack = part[5] & 0x10 != 0;
    let ack = u32::from_be_bytes([part[0], part[1], part[2], part[3]]);
    let nxt: u32 = read_tcp(sk, field!(snd_nxt));
    if !has_ack || !reaches(nxt, ack) {
        return false;
    }
    let now = now();
    if from != 0 && reaches(ack, state.delivery_seq) {
        state.delivery_from_ns = 0;
        if let Some(stats) = stats(state.slot) {
            // SAFETY: points into `STATS`.
            observe_shared(
                unsafe { &raw mut (*stats).delivery },
                now.saturating_sub(from),
            );
        }
    }
    if !unsent && state.zero_since_ns == 0 || !reaches(ack, read_tcp(sk, field!(snd_una))) {
        return false;
    }
    let scale = read_bits(sk, field!(snd_wscale));
    let side = SendSide {
        una: ack,
        nxt,
        write: read_tcp(sk, field!(write_seq)),
        window: u32::from(u16::from_be_bytes([part[6], part[7]])) << (scale & 15),
        mss: read_tcp(sk, field!(mss_cache)),
    };
    socket::mark_window(state, side.is_shut(), now)
}
