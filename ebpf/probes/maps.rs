//! Every kernel map, and the constants that the agent sets before loading.
//!
//! Sizes here are the least that loads; the agent sets the real ones.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerfEventArray, Queue, RingBuf};
use weir_ebpf::field::{Fields, Settings};
use weir_ebpf::hist::time_bucket;
use weir_ebpf::layout::{
    Bounded, Counts, Listener, ListenerKey, Live, Lost, Owner, OwnerKey, OwnerRecord, Seed, Socket,
    Stats, Thread, Times, Told, shared,
};

/// Where the kernel's fields are.
#[unsafe(no_mangle)]
pub static FIELDS: Fields = Fields::NONE;
/// Constants besides.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings {
    perf: 0,
    coarse_clock: 0,
    peer_groups: 0,
    tcp_sock: 0,
    task: 0,
    retransmit_error: 0,
};

/// Places of `THREADS`; a power of two.
pub const THREADS_LEN: u32 = 1 << 15;

/// Numbers of each owner; index 0 is `other`.
#[map]
pub static STATS: PerCpuArray<Stats> = PerCpuArray::with_max_entries(1, 0);
/// Sums over open sockets of each owner, made by the walk.
#[map]
pub static LIVE: Array<Live> = Array::with_max_entries(1, 0);
/// Places of `STATS` that are free.
#[map]
pub static FREE: Queue<u32> = Queue::with_max_entries(1, 0);
/// Place of each owner.
#[map]
pub static OWNERS: HashMap<OwnerKey, Owner> = HashMap::with_max_entries(1, 0);
/// State of each TCP socket by the address of its `struct sock`.
#[map]
pub static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(1, 0);
/// Sockets from before the start that had no event yet, by cookie.
#[map]
pub static SEEDS: HashMap<u64, Seed> = HashMap::with_max_entries(1, 0);
/// Owners of listening ports. LRU: a listener that is forgotten is learned anew from its child.
#[map]
pub static LISTENERS: LruHashMap<ListenerKey, Listener> = LruHashMap::with_max_entries(4096, 0);
/// Place of each observed process, by process id.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(16384, 0);
/// State of each thread, by thread id modulo the length.
#[map]
pub static THREADS: Array<Thread> = Array::with_max_entries(THREADS_LEN, 0);
/// Peer group of an address (IPv4 as ::ffff:a.b.c.d).
#[map]
pub static PEERS: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 1);
/// What the probes count about themselves.
#[map]
pub static COUNTS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(1, 0);
/// Single numbers; see `shared`.
#[map]
pub static SHARED: Array<u64> = Array::with_max_entries(shared::SHARED, 0);
/// When each place last told of each rare fact.
#[map]
pub static TOLD: Array<Told> = Array::with_max_entries(1, 0);
/// Records, by ring buffer.
#[map]
pub static RING: RingBuf = RingBuf::with_byte_size(4096, 0);
/// Records, by perf buffer.
#[map]
pub static PERF: PerfEventArray<OwnerRecord> = PerfEventArray::new(0);

/// Reads an offset: `field!(snd_una)`. Volatile, since the agent replaces the object's value.
macro_rules! field {
    ($name:ident) => {
        // SAFETY: reads a field of a static.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::FIELDS.$name) }
    };
}

/// Reads a setting: `setting!(perf)`.
macro_rules! setting {
    ($name:ident) => {
        // SAFETY: reads a field of a static.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::SETTINGS.$name) }
    };
}

pub(crate) use {field, setting};

/// Counts a failed insertion.
#[inline(always)]
pub fn refused(map: Bounded) {
    if let Some(counts) = COUNTS.get_ptr_mut(0) {
        // SAFETY: points into the map; the index is one of the array's.
        add(unsafe { &raw mut (*counts).refused[map as usize] }, 1);
    }
}

/// Counts a measurement that cannot be ended.
#[inline(always)]
pub fn lost(fact: Lost) {
    if let Some(counts) = COUNTS.get_ptr_mut(0) {
        // SAFETY: as above.
        add(unsafe { &raw mut (*counts).lost[fact as usize] }, 1);
    }
}

/// Numbers of a place on this CPU.
#[inline(always)]
pub fn stats(slot: u32) -> Option<*mut Stats> {
    STATS.get_ptr_mut(slot)
}

/// Adds to a counter. By the intrinsic, since `core` gives a target without compare-and-swap (BPF
/// before 5.12) no atomic arithmetic, though the add alone is there. Atomic at all, since a program in process context may be interrupted by another
/// program on the same CPU.
#[inline(always)]
pub fn add(counter: *mut u64, n: u64) {
    // SAFETY: callers pass the address of a map's counter, aligned and alive.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, n) };
}

/// Adds a time to a histogram that only one program writes: not atomic, since a program never
/// interrupts itself.
#[inline(always)]
pub fn observe(times: *mut Times, ns: u64) {
    // SAFETY: points into `STATS`; `time_bucket` is below the array's length, which the mask of
    // the check makes plain to the verifier.
    unsafe {
        if let Some(bucket) = (*times).buckets.get_mut(time_bucket(ns)) {
            *bucket += 1;
        }
        (*times).sum_ns += ns;
    }
}

/// Adds a time to a histogram that several programs write.
#[inline(always)]
pub fn observe_shared(times: *mut Times, ns: u64) {
    // SAFETY: as in `observe`.
    unsafe {
        if let Some(bucket) = (*times).buckets.get_mut(time_bucket(ns)) {
            add(bucket, 1);
        }
        add(&raw mut (*times).sum_ns, ns);
    }
}
