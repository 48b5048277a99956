//! Arena processes and the rooms in them: which run, in which state, and which match is where.
//!
//! | state | means |
//! | --- | --- |
//! | Starting | spawned, not yet ready |
//! | Ready | takes matches, has none |
//! | Allocated | has matches |
//! | Unhealthy | gave no beat for too long, or never got ready: is being killed |
//! | Shutdown | told to stop |

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelValue;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::book::{EndReason, MatchId};
use super::config::{Arenas, ms};
use super::metrics::{ArenaState, Metrics};
use super::pipe::Order;

pub(crate) mod child;

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, EncodeLabelValue)]
pub(crate) enum State {
    /// Spawned, not yet ready.
    Starting,
    /// Takes matches, has none.
    Ready,
    /// Has matches.
    Allocated,
    /// Is being killed.
    Unhealthy,
    /// Told to stop.
    Shutdown,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Exit {
    /// As it was told.
    Stopped,
    /// By itself, or by somebody else's signal.
    Crashed,
    /// Killed for lack of beats.
    Unhealthy,
    /// Never ready.
    NotStarted,
}

/// A match is over, from the side of its arena.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which match.
    pub(crate) id: MatchId,
    /// Why.
    pub(crate) reason: EndReason,
    /// Slot, place and score of those who played.
    pub(crate) standings: Vec<(u8, u32, i32)>,
}

/// Why a match was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOpened {
    /// No process has a free room.
    #[error("no free room")]
    Full,
    /// The process said so, died or did not answer.
    #[error("the arena refused, died or did not answer")]
    Failed,
}

/// All arena processes.
pub(crate) struct Fleet {
    config: Arenas,
    metrics: Metrics,
    /// Which match is over: children → director.
    ended: mpsc::Sender<Ended>,
    slots: Mutex<BTreeMap<usize, Slot>>,
    /// Wakes [`run`] to look whether another process is wanted.
    grow: Notify,
}

/// One process. A slot stays while its process is restarted.
struct Slot {
    state: State,
    pid: Option<u32>,
    connection: String,
    http: String,
    orders: Option<mpsc::Sender<Order>>,
    rooms: HashMap<MatchId, Room>,
    idle_since: Instant,
    restarts: u64,
}

struct Room {
    /// Taken once the arena has answered.
    opened: Option<oneshot::Sender<bool>>,
    since: Instant,
}

/// A process as `/arenas` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct View {
    slot: usize,
    state: State,
    pid: Option<u32>,
    connection: String,
    http: String,
    matches: usize,
    restarts: u64,
}

impl Fleet {
    /// Without processes until [`run`].
    pub(crate) fn new(config: Arenas, metrics: Metrics, ended: mpsc::Sender<Ended>) -> Self {
        Self {
            config,
            metrics,
            ended,
            slots: Mutex::default(),
            grow: Notify::new(),
        }
    }

    /// Whether it can have processes at all.
    pub(crate) fn exists(&self) -> bool {
        self.config.processes_max > 0
    }

    /// Matches that could be opened now.
    pub(crate) fn free_rooms(&self) -> usize {
        let slots = self.slots();
        let free = slots.values().filter(|slot| slot.takes_matches());
        free.map(|slot| self.config.rooms.saturating_sub(slot.rooms.len()))
            .sum()
    }

    /// Processes that take matches.
    pub(crate) fn healthy(&self) -> usize {
        self.slots()
            .values()
            .filter(|slot| slot.takes_matches())
            .count()
    }

    /// Until all processes that always run take matches.
    pub(crate) async fn wait_healthy(&self) {
        while self.healthy() < self.config.processes {
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts another process if one is allowed.
    pub(crate) fn grow(&self) {
        self.grow.notify_one();
    }

    /// For `/arenas`.
    pub(crate) fn views(&self) -> Vec<View> {
        let slots = self.slots();
        let view = |(number, slot): (&usize, &Slot)| View {
            slot: *number,
            state: slot.state,
            pid: slot.pid,
            connection: slot.connection.clone(),
            http: slot.http.clone(),
            matches: slot.rooms.len(),
            restarts: slot.restarts,
        };
        slots.iter().map(view).collect()
    }

    /// Opens a match in the process that has the fewest; returns where to connect.
    pub(crate) async fn open(
        &self,
        id: MatchId,
        name: String,
        tokens: Vec<String>,
    ) -> Result<String, NotOpened> {
        let began = Instant::now();
        let (number, connection, opened) = self.place(id, name, tokens)?;
        let answer = time::timeout(ms(self.config.open_timeout_ms), opened).await;
        if let Ok(Ok(true)) = answer {
            self.metrics
                .allocation
                .observe(began.elapsed().as_secs_f64());
            return Ok(connection);
        }
        self.metrics.allocations_failed.inc();
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(&number)
            && slot.rooms.remove(&id).is_some()
            && answer.is_err()
        {
            // It may have opened the room and only the answer is late: nobody will ever come there.
            self.metrics.allocations_dangling.inc();
            slot.order(Order::Close { id });
        }
        self.show_states(&slots);
        Err(NotOpened::Failed)
    }

    /// Whether some process has this match.
    pub(crate) fn hosts(&self, id: MatchId) -> bool {
        self.slots()
            .values()
            .any(|slot| slot.rooms.contains_key(&id))
    }

    fn place(
        &self,
        id: MatchId,
        name: String,
        tokens: Vec<String>,
    ) -> Result<(usize, String, oneshot::Receiver<bool>), NotOpened> {
        let mut slots = self.slots();
        let free = slots
            .iter_mut()
            .filter(|(_, slot)| slot.takes_matches() && slot.rooms.len() < self.config.rooms);
        let (number, slot) = free
            .min_by_key(|(_, slot)| slot.rooms.len())
            .ok_or(NotOpened::Full)?;
        if !slot.order(Order::Open { id, name, tokens }) {
            self.metrics.allocations_failed.inc();
            return Err(NotOpened::Failed);
        }
        let (sender, opened) = oneshot::channel();
        slot.rooms.insert(
            id,
            Room {
                opened: Some(sender),
                since: Instant::now(),
            },
        );
        slot.state = State::Allocated;
        let placed = (*number, slot.connection.clone(), opened);
        self.show_states(&slots);
        Ok(placed)
    }

    /// Changes a slot, then its state by whether it has rooms, then the metrics.
    fn update<T>(&self, number: usize, update: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&number)?;
        let before = slot.rooms.len();
        let updated = update(slot);
        if slot.takes_matches() {
            slot.state = if slot.rooms.is_empty() {
                State::Ready
            } else {
                State::Allocated
            };
        }
        if before > 0 && slot.rooms.is_empty() {
            slot.idle_since = Instant::now();
        }
        self.show_states(&slots);
        Some(updated)
    }

    fn show_states(&self, slots: &BTreeMap<usize, Slot>) {
        for state in [
            State::Starting,
            State::Ready,
            State::Allocated,
            State::Unhealthy,
            State::Shutdown,
        ] {
            let count = slots.values().filter(|slot| slot.state == state).count();
            self.metrics
                .arenas
                .get_or_create(&ArenaState { state })
                .set(count as i64);
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<usize, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest free slot, taken, if another process is allowed and none is on its way.
    fn take_slot(&self, limit: usize) -> Option<usize> {
        let mut slots = self.slots();
        if slots.values().any(|slot| slot.state == State::Starting)
            && slots.len() >= self.config.processes
        {
            return None;
        }
        let number = (0..limit).find(|number| !slots.contains_key(number))?;
        slots.insert(number, Slot::new());
        self.show_states(&slots);
        Some(number)
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            state: State::Starting,
            pid: None,
            connection: String::new(),
            http: String::new(),
            orders: None,
            rooms: HashMap::new(),
            idle_since: Instant::now(),
            restarts: 0,
        }
    }

    fn takes_matches(&self) -> bool {
        matches!(self.state, State::Ready | State::Allocated)
    }

    /// Whether the order is on its way; a process that takes none is found by its missing beats.
    fn order(&self, order: Order) -> bool {
        self.orders
            .as_ref()
            .is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

/// Runs the processes until `stop`, then ends them all.
pub(crate) async fn run(fleet: Arc<Fleet>, stop: CancellationToken) {
    let children = tokio_util::task::TaskTracker::new();
    while let Some(number) = fleet.take_slot(fleet.config.processes) {
        children.spawn(child::keep(Arc::clone(&fleet), number, true, stop.clone()));
    }
    while stop
        .run_until_cancelled(fleet.grow.notified())
        .await
        .is_some()
    {
        if let Some(number) = fleet.take_slot(fleet.config.processes_max) {
            tracing::info!(
                slot = number,
                "starting another arena, the others are nearly full"
            );
            children.spawn(child::keep(Arc::clone(&fleet), number, false, stop.clone()));
        }
        // What started just now has not taken its share yet.
        time::sleep(Duration::from_millis(100)).await;
    }
    children.close();
    children.wait().await;
}
