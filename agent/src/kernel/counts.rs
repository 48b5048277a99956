//! Reads the kernel maps when asked: what was counted for each owner, and by the probes about
//! themselves.

use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, Queue};
use aya::util::nr_cpus;
use weir_ebpf::change::Facts;
use weir_ebpf::layout::shared::{ASKED, WALKED, WALKED_AT, WALKED_TICKS};
use weir_ebpf::layout::{
    Counts, Listener, ListenerKey, Live, Owner, OwnerKey, Seed, Socket, Stats,
};

/// The maps that the agent reads, and those that it fills while running.
pub struct Maps {
    descriptors: Vec<(&'static str, RawFd)>,
    stats: PerCpuArray<MapData, Stats>,
    live: Array<MapData, Live>,
    owners: HashMap<MapData, OwnerKey, Owner>,
    sockets: HashMap<MapData, u64, Socket>,
    seeds: HashMap<MapData, u64, Seed>,
    listeners: HashMap<MapData, ListenerKey, Listener>,
    processes: HashMap<MapData, u32, u32>,
    counts: PerCpuArray<MapData, Counts>,
    free: Queue<MapData, u32>,
    shared: Array<MapData, u64>,
}

impl Maps {
    /// Takes the maps out of the loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let descriptors = describe(ebpf);
        let mut map = |name: &str| {
            ebpf.take_map(name)
                .with_context(|| format!("the probes' object has no map {name}"))
        };
        Ok(Self {
            descriptors,
            stats: map("STATS")?.try_into()?,
            live: map("LIVE")?.try_into()?,
            owners: map("OWNERS")?.try_into()?,
            sockets: map("SOCKETS")?.try_into()?,
            seeds: map("SEEDS")?.try_into()?,
            listeners: map("LISTENERS")?.try_into()?,
            processes: map("PROCESSES")?.try_into()?,
            counts: map("COUNTS")?.try_into()?,
            free: map("FREE")?.try_into()?,
            shared: map("SHARED")?.try_into()?,
        })
    }

    /// Descriptors of the maps, by the names that metrics use. Valid as long as the probes run.
    pub(super) fn descriptors(&self) -> Vec<(&'static str, RawFd)> {
        self.descriptors.clone()
    }

    /// All owners that have a place.
    pub fn owners(&self) -> Vec<(OwnerKey, Owner)> {
        self.owners.iter().filter_map(Result::ok).collect()
    }

    /// What was counted at a place, over all CPUs. Open sockets' own counters are not in it.
    pub fn stats(&self, slot: u32) -> Result<Box<Stats>, MapError> {
        let values = self.stats.get(&slot, 0)?;
        let mut sum = Box::new(Stats::ZERO);
        for value in values.iter() {
            sum.add(value);
        }
        Ok(sum)
    }

    /// Sums over the open sockets of a place, by the given walk.
    pub fn live(&self, slot: u32, walk: u64) -> Live {
        self.live
            .get(&slot, 0)
            .ok()
            .filter(|live| live.walk == walk)
            .unwrap_or_default()
    }

    /// Marks a place as one that the walk of this number sums up.
    pub(super) fn mark(&mut self, slot: u32, walk: u64) -> Result<(), MapError> {
        let begun = Live {
            walk,
            ..Live::default()
        };
        self.live.set(slot, begun, 0)
    }

    /// Sets of which facts the probes tell.
    pub(super) fn ask(&mut self, facts: Facts) -> Result<(), MapError> {
        self.shared.set(ASKED, facts.0, 0)
    }

    /// What the probes counted about themselves, over all CPUs.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        if let Ok(values) = self.counts.get(&0, 0) {
            values.iter().for_each(|value| sum.add(value));
        }
        sum
    }

    /// Keys of the sockets that are followed; only for kernels that cannot walk by themselves.
    pub(super) fn socket_keys(&self) -> Vec<u64> {
        self.sockets.keys().filter_map(Result::ok).collect()
    }

    /// Cookies of the sockets from before the start that had no event yet.
    pub fn seed_keys(&self) -> Vec<u64> {
        self.seeds.keys().filter_map(Result::ok).collect()
    }

    /// Processes whose threads are observed.
    pub fn processes(&self) -> Vec<u32> {
        self.processes.keys().filter_map(Result::ok).collect()
    }

    /// Observes a process no longer.
    pub fn forget_process(&mut self, tgid: u32) {
        let _ = self.processes.remove(&tgid);
    }

    /// Monotonic clock in nanoseconds and tick count, taken together by the last walk.
    pub fn clocks(&self) -> (u64, u64) {
        let read = |index| self.shared.get(&index, 0).unwrap_or_default();
        (read(WALKED_AT), read(WALKED_TICKS))
    }

    /// Number of sockets that the last walk visited.
    pub(super) fn walked(&self) -> usize {
        usize::try_from(self.shared.get(&WALKED, 0).unwrap_or_default()).unwrap_or(usize::MAX)
    }

    /// Adds a socket from before the start.
    pub fn add_seed(&mut self, cookie: u64, seed: &Seed) -> Result<(), MapError> {
        self.seeds.insert(cookie, seed, 0)
    }

    /// Removes one that is gone.
    pub fn remove_seed(&mut self, cookie: u64) {
        // Not there is as good: it had an event in between.
        let _ = self.seeds.remove(&cookie);
    }

    /// Adds a listener from before the start, unless the probes know a newer one.
    pub fn add_listener(&mut self, key: ListenerKey, listener: &Listener) -> Result<(), MapError> {
        const NOEXIST: u64 = 1;
        self.listeners.insert(key, listener, NOEXIST)
    }

    /// Lets the scheduler's probes see a process.
    pub fn observe(&mut self, tgid: u32, slot: u32) -> Result<(), MapError> {
        self.processes.insert(tgid, slot, 0)
    }

    /// The place of an owner; takes a free one for a new owner, and 0 if there is none. The kernel
    /// does the same, and whoever comes second uses what the first one found.
    pub fn place(&mut self, key: &OwnerKey, tgid: u32, start_ns: u64) -> u32 {
        const NOEXIST: u64 = 1;
        if let Ok(owner) = self.owners.get(key, 0) {
            return owner.slot;
        }
        let Ok(slot) = self.free.pop(0) else { return 0 };
        let owner = Owner {
            start_ns,
            tgid,
            slot,
        };
        if self.owners.insert(key, owner, NOEXIST).is_ok() {
            return slot;
        }
        self.give_back(slot);
        self.owners.get(key, 0).map_or(0, |owner| owner.slot)
    }

    /// First half of taking places back: nobody new can come to them. One pass for all of them,
    /// since a look at every entry takes a system call each.
    pub fn close_places(&mut self, places: &std::collections::HashMap<u32, OwnerKey>) {
        if places.is_empty() {
            return;
        }
        for key in places.values() {
            let _ = self.owners.remove(key);
        }
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, listener)| places.contains_key(&listener.owner.slot))
            .map(|(key, _)| key)
            .collect();
        for key in listeners {
            let _ = self.listeners.remove(&key);
        }
        let processes: Vec<_> = self
            .processes
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, slot)| places.contains_key(slot))
            .map(|(tgid, _)| tgid)
            .collect();
        for tgid in processes {
            let _ = self.processes.remove(&tgid);
        }
    }

    /// Second half: wipes the place and hands it out again.
    pub fn free_place(&mut self, slot: u32) -> Result<()> {
        let cpus = nr_cpus().map_err(|(path, why)| anyhow::anyhow!("{path}: {why}"))?;
        let zero = PerCpuValues::try_from(vec![Stats::ZERO; cpus])?;
        self.stats.set(slot, zero, 0)?;
        self.live.set(slot, Live::default(), 0)?;
        self.give_back(slot);
        Ok(())
    }

    fn give_back(&mut self, slot: u32) {
        // The queue has room for every place there is.
        let _ = self.free.push(slot, 0);
    }
}

/// The kernel's names of the maps, and those in metrics.
const NAMES: [(&str, &str); 14] = [
    ("STATS", "stats"),
    ("LIVE", "live"),
    ("FREE", "free"),
    ("OWNERS", "owners"),
    ("SOCKETS", "sockets"),
    ("SEEDS", "seeds"),
    ("LISTENERS", "listeners"),
    ("PROCESSES", "processes"),
    ("THREADS", "threads"),
    ("PEERS", "peers"),
    ("COUNTS", "counts"),
    ("TOLD", "told"),
    ("RING", "ring"),
    ("PERF", "perf"),
];

fn describe(ebpf: &Ebpf) -> Vec<(&'static str, RawFd)> {
    let describe = |(kernel, name): (&str, &'static str)| {
        let fd = match ebpf.map(kernel)? {
            Map::Array(data)
            | Map::HashMap(data)
            | Map::LpmTrie(data)
            | Map::LruHashMap(data)
            | Map::PerCpuArray(data)
            | Map::PerfEventArray(data)
            | Map::Queue(data)
            | Map::RingBuf(data) => data.fd().as_fd().as_raw_fd(),
            _ => return None,
        };
        Some((name, fd))
    };
    NAMES.into_iter().filter_map(describe).collect()
}
