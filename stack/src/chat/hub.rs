//! All rooms, and what they share. A room is opened by its first visitor and leaves memory when it
//! was empty and idle for long enough.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use thiserror::Error;
use tokio::sync::OnceCell;
use tracing::{Instrument as _, info_span, warn};

use super::audit::Auditor;
use super::batch;
use super::config::Config;
use super::lane::Lanes;
use super::log::Log;
use super::metric::Metrics;
use super::room::Room;

/// What every room uses.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auditor: Auditor,
    pub(crate) lanes: Lanes,
    pub(crate) log: Box<dyn Log>,
    pub(crate) started: Instant,
}

impl Shared {
    /// Seconds since the start.
    pub(crate) fn now_s(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }
}

/// Why there is no room.
#[derive(Debug, Error)]
pub(crate) enum NoRoom {
    #[error("there are as many rooms as [chat] max_rooms allows")]
    TooMany,
    #[error("the log does not open the room: {0:#}")]
    Log(anyhow::Error),
}

type Slot = Arc<OnceCell<Arc<Room>>>;

/// All rooms.
pub(crate) struct Hub {
    pub(crate) shared: Arc<Shared>,
    rooms: Mutex<HashMap<Box<str>, Slot>>,
    numbers: AtomicU64,
    /// Connections that are or will be upgraded.
    pub(crate) upgraded: AtomicUsize,
}

impl Hub {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            rooms: Mutex::default(),
            numbers: AtomicU64::new(1),
            upgraded: AtomicUsize::new(0),
        })
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Box<str>, Slot>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room with this name, opened if need be.
    pub(crate) async fn room(&self, name: &str) -> Result<Arc<Room>, NoRoom> {
        let slot = {
            let mut rooms = self.rooms();
            match rooms.get(name) {
                Some(slot) => Arc::clone(slot),
                None if rooms.len() >= self.shared.config.max_rooms => return Err(NoRoom::TooMany),
                None => Arc::clone(rooms.entry(name.into()).or_default()),
            }
        };
        let open = || async {
            let opening = self.shared.log.open(name, self.shared.config.recent_items);
            let opened = opening
                .instrument(info_span!(target: crate::log::SPAN, "open", room = name))
                .await?;
            let number = self
                .numbers
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let room = Arc::new(Room::new(number, name, opened, Arc::clone(&self.shared)));
            self.shared.log.follow(&room);
            Ok(room)
        };
        let room = slot
            .get_or_try_init(open)
            .await
            .map_err(|error: anyhow::Error| {
                self.shared.metrics.storage_fail("open");
                NoRoom::Log(error)
            })?;
        Ok(Arc::clone(room))
    }

    /// Sends changed sums and forgets idle rooms, until the service ends.
    pub(crate) async fn keep_house(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(self.shared.config.tally_ms));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let idle = Duration::from_secs(self.shared.config.room_idle_s);
        loop {
            ticks.tick().await;
            let mut changed = Vec::new();
            {
                let mut rooms = self.rooms();
                rooms.retain(|_, slot| match slot.get() {
                    // Only the map holds the slot, and only the slot the room: nobody is in it.
                    Some(room) => {
                        Arc::strong_count(slot) > 1
                            || Arc::strong_count(room) > 1
                            || room.idle().is_none_or(|since| since < idle)
                    }
                    None => Arc::strong_count(slot) > 1,
                });
                changed.extend(
                    rooms
                        .values()
                        .filter_map(|slot| slot.get())
                        .filter_map(|room| Some((room.number, room.changed_tally()?))),
                );
                self.shared.metrics.rooms.set(rooms.len() as i64);
            }
            for (room, tally) in changed {
                self.shared
                    .lanes
                    .send(room, 0, batch::tally(tally), Instant::now())
                    .await;
            }
        }
    }
}

/// Says that the log failed: counts it, and logs at most one line in ten seconds.
pub(crate) fn report_failure(
    metrics: &Metrics,
    started: Instant,
    operation: &'static str,
    error: &dyn std::fmt::Display,
) {
    use std::sync::atomic::Ordering;
    const INTERVAL_MS: u64 = 10_000;
    metrics.storage_fail(operation);
    // What succeeds again all by itself says so there; the rest is counted only.
    if matches!(operation, "append" | "read_new") {
        metrics
            .health
            .fail(operation, format_args!("the log fails: {error}"));
    }
    let now = started.elapsed().as_millis() as u64 + INTERVAL_MS;
    let last = metrics.storage_logged_ms.load(Ordering::Relaxed);
    if now >= last + INTERVAL_MS
        && metrics
            .storage_logged_ms
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        warn!(operation, %error, "the log fails");
    }
}
