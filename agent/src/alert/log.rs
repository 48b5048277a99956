//! The durable log of transitions: what fired and what was resolved, until every receiver has it.
//!
//! Memory is the truth while the agent runs, a redb file its mirror: a page is written and synced
//! before any receiver may send it, so that nothing that was sent is forgotten, and a receiver's
//! cursor is written after the answer, so that what was not answered is sent again. Without a
//! usable file everything goes on from memory, which is said, counted and tried again.
//!
//! redb and not fjall: one file instead of a journal of 64 MiB and segments, no threads of its
//! own, copy-on-write pages with checksums, so that a kill at any moment leaves the last commit.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::page::Page;
use crate::seldom::Seldom;

mod state;
mod store;

use state::State;
pub use state::{Batch, Form, Losses};
use store::{Store, Wrote};

/// How much the log may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of pages and states of rules, in memory; the file may take four times as many.
    pub bytes: usize,
    /// Milliseconds after which a page that a receiver did not take is given up; only the time that
    /// the log is open counts.
    pub age_ms: i64,
}

/// What one evaluation changed; kept together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Alerts that fired or were resolved, in order, and firing ones whose text changed.
    pub pages: Vec<Page>,
    /// What a rule needs to go on after a restart, by a key of the caller's; none: forget it.
    pub states: Vec<(String, Option<Vec<u8>>)>,
}

/// What the log counts about itself.
#[derive(Debug, Default)]
pub struct Counts {
    /// Transitions taken in.
    pub transitions: AtomicU64,
    /// Pages that wait for at least one receiver.
    pub waiting: AtomicU64,
    /// Bytes held.
    pub bytes: AtomicU64,
    /// Pages given up because the log was full, once for each receiver that did not have them.
    pub dropped_full: AtomicU64,
    /// Pages given up because of their age, likewise.
    pub dropped_old: AtomicU64,
    /// Resolved pages that were delivered but are not repeated any more, to make room.
    pub released: AtomicU64,
    /// States of rules that were refused because they did not fit.
    pub states_refused: AtomicU64,
    /// Writes that failed.
    pub write_failures: AtomicU64,
    /// Files or records that could not be read and were set aside or passed over.
    pub corrupt: AtomicU64,
    /// 1 if what is taken in survives a crash now.
    pub durable: AtomicU64,
}

/// The log; clones share it.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    store: Mutex<Store>,
    /// The last page that receivers may send.
    durable: watch::Sender<u64>,
    counts: Arc<Counts>,
    losses_said: Seldom,
    failures_said: Seldom,
}

impl Log {
    /// Opens the log in `dir`, which is made if need be. An empty path: in memory only.
    ///
    /// Does not fail: a file that cannot be read is set aside, and without any place to write the
    /// log is kept in memory until there is one. Both are said and counted. Reads and checks the
    /// whole file, for which `examples/page.rs` measures the time.
    pub fn open(dir: &Path, limits: Limits, counts: Arc<Counts>) -> Self {
        let (store, image, troubles) = Store::open(dir, limits.bytes);
        for trouble in troubles {
            warn!("alert log: {trouble}");
            count(&counts.corrupt, 1);
        }
        let (mut state, unreadable) = State::restore(limits, image);
        if unreadable > 0 {
            warn!("alert log: passed over {unreadable} records that cannot be read");
            count(&counts.corrupt, unreadable);
        }
        let (durable, _) = watch::channel(state.settle_durable());
        if let Some(why) = store.failure() {
            error!("alert log: {why}; alerts are kept in memory only until this works");
        }
        counts
            .durable
            .store(store.is_durable().into(), Ordering::Relaxed);
        let log = Self(Arc::new(Inner {
            state: Mutex::new(state),
            store: Mutex::new(store),
            durable,
            counts,
            losses_said: Seldom::default(),
            failures_said: Seldom::default(),
        }));
        log.0.measure(&log.0.state());
        log
    }

    /// A log that is never written.
    pub fn in_memory(limits: Limits) -> Self {
        Self::open(Path::new(""), limits, Arc::default())
    }

    /// Names the receivers there are now; others are forgotten. One that is new gets what fires.
    pub async fn register(&self, receivers: &[String]) {
        self.0.state().register(receivers);
        self.flush().await;
    }

    /// Takes a change in. Returns when it is on disk, or, while there is none that works, in
    /// memory; receivers are woken then.
    ///
    /// A firing page of an alert that fires already (same labels and start) only replaces what is
    /// kept about it; a resolved page that was there before is passed over.
    pub async fn commit(&self, change: Change) {
        self.0.take_in(change);
        self.flush().await;
    }

    /// [`commit`](Self::commit) for callers that may block.
    pub fn commit_blocking(&self, change: Change) {
        self.0.take_in(change);
        self.0.write();
    }

    /// Takes a change in; [`flush_blocking`](Self::flush_blocking) makes it durable and wakes receivers. For callers
    /// whose changes must keep their order but who cannot wait.
    pub fn take(&self, change: Change) {
        self.0.take_in(change);
    }

    /// Writes what was taken in and is not written yet; blocks.
    pub fn flush_blocking(&self) {
        self.0.write();
    }

    /// Replaces what is said about a firing alert, and until when it stands, in memory only: for
    /// the evaluations between transitions.
    pub fn refresh(&self, pages: impl IntoIterator<Item = Page>) {
        let mut state = self.0.state();
        for page in pages {
            state.refresh(page);
        }
    }

    /// The states of rules as they were last kept, sorted by key.
    pub fn states(&self) -> Vec<(String, Vec<u8>)> {
        self.0.state().states()
    }

    /// The alerts that fire as far as the log knows. After a restart the rules should resolve
    /// those that none of them has any more.
    pub fn firing(&self) -> Vec<Page> {
        self.0.state().firing()
    }

    /// The next pages for a receiver, oldest first, each alert at most once; none if it has all.
    pub fn next(&self, receiver: &str, form: Form) -> Option<Batch> {
        self.0.state().next(receiver, form)
    }

    /// Keeps that a receiver has everything up to the end of a batch. Returns when that is on disk.
    pub async fn settle(&self, receiver: &str, upto: u64) {
        self.0.state().settle(receiver, upto);
        self.flush().await;
    }

    /// What a receiver that forgets should hear again: all that fires and still stands, and what
    /// was resolved within the last 15 minutes.
    pub fn repeat(&self, now_ms: i64) -> Vec<Page> {
        self.0.state().repeat(now_ms)
    }

    /// Gives up what is too old, and lets go of resolved pages that are not repeated any more.
    pub async fn expire(&self, now_ms: i64) {
        let losses = self.0.state().expire(now_ms);
        self.0.tell(&losses);
        self.flush().await;
    }

    /// Changes whenever there may be something new to send.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.durable.subscribe()
    }

    /// What the log counts.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.0.counts
    }

    /// Writing may take as long as the disk likes, so it has a thread of its own for that time.
    async fn flush(&self) {
        let inner = Arc::clone(&self.0);
        if tokio::task::spawn_blocking(move || inner.write())
            .await
            .is_err()
        {
            count(&self.0.counts.write_failures, 1);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, change: Change) {
        let (transitions, losses) = self.state().take_in(change);
        count(&self.counts.transitions, transitions);
        self.tell(&losses);
    }

    /// Writes all that is not written yet, that of others included, in one transaction.
    fn write(&self) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (ops, upto) = self.state().drain();
        match store.write(ops, || self.state().image()) {
            Wrote::Yes => {}
            Wrote::Again => info!("alert log: written again, nothing in memory was lost"),
            Wrote::No(why) => {
                count(&self.counts.write_failures, 1);
                self.failures_said.run(|| {
                    error!("alert log: {why}; alerts are kept in memory only until this works");
                });
            }
        }
        let is_durable = store.is_durable();
        drop(store);
        self.counts
            .durable
            .store(is_durable.into(), Ordering::Relaxed);
        let mut state = self.state();
        state.allow(upto);
        self.measure(&state);
        drop(state);
        self.durable.send_replace(upto);
    }

    fn measure(&self, state: &State) {
        let (waiting, bytes) = state.size();
        self.counts.waiting.store(waiting, Ordering::Relaxed);
        self.counts.bytes.store(bytes, Ordering::Relaxed);
    }

    fn tell(&self, losses: &Losses) {
        count(&self.counts.dropped_full, losses.full);
        count(&self.counts.dropped_old, losses.old);
        count(&self.counts.released, losses.released);
        count(&self.counts.states_refused, losses.states);
        if let Some(said) = losses.told() {
            self.losses_said.run(|| error!("alert log: {said}"));
        }
    }
}

fn count(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
