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
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use serde::{Deserialize, Serialize};

use super::{Batch, Boxed, Log, Opened, Page};
use crate::chat::config::Fjall;
use crate::chat::metric::Metrics;
use crate::chat::protocol::Tally;
use crate::chat::room::Room;

/// Memory of the store for what is not on disk in order yet.
const MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
/// Memory for blocks read.
const CACHE_BYTES: u64 = 4 * 1024 * 1024;
/// The smallest journal that fjall allows.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

mod writer;

use self::writer::Writer;

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

/// The database, its items, its rooms.
type Open = (Database, Keyspace, Keyspace);

#[derive(Clone)]
struct Store {
    /// None between a failure of the disk and the next try.
    open: Option<Open>,
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
            unsynced: 0,
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
        let open = Store::opened(&self.store);
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
    /// What is open now, to be used without holding others up.
    fn opened(store: &Mutex<Self>) -> Option<Open> {
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        store.open.clone()
    }

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
