//! The shared log: Redis Streams, for any number of processes ("gateways").
//!
//! Keys, `{ROOM}` being a cluster hash tag: `PREFIX:{ROOM}:log`, a stream whose entries have the ID
//! `REVISION-0` and one field `i`, the item; `PREFIX:{ROOM}:tally`, a hash of sums;
//! `PREFIX:{ROOM}:by:WRITER`, the number of the writer's last batch, for an hour.
//! Items go in by one script call for each room and batch, all in one pipeline; the script gives
//! the revisions, and skips a batch that it has seen: repeating after a lost answer adds nothing.
//! Each gateway reads with its own consumer group and acknowledges what it has delivered.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::streams::StreamRangeReply;
use redis::{Client, Pipeline};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Batch, Boxed, Log, Opened, Page};
use crate::chat::config::Redis;
use crate::chat::metric::Metrics;
use crate::chat::protocol::Tally;
use crate::chat::room::Room;

mod reader;
mod writer;

/// A command without an answer for so long has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long the rest may take to be written when the service ends.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether it is.
const CLOSE_STEP: Duration = Duration::from_millis(10);

/// Items of a room on their way to Redis.
struct Waiting {
    room: Box<str>,
    items: Vec<Bytes>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// In `waiting` and with the writer.
    items: usize,
}

struct Inner {
    config: Redis,
    client: Client,
    /// Reconnects by itself.
    manager: ConnectionManager,
    queue: Mutex<Queue>,
    /// Something waits.
    filled: Notify,
    rooms: Mutex<HashMap<Box<str>, Weak<Room>>>,
    /// There are rooms.
    followed: Notify,
    /// Redis' number of the reader's connection, to interrupt its wait.
    reader: AtomicI64,
    metrics: Arc<Metrics>,
    started: Instant,
}

/// The log.
pub(crate) struct Streams {
    inner: Arc<Inner>,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Streams {
    /// Connects, and starts the writer and the reader.
    pub(crate) async fn start(
        config: &Redis,
        metrics: &Arc<Metrics>,
        started: Instant,
    ) -> Result<Self> {
        let problem = || {
            format!(
                "[chat.redis] url {:?}: start a Redis there, set another url, or set [chat] storage",
                config.url
            )
        };
        let client = Client::open(config.url.as_str()).with_context(problem)?;
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(200))
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_connection_timeout(Some(ANSWER_WITHIN));
        let manager = ConnectionManager::new_with_config(client.clone(), settings)
            .await
            .with_context(problem)?;
        let inner = Arc::new(Inner {
            config: config.clone(),
            client,
            manager,
            queue: Mutex::default(),
            filled: Notify::new(),
            rooms: Mutex::default(),
            followed: Notify::new(),
            reader: AtomicI64::new(0),
            metrics: Arc::clone(metrics),
            started,
        });
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(writer::run(Arc::clone(&inner), stop.clone())),
            tokio::spawn(reader::run(Arc::clone(&inner), stop.clone())),
        ];
        Ok(Self {
            inner,
            stop,
            tasks: Mutex::new(tasks),
        })
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Box<str>, Weak<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, room: &str, what: &str) -> String {
        format!("{}:{{{room}}}:{what}", self.config.prefix)
    }

    /// The newest revision that this process knows of a room.
    fn known(&self, room: &str) -> u64 {
        self.rooms()
            .get(room)
            .and_then(Weak::upgrade)
            .map_or(0, |room| room.rev())
    }

    fn fail(&self, operation: &'static str, error: &dyn std::fmt::Display) {
        crate::chat::hub::report_failure(&self.metrics, self.started, operation, error);
    }

    fn push(&self, waiting: Waiting) {
        let mut queue = self.queue();
        let new = waiting.items.len();
        queue.items += new;
        queue.waiting.push_back(waiting);
        let mut lost = 0;
        while queue.items > self.config.buffer_items {
            let surplus = queue.items - self.config.buffer_items;
            let Some(oldest) = queue.waiting.front_mut() else {
                break;
            };
            let gone = surplus.min(oldest.items.len());
            oldest.items.drain(..gone);
            let empty = oldest.items.is_empty();
            if empty {
                queue.waiting.pop_front();
            }
            queue.items -= gone;
            lost += gone;
        }
        drop(queue);
        self.metrics.storage_queue.inc_by(new as i64 - lost as i64);
        self.metrics.storage_lost.inc_by(lost as u64);
        self.filled.notify_one();
    }
}

impl Log for Streams {
    fn open<'a>(&'a self, room: &'a str, recent: usize) -> Boxed<'a, Result<Opened>> {
        Box::pin(async move {
            let mut connection = self.inner.manager.clone();
            // One transaction: sums and revision belong together.
            let (newest, sums): (StreamRangeReply, HashMap<String, u64>) = Pipeline::new()
                .atomic()
                .xrevrange_count(self.inner.key(room, "log"), "+", "-", recent)
                .hgetall(self.inner.key(room, "tally"))
                .query_async(&mut connection)
                .await?;
            let mut page = page(newest);
            page.reverse();
            let rev = page.last().map_or(0, |(rev, _)| *rev);
            let connected = page.rchunk_by_gap();
            Ok(Opened {
                rev,
                recent: connected,
                tally: tally(&sums),
            })
        })
    }

    fn follow(&self, room: &Arc<Room>) {
        self.inner
            .rooms()
            .insert(room.name.clone(), Arc::downgrade(room));
        self.inner.followed.notify_one();
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let id = inner.reader.load(Ordering::Relaxed);
            let mut connection = inner.manager.clone();
            // If it fails, the reader finds the room after its wait.
            let _ = redis::cmd("CLIENT")
                .arg("UNBLOCK")
                .arg(id)
                .query_async::<i64>(&mut connection)
                .await;
        });
    }

    fn append<'a>(&'a self, room: &'a Arc<Room>, batch: Batch) -> Boxed<'a, ()> {
        self.inner.push(Waiting {
            room: room.name.clone(),
            items: batch.items,
        });
        Box::pin(async {})
    }

    fn places(&self) -> usize {
        self.inner
            .config
            .buffer_items
            .saturating_sub(self.inner.queue().items)
    }

    fn read<'a>(&'a self, room: &'a str, after: u64, limit: usize) -> Boxed<'a, Result<Page>> {
        Box::pin(async move {
            let mut connection = self.inner.manager.clone();
            let found: StreamRangeReply = redis::cmd("XRANGE")
                .arg(self.inner.key(room, "log"))
                .arg(format!("({after}-0"))
                .arg("+")
                .arg("COUNT")
                .arg(limit)
                .query_async(&mut connection)
                .await?;
            Ok(page(found))
        })
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(async move {
            let emptied = async {
                while self.inner.queue().items > 0 {
                    tokio::time::sleep(CLOSE_STEP).await;
                }
            };
            if tokio::time::timeout(CLOSE_WITHIN, emptied).await.is_err() {
                let left = self.inner.queue().items;
                self.inner.metrics.storage_lost.inc_by(left as u64);
                tracing::warn!(left, "items did not reach Redis before the end");
            }
            self.stop.cancel();
            for task in
                std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
            {
                task.abort();
            }
        })
    }
}

trait Connected {
    /// The items at the end that have no gap between them.
    fn rchunk_by_gap(self) -> Vec<Bytes>;
}

impl Connected for Page {
    fn rchunk_by_gap(mut self) -> Vec<Bytes> {
        let run = self
            .chunk_by(|(one, _), (next, _)| one + 1 == *next)
            .next_back()
            .map_or(0, <[_]>::len);
        self.drain(..self.len() - run);
        self.into_iter().map(|(_, item)| item).collect()
    }
}

fn page(reply: StreamRangeReply) -> Page {
    reply.ids.into_iter().filter_map(entry).collect()
}

/// Revision and item of a stream's entry; none if it is not one of ours.
fn entry(entry: redis::streams::StreamId) -> Option<(u64, Bytes)> {
    let rev = entry.id.split('-').next()?.parse().ok()?;
    let item: Vec<u8> = entry.get("i")?;
    Some((rev, item.into()))
}

/// Sums as the fields of the hash: `g:GIFT`, `v:POLL:OPTION`; names contain no colon.
fn fields(tally: &Tally) -> impl Iterator<Item = (String, u64)> + '_ {
    let gifts = tally
        .gifts
        .iter()
        .map(|(gift, n)| (format!("g:{gift}"), *n));
    let votes = tally.votes.iter().flat_map(|(poll, options)| {
        options
            .iter()
            .map(move |(option, n)| (format!("v:{poll}:{option}"), *n))
    });
    gifts.chain(votes)
}

fn tally(fields: &HashMap<String, u64>) -> Tally {
    let mut tally = Tally::default();
    for (field, n) in fields {
        match field.split(':').collect::<Vec<_>>().as_slice() {
            ["g", gift] => _ = tally.gifts.insert((*gift).to_owned(), *n),
            ["v", poll, option] => {
                _ = tally
                    .votes
                    .entry((*poll).to_owned())
                    .or_default()
                    .insert((*option).to_owned(), *n)
            }
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_survive_the_hash() {
        let mut sums = Tally::default();
        sums.count(
            br#"{"t":"gift","gift":"rose","n":7,"at_ms":1,"user":"a"}"#,
            9,
        );
        sums.count(
            br#"{"t":"vote","poll":"p","option":"x","at_ms":1,"user":"a"}"#,
            9,
        );
        assert_eq!(tally(&fields(&sums).collect()), sums);
    }

    #[test]
    fn only_the_newest_run_counts_as_recent() {
        let page: Page = [1, 2, 5, 6]
            .map(|rev| (rev, Bytes::from(rev.to_string())))
            .into();
        assert_eq!(page.rchunk_by_gap(), ["5", "6"]);
    }
}
