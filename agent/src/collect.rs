//! Brings together what the kernel counted and whose it is: the [`Source`] of all metrics.
//!
//! Nothing is kept per event. When asked, it reads the kernel's maps, adds up the places of each
//! service, and hands out a snapshot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{debug, warn};
use weir_ebpf::change::Facts;
use weir_ebpf::layout::{OwnerKey, Stats};

use crate::alert::measure::Alerts;
use crate::config::{Labels, Limits};
use crate::event::{Event, Place};
use crate::kernel::Kernel;
use crate::metrics::{ExportCounts, Family, Snapshot, Source};
use crate::service::Resolver;

mod change;
mod clock;
mod name;
mod own;
mod reclaim;
mod seed;
mod sum;

use name::Names;
use sum::Sums;

/// What the tasks of the agent count about themselves.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records that could not be decoded.
    pub malformed: AtomicU64,
    /// Age of the oldest record at the last look, nanoseconds.
    pub lag_ns: AtomicU64,
    /// Reloads of the configuration that were applied.
    pub reloads: AtomicU64,
    /// Reloads that were refused.
    pub reloads_refused: AtomicU64,
    /// Share of one core that the kernel programs take, in millionths.
    pub overhead_ppm: AtomicU64,
    /// How many probes are shed.
    pub shed: AtomicU64,
}

/// Reads and attributes. Shared by the exporters and the tasks.
pub struct Collector {
    inner: Mutex<Inner>,
    /// Raised by the agent's tasks.
    pub counts: Counts,
    /// Raised by the exporters.
    pub exports: Arc<ExportCounts>,
    /// Raised by alerting; empty without rules.
    pub alerts: OnceLock<Arc<Alerts>>,
    start_unix_ns: u64,
}

struct Inner {
    kernel: Kernel,
    names: Names,
    sums: Sums,
    reclaim: reclaim::Reclaim,
    tick: clock::Tick,
    followed: usize,
    walks: change::Throttle,
    /// What was asked for and no probe tells of.
    untold: Facts,
}

impl Collector {
    /// Takes over the loaded probes.
    pub fn new(
        kernel: Kernel,
        resolver: Resolver,
        labels: &Labels,
        limits: &Limits,
        groups: Vec<String>,
    ) -> Self {
        let inner = Inner {
            names: Names::new(resolver, labels.clone(), limits, groups),
            kernel,
            sums: Sums::default(),
            reclaim: reclaim::Reclaim::default(),
            tick: clock::Tick::default(),
            followed: 0,
            walks: change::Throttle::default(),
            untold: Facts::NONE,
        };
        Self {
            inner: Mutex::new(inner),
            counts: Counts::default(),
            exports: Arc::default(),
            alerts: OnceLock::new(),
            start_unix_ns: unix_ns(),
        }
    }

    /// A task that panicked must not take the agent down; what it held is plain numbers.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends the probes out.
    pub fn with_kernel<T>(&self, work: impl FnOnce(&mut Kernel) -> T) -> T {
        work(&mut self.lock().kernel)
    }

    /// Run time of all running kernel programs so far, and the agent's resident memory: what the
    /// overhead budget is about. Nanoseconds and bytes.
    pub fn cost(&self) -> (u64, u64) {
        let inner = self.lock();
        let resolver = &inner.names.resolver;
        let run_ns = inner
            .kernel
            .programs()
            .iter()
            .map(|(_, fd)| resolver.kernel_object(*fd).run_ns)
            .sum();
        (run_ns, resolver.own_usage().rss_bytes)
    }

    /// When counting began, in milliseconds since 1970.
    pub fn start_ms(&self) -> i64 {
        i64::try_from(self.start_unix_ns / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Applies an event.
    pub fn apply(&self, event: &Event) {
        match event {
            Event::Owner { key, owner, .. } => self.lock().names.learn(key, *owner),
            // Counted; who wants to know the count asks for it.
            Event::Change { .. } => {}
        }
    }

    /// Takes over the sockets that were open before the probes. Returns how many.
    pub fn seed(&self) -> usize {
        let mut inner = self.lock();
        let Inner {
            kernel,
            names,
            tick,
            ..
        } = &mut *inner;
        let seeded = seed::seed(kernel, names, tick);
        debug!(sockets = seeded, "took over open sockets");
        seeded
    }

    /// Takes places back whose owners are gone.
    pub fn reclaim(&self) {
        let mut inner = self.lock();
        let Inner {
            kernel,
            names,
            reclaim,
            sums,
            ..
        } = &mut *inner;
        reclaim.step(kernel, names, sums);
    }

    /// Labels and limits may change while running.
    pub fn reconfigure(&self, labels: &Labels, limits: &Limits) {
        let mut inner = self.lock();
        let became = inner.names.reconfigure(labels.clone(), limits);
        inner.sums.rename(&became);
    }
}

impl Inner {
    /// Reads every place that is in use, finished connections first: one that closes between the
    /// two readings is missing once, never counted twice.
    fn read(&mut self) {
        let owners = self.kernel.maps().owners();
        for (key, owner) in &owners {
            self.names.learn(key, Place::from(*owner));
        }
        self.sums.begin();
        // Those on their way out are no owners' any more, but still counted.
        let slots: Vec<u32> = std::iter::once(0)
            .chain(self.names.places().map(|(slot, _)| slot))
            .collect();
        let mut counted: HashMap<u32, Box<Stats>> = HashMap::with_capacity(slots.len());
        for slot in &slots {
            match self.kernel.maps().stats(*slot) {
                Ok(stats) => {
                    counted.insert(*slot, stats);
                }
                Err(why) => warn!(slot, %why, "cannot read the kernel map STATS"),
            }
        }
        let walk = match self.kernel.walk(false) {
            Ok((walk, followed)) => {
                self.followed = followed;
                walk
            }
            Err(why) => {
                warn!("open sockets are not counted: {why:#}");
                0
            }
        };
        let (at_ns, ticks) = self.kernel.maps().clocks();
        self.tick.learn(at_ns, ticks);
        for (slot, stats) in counted {
            let live = self.kernel.maps().live(slot, walk);
            self.sums.add(self.names.subject(slot), &stats, &live);
        }
    }
}

impl Source for Collector {
    fn snapshot(&self) -> Snapshot {
        let mut inner = self.lock();
        inner.read();
        let tick = inner.tick.seconds();
        let mut families = inner.sums.families(tick);
        families.extend(own::families(self, &mut inner));
        let mut snapshot = Snapshot {
            start_unix_ns: self.start_unix_ns,
            at_unix_ns: unix_ns(),
            families,
        };
        let points = snapshot.points() as u64 + 1;
        snapshot.families.push(own::series(points));
        order(&mut snapshot.families);
        snapshot
    }
}

/// In the order of the table, whatever made them.
fn order(families: &mut [Family]) {
    let place: HashMap<&str, usize> = crate::metrics::ALL
        .iter()
        .enumerate()
        .map(|(place, metric)| (metric.name, place))
        .collect();
    families.sort_by_key(|family| place.get(family.metric.name).copied());
}

fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Text of an owner's command, for logs.
fn command(key: &OwnerKey) -> String {
    crate::event::comm_text(&key.comm)
}

/// Reads one of the counts above.
fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
