//! The thread that writes: commits what waits in groups, syncs once a second, removes what is
//! beyond the bounds, and opens the store anew after a failure of the disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};

use super::{Meta, Store, Write, key, meta};
use crate::chat::config::Fjall;
use crate::chat::hub::report_failure;
use crate::chat::metric::Metrics;

/// Between two syncs of what was written.
const SYNC: Duration = Duration::from_secs(1);
/// Writes committed together at most.
const TOGETHER: usize = 64;

pub(super) struct Writer {
    pub(super) config: Fjall,
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) waiting: Arc<AtomicUsize>,
    /// Of rooms written lately.
    pub(super) metas: HashMap<Box<str>, Meta>,
    /// Items written since the newest sync that went well: a failure may take them along.
    pub(super) unsynced: usize,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started: Instant,
}

impl Writer {
    pub(super) fn run(mut self, writes: &mpsc::Receiver<Write>) {
        let (mut synced, mut dirty) = (Instant::now(), false);
        loop {
            match writes.recv_timeout(SYNC) {
                Ok(first) => {
                    let together: Vec<Write> = std::iter::once(first)
                        .chain(writes.try_iter().take(TOGETHER - 1))
                        .collect();
                    let items: usize = together.iter().map(|write| write.items.len()).sum();
                    match self.write(&together) {
                        Ok(()) => {
                            self.metrics.store(items as u64);
                            self.unsynced += items;
                        }
                        Err(error) => self.fail("append", items, &error),
                    }
                    self.waiting.fetch_sub(items, Ordering::Relaxed);
                    self.metrics.storage_queue.dec_by(items as i64);
                    dirty = true;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if dirty && synced.elapsed() >= SYNC {
                dirty = false;
                self.sync();
                synced = Instant::now();
            }
        }
        self.sync();
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open = None;
    }

    fn sync(&mut self) {
        let Some((database, ..)) = Store::opened(&self.store) else {
            return;
        };
        match database.persist(PersistMode::SyncData) {
            Ok(()) => self.unsynced = 0,
            Err(error) => {
                drop(database);
                self.fail("sync", 0, &error.into());
            }
        }
    }

    /// Counts a failure, and as lost what it may have cost. The store refuses all after one (it cannot
    /// know what the disk did), so it is opened anew at the next write.
    fn fail(&mut self, operation: &'static str, items: usize, error: &anyhow::Error) {
        let lost = items + std::mem::take(&mut self.unsynced);
        self.metrics.storage_lost.inc_by(lost as u64);
        report_failure(
            &self.metrics,
            self.started,
            operation,
            &format!("{error:#}"),
        );
        self.metas.clear();
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open = None;
    }

    fn write(&mut self, writes: &[Write]) -> Result<()> {
        let (database, items, rooms) = {
            let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            if store.open.is_none() {
                store.open()?;
            }
            store.open.clone().context("the log is not open")?
        };
        let mut batch = database.batch();
        for write in writes {
            self.add(&mut batch, &items, &rooms, write)?;
        }
        Ok(batch.commit()?)
    }

    fn add(
        &mut self,
        batch: &mut OwnedWriteBatch,
        items: &Keyspace,
        rooms: &Keyspace,
        write: &Write,
    ) -> Result<()> {
        if !self.metas.contains_key(&write.room) {
            self.make_place(batch, items, rooms, &write.room)?;
            self.metas
                .insert(write.room.clone(), meta(rooms, &write.room)?);
        }
        let Some(meta) = self.metas.get_mut(&write.room) else {
            return Ok(());
        };
        for (rev, item) in (write.first..).zip(&write.items) {
            batch.insert(items, key(&write.room, rev), item.as_ref());
        }
        meta.rev = write.first + write.items.len() as u64 - 1;
        // Twice as fast as items come in, so that a smaller `retain` is reached in the end.
        let surplus = meta
            .rev
            .saturating_sub(self.config.retain)
            .min(meta.removed + 2 * write.items.len() as u64);
        for rev in meta.removed + 1..=surplus {
            batch.remove(items, key(&write.room, rev));
        }
        meta.removed = meta.removed.max(surplus);
        meta.at_s = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_secs());
        meta.tally = write.tally.clone();
        batch.insert(rooms, write.room.as_bytes(), serde_json::to_vec(meta)?);
        Ok(())
    }

    /// Removes the room that was unused for longest if a new one would be too many.
    fn make_place(
        &mut self,
        batch: &mut OwnedWriteBatch,
        items: &Keyspace,
        rooms: &Keyspace,
        new: &str,
    ) -> Result<()> {
        if rooms.contains_key(new)? || rooms.approximate_len() < self.config.max_rooms {
            return Ok(());
        }
        let mut oldest: Option<(u64, String)> = None;
        let mut count = 0;
        for entry in rooms.iter() {
            let (name, value) = entry.into_inner()?;
            let (name, meta): (_, Meta) = (
                String::from_utf8_lossy(&name).into_owned(),
                serde_json::from_slice(&value)?,
            );
            count += 1;
            if oldest.as_ref().is_none_or(|(at_s, _)| meta.at_s < *at_s) {
                oldest = Some((meta.at_s, name));
            }
        }
        if let Some((_, name)) = oldest.filter(|_| count >= self.config.max_rooms) {
            for entry in items.range(key(&name, 0)..=key(&name, u64::MAX)) {
                batch.remove(items, entry.key()?);
            }
            batch.remove(rooms, name.as_bytes());
            self.metas.remove(name.as_str());
        }
        Ok(())
    }
}
