//! Where items are kept, behind one trait. A log puts the items of a room in order and gives them
//! revisions; what it has ordered comes back through [`Room::deliver`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;

use super::protocol::Tally;
use super::room::Room;

pub(crate) mod embedded;
pub(crate) mod memory;
pub(crate) mod streams;

/// A boxed future, so that the trait has objects.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Items with their revisions, oldest first.
pub(crate) type Page = Vec<(u64, Bytes)>;

/// What a log knows of a room when it is first used.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Revision of the newest item; 0 if there never was one.
    pub(crate) rev: u64,
    /// The newest items, with consecutive revisions up to `rev`.
    pub(crate) recent: Vec<Bytes>,
    pub(crate) tally: Tally,
}

/// Items that were taken together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Bytes>,
    /// When the oldest was taken.
    pub(crate) since: Instant,
}

/// A log.
pub(crate) trait Log: Send + Sync {
    /// Prepares a room and says what is kept of it, at most `recent` items.
    fn open<'a>(&'a self, room: &'a str, recent: usize) -> Boxed<'a, Result<Opened>>;

    /// The room is in memory from now on: a log with other writers delivers what they add.
    fn follow(&self, _room: &Arc<Room>) {}

    /// Takes items; returns when it is ready for more. What cannot be kept is counted.
    fn append<'a>(&'a self, room: &'a Arc<Room>, batch: Batch) -> Boxed<'a, ()>;

    /// How many more items it can take; beyond, new ones are refused rather than lost.
    fn places(&self) -> usize {
        usize::MAX
    }

    /// Up to `limit` items after a revision, oldest first.
    fn read<'a>(&'a self, room: &'a str, after: u64, limit: usize) -> Boxed<'a, Result<Page>>;

    /// Writes what waits, and ends.
    fn close(&self) -> Boxed<'_, ()>;
}
