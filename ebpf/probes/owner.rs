//! Who does something: finds the place of the current process, or of a listener's child.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{BPF_F_CURRENT_CPU, BPF_NOEXIST, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_log_ebpf::debug;
use weir_ebpf::layout::{
    Bounded, COMM, Header, Listener, ListenerKey, Owner, OwnerKey, OwnerRecord, RecordKind,
};

use crate::ctx::{current_cgroup, current_ids, current_task, now, read};
use crate::maps::{
    COUNTS, FREE, LISTENERS, OWNERS, PERF, PROCESSES, RING, SHARED, add, field, refused, setting,
};

/// At most one wake-up of the reader in this time; it looks again by itself until it finds nothing.
const WAKE_EVERY_NS: u64 = 10_000_000;

/// The current process as an owner, and its place. Also makes its threads observed.
#[inline(always)]
pub fn of_current(ctx: &impl EbpfContext, group: u8) -> Listener {
    let leader: u64 = read(current_task(), field!(task_leader));
    let (tgid, _) = current_ids();
    let mut found = Listener {
        key: OwnerKey {
            cgroup: current_cgroup(),
            comm: read::<[u8; COMM]>(leader, field!(task_comm)),
            group: 0,
        },
        owner: Owner {
            start_ns: read(leader, field!(task_start)),
            tgid,
            slot: 0,
        },
    };
    found.owner.slot = place(ctx, &found.key, &found.owner);
    observe_process(tgid, found.owner.slot);
    if group != 0 {
        found.key.group = u64::from(group);
        found.owner.slot = place(ctx, &found.key, &found.owner);
    }
    found
}

/// Place of a known owner towards another peer group.
#[inline(always)]
pub fn towards(ctx: &impl EbpfContext, owner: &Listener, group: u8) -> u32 {
    if group == 0 {
        return owner.owner.slot;
    }
    let mut key = owner.key;
    key.group = u64::from(group);
    place(ctx, &key, &owner.owner)
}

/// Key of the listener whose port a socket has.
#[inline(always)]
pub fn listener_key(sk: u64) -> ListenerKey {
    let net: u64 = read(sk, field!(sk_net));
    ListenerKey {
        netns: read(net, field!(net_inum)),
        port: u32::from(read::<u16>(sk, field!(sk_num))),
    }
}

/// Remembers who listens.
#[inline(always)]
pub fn remember_listener(sk: u64, listener: &Listener) {
    if LISTENERS.insert(listener_key(sk), listener, 0).is_err() {
        refused(Bounded::Listeners);
    }
}

/// The owner's place in `STATS`; takes a free one for a new owner, and 0 (`other`) if none is.
#[inline(always)]
fn place(ctx: &impl EbpfContext, key: &OwnerKey, first: &Owner) -> u32 {
    // SAFETY: the reference is read before any other call.
    if let Some(owner) = unsafe { OWNERS.get(key) } {
        return owner.slot;
    }
    take_place(ctx, key, first)
}

/// A function of its own for its stack, which of a BPF program is 512 bytes.
#[inline(never)]
fn take_place(ctx: &impl EbpfContext, key: &OwnerKey, first: &Owner) -> u32 {
    let Ok(Some(slot)) = FREE.pop() else {
        refused(Bounded::Owners);
        return 0;
    };
    let owner = Owner { slot, ..*first };
    if OWNERS.insert(key, owner, u64::from(BPF_NOEXIST)).is_err() {
        // Another CPU was faster, or the map is full; either way the place is free again.
        let _ = FREE.push(slot, 0);
        // SAFETY: as above.
        if let Some(owner) = unsafe { OWNERS.get(key) } {
            return owner.slot;
        }
        refused(Bounded::Owners);
        return 0;
    }
    send(ctx, key, owner);
    slot
}

/// Lets the scheduler's probes see the threads of a process.
#[inline(always)]
fn observe_process(tgid: u32, slot: u32) {
    // SAFETY: the reference is read before any other call.
    if unsafe { PROCESSES.get(tgid) } == Some(&slot) {
        return;
    }
    if PROCESSES.insert(tgid, slot, 0).is_err() {
        refused(Bounded::Processes);
        return;
    }
    if let Some(generation) = SHARED.get_ptr_mut(1) {
        add(generation, 1);
    }
}

/// Tells the agent of a new owner, so that it can be named while its process is there. Nothing
/// depends on the record's arrival: the agent also finds new owners in the map.
#[inline(always)]
fn send(ctx: &impl EbpfContext, key: &OwnerKey, owner: Owner) {
    let at_ns = now();
    let record = OwnerRecord {
        header: Header {
            at_ns,
            kind: RecordKind::Owner as u32,
            len: size_of::<OwnerRecord>() as u32,
        },
        key: *key,
        owner,
    };
    let sent = if setting!(perf) == 1 {
        output_perf(ctx, &record)
    } else {
        RING.output::<OwnerRecord>(&record, u64::from(wake_flag(at_ns)))
            .is_ok()
    };
    debug!(
        ctx,
        "owner {} pid {} sent {}",
        owner.slot,
        owner.tgid,
        u32::from(sent)
    );
    if let Some(counts) = COUNTS.get_ptr_mut(0) {
        let kind = RecordKind::Owner as usize;
        // SAFETY: points into the map; the index is one of the arrays'.
        let count = unsafe {
            if sent {
                &raw mut (*counts).records_sent[kind]
            } else {
                &raw mut (*counts).records_lost[kind]
            }
        };
        add(count, 1);
    }
}

/// The perf buffer's own output call hides its error, so call the helper itself.
#[inline(always)]
fn output_perf(ctx: &impl EbpfContext, record: &OwnerRecord) -> bool {
    // SAFETY: a map, and a record of the given length.
    unsafe {
        aya_ebpf::helpers::generated::bpf_perf_event_output(
            ctx.as_ptr(),
            (&raw const PERF).cast_mut().cast(),
            BPF_F_CURRENT_CPU,
            (&raw const *record).cast_mut().cast(),
            size_of::<OwnerRecord>() as u64,
        ) == 0
    }
}

/// Wakes the reader at most once in `WAKE_EVERY_NS`: one wake-up costs as much as fifty records.
#[inline(always)]
fn wake_flag(now: u64) -> u32 {
    let Some(last) = SHARED.get_ptr_mut(0) else {
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
