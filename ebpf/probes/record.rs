//! Records to the agent, by ring or perf buffer: sent or refused, they are counted.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_CURRENT_CPU, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use weir_ebpf::change::{Fact, Facts, is_due};
use weir_ebpf::layout::shared::{ASKED, WOKEN};
use weir_ebpf::layout::{ChangeRecord, Header, RecordKind};

use crate::ctx::now;
use crate::maps::{COUNTS, PERF, RING, SHARED, TOLD, add, setting};

/// At most one wake-up of the reader in this time; it looks again by itself until it finds nothing.
const WAKE_EVERY_NS: u64 = 10_000_000;

/// What a record of type `T` begins with.
#[inline(always)]
pub fn header<T>(kind: RecordKind, at_ns: u64) -> Header {
    Header {
        at_ns,
        kind: kind as u32,
        len: size_of::<T>() as u32,
    }
}

/// Hands a record over; says whether there was room for it.
#[inline(always)]
pub fn send<T: 'static>(ctx: &impl EbpfContext, kind: RecordKind, at_ns: u64, record: &T) -> bool {
    let sent = if setting!(perf) == 1 {
        output_perf(ctx, record)
    } else {
        RING.output::<T>(record, u64::from(wake_flag(at_ns)))
            .is_ok()
    };
    if let Some(counts) = COUNTS.get_ptr_mut(0) {
        // SAFETY: points into the map; the index is one of the arrays'.
        let count = unsafe {
            if sent {
                &raw mut (*counts).records_sent[kind as usize]
            } else {
                &raw mut (*counts).records_lost[kind as usize]
            }
        };
        add(count, 1);
    }
    sent
}

/// Tells the agent that a rare fact was counted at a place, if it asked for that fact. To be called
/// after the counting: who hears of it reads the counters.
#[inline(always)]
pub fn tell(ctx: &impl EbpfContext, slot: u32, fact: Fact) {
    let Some(asked) = SHARED.get_ptr(ASKED) else {
        return;
    };
    // SAFETY: points into the map; the agent may write it at any time.
    if Facts(unsafe { asked.read_volatile() }).has(fact) {
        tell_asked(ctx, slot, fact as u32);
    }
}

/// A function of its own: rare, and kept off the stack of the many.
#[inline(never)]
fn tell_asked(ctx: &impl EbpfContext, slot: u32, fact: u32) {
    let at_ns = now();
    let Some(told) = TOLD.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: points into the map; `get_mut` keeps the index inside, which the verifier sees. Two
    // CPUs at once may both tell, which is harmless.
    unsafe {
        let Some(last) = (*told).at_ns.get_mut(fact as usize) else {
            return;
        };
        let last = &raw mut *last;
        if !is_due(last.read_volatile(), at_ns) {
            return;
        }
        last.write_volatile(at_ns);
    }
    let record = ChangeRecord {
        header: header::<ChangeRecord>(RecordKind::Change, at_ns),
        slot,
        fact,
    };
    send(ctx, RecordKind::Change, at_ns, &record);
}

/// The perf buffer's own output call hides its error, so call the helper itself.
#[inline(always)]
fn output_perf<T>(ctx: &impl EbpfContext, record: &T) -> bool {
    // SAFETY: a map, and a record of the given length.
    unsafe {
        aya_ebpf::helpers::generated::bpf_perf_event_output(
            ctx.as_ptr(),
            (&raw const PERF).cast_mut().cast(),
            BPF_F_CURRENT_CPU,
            (&raw const *record).cast_mut().cast(),
            size_of::<T>() as u64,
        ) == 0
    }
}

/// Wakes the reader at most once in `WAKE_EVERY_NS`: one wake-up costs as much as fifty records.
#[inline(always)]
fn wake_flag(now: u64) -> u32 {
    let Some(last) = SHARED.get_ptr_mut(WOKEN) else {
        return BPF_RB_FORCE_WAKEUP;
    };
    // SAFETY: points into the map. Two CPUs at once may both wake, which is harmless.
    unsafe {
        if now.wrapping_sub(last.read_volatile()) < WAKE_EVERY_NS {
            return BPF_RB_NO_WAKEUP;
        }
        last.write_volatile(now);
    }
    BPF_RB_FORCE_WAKEUP
}
