//! Who does something: finds the place of the current process, or of a listener's child.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_log_ebpf::debug;
use weir_ebpf::layout::shared::OBSERVED;
use weir_ebpf::layout::{
    Bounded, COMM, Listener, ListenerKey, Owner, OwnerKey, OwnerRecord, RecordKind,
};

use crate::ctx::{current_cgroup, current_ids, current_task, now, read};
use crate::maps::{FREE, LISTENERS, OWNERS, PROCESSES, SHARED, add, field, refused};
use crate::record;

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
    if let Some(generation) = SHARED.get_ptr_mut(OBSERVED) {
        add(generation, 1);
    }
}

/// Tells the agent of a new owner, so that it can be named while its process is there. Nothing
/// depends on the record's arrival: the agent also finds new owners in the map.
#[inline(always)]
fn send(ctx: &impl EbpfContext, key: &OwnerKey, owner: Owner) {
    let at_ns = now();
    let record = OwnerRecord {
        header: record::header::<OwnerRecord>(RecordKind::Owner, at_ns),
        key: *key,
        owner,
    };
    let sent = record::send(ctx, RecordKind::Owner, at_ns, &record);
    debug!(
        ctx,
        "owner {} pid {} sent {}",
        owner.slot,
        owner.tgid,
        u32::from(sent)
    );
}
