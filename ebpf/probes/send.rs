//! Sends: how long the kernel's send routine took, what it left in the queue, and the begin of a
//! delivery measurement.
//!
//! Rungs: entry and exit of `tcp_sendmsg`; or the tracepoints `tcp_sendmsg_locked` (6.16) and
//! `sock_send_length` (6.3), which see everything but the wait for the socket lock; or the entry
//! of the system call with `sock_send_length`, which sees all but io_uring and costs most.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe, raw_tracepoint};
use aya_ebpf::programs::{
    FEntryContext, FExitContext, ProbeContext, RawTracePointContext, RetProbeContext,
};
use weir_ebpf::change::Fact;
use weir_ebpf::hist::size_bucket;
use weir_ebpf::layout::{Lost, Socket, Thread};
use weir_ebpf::tcp::reaches;

use crate::ctx::{arg, current_ids, now, read_tcp};
use crate::maps::{SOCKETS, THREADS, THREADS_LEN, field, lost, observe, stats};
use crate::{owner, record, socket};

#[raw_tracepoint(tracepoint = "tcp_sendmsg_locked")]
pub fn send_in_locked(ctx: RawTracePointContext) -> i32 {
    begin(arg(&ctx, 0), false);
    0
}

#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn send_out_length(ctx: RawTracePointContext) -> i32 {
    end(&ctx, arg(&ctx, 0), arg(&ctx, 1) as i32, false);
    0
}

#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn send_out_syscall(ctx: RawTracePointContext) -> i32 {
    end(&ctx, arg(&ctx, 0), arg(&ctx, 1) as i32, true);
    0
}

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn send_in_syscall(ctx: RawTracePointContext) -> i32 {
    // write, writev, sendfile, sendto, sendmsg, splice, pwritev2, sendmmsg of x86-64.
    if matches!(arg(&ctx, 1), 1 | 20 | 40 | 44 | 46 | 275 | 307 | 328) {
        begin(0, true);
    }
    0
}

#[fentry(function = "tcp_sendmsg")]
pub fn send_in_fentry(ctx: FEntryContext) -> i32 {
    begin(arg(&ctx, 0), true);
    0
}

#[fexit(function = "tcp_sendmsg")]
pub fn send_out_fexit(ctx: FExitContext) -> i32 {
    end(&ctx, arg(&ctx, 0), arg(&ctx, 3) as i32, false);
    0
}

/// Before 6.5, sendfile and splice take this way.
#[fentry(function = "tcp_sendpage")]
pub fn page_in_fentry(ctx: FEntryContext) -> i32 {
    begin(arg(&ctx, 0), true);
    0
}

#[fexit(function = "tcp_sendpage")]
pub fn page_out_fexit(ctx: FExitContext) -> i32 {
    end(&ctx, arg(&ctx, 0), arg(&ctx, 5) as i32, false);
    0
}

#[kprobe]
pub fn send_in_kprobe(ctx: ProbeContext) -> u32 {
    begin(ctx.arg::<u64>(0).unwrap_or_default(), true);
    0
}

#[kretprobe]
pub fn send_out_kretprobe(ctx: RetProbeContext) -> u32 {
    end(&ctx, 0, ctx.ret::<u64>() as i32, false);
    0
}

/// Place of the current thread, taken over from a stranger if need be.
#[inline(always)]
fn thread(tid: u32) -> Option<&'static mut Thread> {
    let place = THREADS.get_ptr_mut(tid & (THREADS_LEN - 1))?;
    // SAFETY: points into the map. Only this thread, or a stranger that then finds itself to be
    // one, writes here at the same time.
    Some(unsafe { &mut *place })
}

/// A send begins. `restart`: this is the entry, not one turn of the routine's loop.
#[inline(always)]
fn begin(sk: u64, restart: bool) {
    let (_, tid) = current_ids();
    let Some(thread) = thread(tid) else { return };
    if thread.tid != tid {
        if thread.send_at_ns != 0 {
            lost(Lost::Send);
        }
        thread.send_at_ns = 0;
        thread.queued_at_ns = 0;
        thread.generation = 0;
        thread.tid = tid;
    } else if !restart && thread.send_at_ns != 0 && thread.send_sk == sk {
        return;
    }
    thread.send_sk = sk;
    thread.send_at_ns = now();
}

/// A send ends with `sent` bytes. `again`: another may follow in the same system call.
#[inline(always)]
fn end(ctx: &impl EbpfContext, sk: u64, sent: i32, again: bool) {
    let (_, tid) = current_ids();
    let Some(thread) = thread(tid) else { return };
    let begun = if thread.tid == tid {
        thread.send_at_ns
    } else {
        0
    };
    let begun_sk = thread.send_sk;
    let sk = if sk == 0 { begun_sk } else { sk };
    if begun == 0 || (begun_sk != 0 && begun_sk != sk) {
        // A datagram or local socket's send, a failed one, or one whose begin got lost.
        if sent > 0 && SOCKETS.get_ptr(sk).is_some() {
            lost(Lost::Send);
        }
        return;
    }
    thread.send_at_ns = 0;
    if sent <= 0 {
        return;
    }
    let Some(state) = (if begun_sk == 0 {
        SOCKETS.get_ptr_mut(sk)
    } else {
        socket::state(sk)
    }) else {
        return;
    };
    // SAFETY: points into `SOCKETS`. Programs of the same socket may run at the same time on
    // another CPU; each field has one writer but for `delivery_*`, ordered in `begin_delivery`.
    let state = unsafe { &mut *state };
    if state.claimed == 0 {
        claim(ctx, sk, state);
    }
    let now = now();
    if again {
        thread.send_at_ns = now;
    }
    count(ctx, sk, state, begun, now);
}

/// Counts a finished send.
#[inline(always)]
fn count(ctx: &impl EbpfContext, sk: u64, state: &mut Socket, begun: u64, now: u64) {
    let Some(stats) = stats(state.slot) else {
        return;
    };
    let queued: u32 = read_tcp(sk, field!(sk_wmem_queued));
    // SAFETY: points into `STATS`; `size_bucket` is below the array's length. Only this program
    // writes the two histograms.
    unsafe {
        observe(&raw mut (*stats).send, now.saturating_sub(begun));
        if let Some(bucket) = (*stats).queue.buckets.get_mut(size_bucket(queued)) {
            *bucket += 1;
        }
        (*stats).queue.sum += u64::from(queued);
    }
    if state.delivery_from_ns == 0 {
        let end: u32 = read_tcp(sk, field!(write_seq));
        if reaches(read_tcp(sk, field!(snd_una)), end) {
            // Confirmed before the send returned, as happens on loopback: nobody waited.
            // SAFETY: points into `STATS`; only this program writes the counter.
            unsafe { (*stats).prompt += 1 };
        } else {
            begin_delivery(state, end, now);
        }
    }
    if state.zero_since_ns == 0
        && socket::has_unsent(sk)
        && socket::mark_window(state, socket::send_side(sk).is_shut(), now)
    {
        record::tell(ctx, state.slot, Fact::ZeroWindow);
    }
}

/// The ACK's program reads the time first: a time that is set has its sequence number set.
#[inline(always)]
fn begin_delivery(state: &mut Socket, end: u32, now: u64) {
    // SAFETY: two fields of a live reference.
    unsafe {
        (&raw mut state.delivery_seq).write_volatile(end);
        (&raw mut state.delivery_from_ns).write_volatile(now);
    }
}

/// The first send tells whose socket it is: a child's listener may be another process's (systemd's
/// socket activation). What is counted from here on is the sender's, and so is the listener.
#[inline(always)]
fn claim(ctx: &impl EbpfContext, sk: u64, state: &mut Socket) {
    let owner = owner::of_current(ctx, state.group);
    if state.role == weir_ebpf::tcp::Role::Accepted as u8
        && state.slot != owner.owner.slot
        && state.group == 0
    {
        owner::remember_listener(sk, &owner);
    }
    state.slot = owner.owner.slot;
    state.claimed = 1;
}
