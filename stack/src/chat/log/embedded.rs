//! The default log: fjall, an embedded store, for one process. Items are delivered at once and
//! written behind by one thread; a disk that fails or is slow costs history, never the broadcast.
//!
//! Two keyspaces: `items` (room, 0, revision as 8 bytes big-endian) and `rooms` (room to its
//! [`Meta`] as JSON).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use serde::{Deserialize, Serialize};

use super::{Batch, Boxed, Log, Opened, Page};
use crate::chat::config::Fjall;
use crate::chat::hub::report_failure;
use crate::chat::metric::Metrics;
use crate::chat::protocol::Tally;
use crate::chat::room::Room;

/// Between two syncs of what was written.
const SYNC: Duration = Duration::from_secs(1);
/// Writes committed together at most.
const TOGETHER: usize = 64;
/// Memory of the store for what is not on disk in order yet.
const MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
/// Memory for blocks read.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// The smallest journal that fjall allows.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// What is kept of a room besides its items.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Meta {
    rev: u64,
    /// Items up to this revision were removed.
    removed: u64,
    /// Seconds since 1970 of the last write.
    at_s: u64,
    tally: Tally,
}

/// Items on their way to the disk.
struct Write {
    room: Box<str>,
    first: u64,
    items: Vec<Bytes>,
    tally: Tally,
}

/// The log.
pub(crate) struct Embedded {
    writes: Mutex<Option<mpsc::Sender<Write>>>,
    waiting: Arc<AtomicUsize>,
    buffer: usize,
    store: Arc<Mutex<Store>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Store {
    /// None between a failure of the disk and the next try.
    open: Option<(Database, Keyspace, Keyspace)>,
    dir: PathBuf,
    temporary: bool,
}

impl Embedded {
    /// Opens the folder and starts the writer.
    pub(crate) fn start(config: &Fjall, metrics: &Arc<Metrics>, started: Instant) -> Result<Self> {
        let temporary = config.dir.as_os_str().is_empty();
        let dir = if temporary {
            std::env::temp_dir().join(format!("chat-log-{}", std::process::id()))
        } else {
            config.dir.clone()
        };
        let mut store = Store {
            open: None,
            dir,
            temporary,
        };
        store.open()?;
        let store = Arc::new(Mutex::new(store));
        let (sender, receiver) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            config: config.clone(),
            store: Arc::clone(&store),
            waiting: Arc::clone(&waiting),
            metas: HashMap::new(),
            metrics: Arc::clone(metrics),
            started,
        };
        let thread = std::thread::Builder::new()
            .name("chat-log".into())
            .spawn(move || writer.run(&receiver))
            .context("starting the thread chat-log")?;
        Ok(Self {
            writes: Mutex::new(Some(sender)),
            waiting,
            buffer: config.buffer_items,
            store,
            thread: Mutex::new(Some(thread)),
            metrics: Arc::clone(metrics),
        })
    }

    fn enqueue(&self, write: Write) {
        let items = write.items.len();
        if self.waiting.fetch_add(items, Ordering::Relaxed) + items > self.buffer {
            self.waiting.fetch_sub(items, Ordering::Relaxed);
            self.metrics.storage_lost.inc_by(items as u64);
            return;
        }
        self.metrics.storage_queue.inc_by(items as i64);
        let sender = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        if sender
            .as_ref()
            .is_none_or(|sender| sender.send(write).is_err())
        {
            self.metrics.storage_lost.inc_by(items as u64);
        }
    }

    /// Runs a read where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Keyspace, &Keyspace) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let open = self
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .clone();
        tokio::task::spawn_blocking(move || {
            let (_, items, rooms) =
                open.ok_or_else(|| anyhow!("the log is closed after a failure of the disk"))?;
            read(&items, &rooms)
        })
        .await?
    }
}

impl Log for Embedded {
    fn open<'a>(&'a self, room: &'a str, recent: usize) -> Boxed<'a, Result<Opened>> {
        let room = room.to_owned();
        Box::pin(self.blocking(move |items, rooms| {
            let meta = meta(rooms, &room)?;
            let mut found: Vec<Bytes> = Vec::new();
            for (expected, entry) in (1..=meta.rev)
                .rev()
                .zip(items.range(key(&room, 0)..=key(&room, meta.rev)).rev())
                .take(recent)
            {
                let (key, value) = entry.into_inner()?;
                if revision(&key) != Some(expected) {
                    break;
                }
                found.push(Bytes::copy_from_slice(&value));
            }
            found.reverse();
            Ok(Opened {
                rev: meta.rev,
                recent: found,
                tally: meta.tally,
            })
        }))
    }

    fn append<'a>(&'a self, room: &'a Arc<Room>, batch: Batch) -> Boxed<'a, ()> {
        Box::pin(async move {
            let first = room.rev() + 1;
            room.deliver(first, batch.items.clone(), batch.since).await;
            self.enqueue(Write {
                room: room.name.clone(),
                first,
                items: batch.items,
                tally: room.tally(),
            });
        })
    }

    fn read<'a>(&'a self, room: &'a str, after: u64, limit: usize) -> Boxed<'a, Result<Page>> {
        let room = room.to_owned();
        Box::pin(self.blocking(move |items, _| {
            let (from, to) = (key(&room, after.saturating_add(1)), key(&room, u64::MAX));
            let mut page = Page::new();
            for entry in items.range(from..=to).take(limit) {
                let (key, value) = entry.into_inner()?;
                if let Some(rev) = revision(&key) {
                    page.push((rev, Bytes::copy_from_slice(&value)));
                }
            }
            Ok(page)
        }))
    }

    fn close(&self) -> Boxed<'_, ()> {
        let sender = self
            .writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(sender);
        Box::pin(async move {
            if let Some(thread) = thread {
                // The writer does not panic; if it did, there is nothing left to save.
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        })
    }
}

impl Store {
    fn open(&mut self) -> Result<()> {
        let at = |error: fjall::Error| explain(&self.dir, error);
        let database = Database::builder(&self.dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .temporary(self.temporary)
            .open()
            .map_err(at)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let (items, rooms) = (
            database.keyspace("items", options).map_err(at)?,
            database.keyspace("rooms", options).map_err(at)?,
        );
        self.open = Some((database, items, rooms));
        Ok(())
    }
}

fn explain(dir: &Path, error: fjall::Error) -> anyhow::Error {
    let way_out = match error {
        fjall::Error::Locked => {
            "another process uses it: stop that one, or set another [chat.fjall] dir"
        }
        _ => "set [chat.fjall] dir to a folder that can be written, or [chat] storage = \"memory\"",
    };
    anyhow!(
        "cannot open the log in {}: {error}; {way_out}",
        dir.display()
    )
}

struct Writer {
    config: Fjall,
    store: Arc<Mutex<Store>>,
    waiting: Arc<AtomicUsize>,
    /// Of rooms written lately.
    metas: HashMap<Box<str>, Meta>,
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Writer {
    fn run(mut self, writes: &mpsc::Receiver<Write>) {
        let (mut synced, mut dirty) = (Instant::now(), false);
        loop {
            match writes.recv_timeout(SYNC) {
                Ok(first) => {
                    let together: Vec<Write> = std::iter::once(first)
                        .chain(writes.try_iter().take(TOGETHER - 1))
                        .collect();
                    let items: usize = together.iter().map(|write| write.items.len()).sum();
                    match self.write(&together) {
                        Ok(()) => _ = self.metrics.stored.inc_by(items as u64),
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
        let open = self
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .open
            .clone();
        if let Some((database, ..)) = open
            && let Err(error) = database.persist(PersistMode::SyncData)
        {
            drop(database);
            self.fail("sync", 0, &error.into());
        }
    }

    /// Counts a failure. The store refuses all after one (it cannot know what the disk did), so it is
    /// opened anew at the next write.
    fn fail(&mut self, operation: &'static str, items: usize, error: &anyhow::Error) {
        self.metrics.storage_lost.inc_by(items as u64);
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

fn meta(rooms: &Keyspace, room: &str) -> Result<Meta> {
    match rooms.get(room)? {
        Some(json) => serde_json::from_slice(&json)
            .with_context(|| format!("the log's record of room {room}")),
        None => Ok(Meta::default()),
    }
}

/// Room names contain no 0, so rooms do not mix, and revisions sort as numbers.
fn key(room: &str, rev: u64) -> Vec<u8> {
    [room.as_bytes(), &[0], &rev.to_be_bytes()].concat()
}

fn revision(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}
