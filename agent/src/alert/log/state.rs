//! What the log holds, in memory: pages that wait, alerts that fire, cursors. No I/O, no clock.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Change, Limits};
use crate::alert::page::{Fingerprint, Page};

mod receiver;
mod trim;

pub use trim::Losses;

/// How long a resolved alert is repeated, as Prometheus does: an Alertmanager that restarts has
/// forgotten it.
const REPEAT_RESOLVED_MS: i64 = 15 * 60 * 1000;
/// What a page or state takes besides its bytes.
const OVERHEAD: usize = 96;

/// Pages to send together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// In order; no alert twice.
    pub pages: Vec<Page>,
    /// What to settle when all are delivered or given up.
    pub upto: u64,
}

/// How a receiver wants its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Most pages in one.
    pub pages: usize,
    /// Whether all must have the same `alertname`.
    pub one_name: bool,
}

/// All that is kept, as it is written to disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Image {
    pub(super) entries: Vec<(u64, Box<[u8]>)>,
    pub(super) board: Vec<(u64, Box<[u8]>)>,
    pub(super) cursors: Vec<(String, u64)>,
    pub(super) states: Vec<(String, Box<[u8]>)>,
}

/// One change of the image.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Entry(u64, Option<Box<[u8]>>),
    Board(u64, Option<Box<[u8]>>),
    Cursor(String, Option<u64>),
    State(String, Option<Box<[u8]>>),
}

/// An entry's bytes: a page, and for whom it is if not for all.
#[derive(Deserialize, Serialize)]
struct Record {
    page: Page,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    only: Option<String>,
}

/// A page that waits, with what must be known without decoding it.
struct Entry {
    body: Box<[u8]>,
    alert: (Fingerprint, i64),
    is_firing: bool,
    /// The log's own age when it came in.
    since_ms: i64,
    only: Option<String>,
}

/// An alert that fires or was resolved a short while ago.
struct Held {
    page: Page,
    size: usize,
}

#[derive(Default)]
struct Cursor {
    /// Everything up to here is settled.
    settled: u64,
    /// Everything up to here is being sent.
    sending: u64,
}

pub(super) struct State {
    limits: Limits,
    entries: BTreeMap<u64, Entry>,
    board: BTreeMap<Fingerprint, Held>,
    states: BTreeMap<String, Box<[u8]>>,
    receivers: BTreeMap<String, Cursor>,
    /// The last number given to an entry.
    last: u64,
    /// The last entry that may be sent.
    allowed: u64,
    /// How long the log has been open, and the last time it was told. The difference of two
    /// times counts as far as it is credible: a clock that is set must not make pages old.
    age_ms: i64,
    told_ms: Option<i64>,
    bytes: usize,
    /// Those of `bytes` that entries take.
    waiting: usize,
    ops: Vec<Op>,
}

impl State {
    /// From what is on disk; tells how many records could not be read.
    pub(super) fn restore(limits: Limits, image: Image) -> (Self, u64) {
        let mut state = Self {
            limits,
            entries: BTreeMap::new(),
            board: BTreeMap::new(),
            states: BTreeMap::new(),
            receivers: BTreeMap::new(),
            last: 0,
            allowed: 0,
            age_ms: 0,
            told_ms: None,
            bytes: 0,
            waiting: 0,
            ops: Vec::new(),
        };
        let mut unreadable = 0;
        for (name, settled) in image.cursors {
            state.last = state.last.max(settled);
            let sending = settled;
            state.receivers.insert(name, Cursor { settled, sending });
        }
        for (number, body) in image.entries {
            state.last = state.last.max(number);
            match serde_json::from_slice::<Record>(&body) {
                Ok(record) => state.insert(number, Entry::new(&record, body)),
                Err(_) => {
                    unreadable += 1;
                    state.ops.push(Op::Entry(number, None));
                }
            }
        }
        for (key, body) in image.board {
            match serde_json::from_slice::<Page>(&body) {
                Ok(page) => state.hold(page, body.len()),
                Err(_) => {
                    unreadable += 1;
                    state.ops.push(Op::Board(key, None));
                }
            }
        }
        for (key, body) in image.states {
            state.bytes += key.len() + body.len() + OVERHEAD;
            state.states.insert(key, body);
        }
        (state, unreadable)
    }

    /// What came from disk may be sent. Returns the last entry.
    pub(super) fn settle_durable(&mut self) -> u64 {
        self.allowed = self.last;
        self.last
    }

    /// Entries up to `upto` are on disk, as far as there is one.
    pub(super) fn allow(&mut self, upto: u64) {
        self.allowed = self.allowed.max(upto);
    }

    /// What is to be written, and the last entry in it.
    pub(super) fn drain(&mut self) -> (Vec<Op>, u64) {
        (std::mem::take(&mut self.ops), self.last)
    }

    pub(super) fn image(&self) -> Image {
        let entries = self.entries.iter();
        let board = self.board.iter();
        let states = self.states.iter();
        let cursors = self.receivers.iter();
        Image {
            entries: entries.map(|(n, entry)| (*n, entry.body.clone())).collect(),
            board: board
                .map(|(key, held)| (key.0, encode(&held.page)))
                .collect(),
            states: states
                .map(|(key, body)| (key.clone(), body.clone()))
                .collect(),
            cursors: cursors
                .map(|(name, at)| (name.clone(), at.settled))
                .collect(),
        }
    }

    /// Pages that wait, and bytes of everything.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.bytes as u64)
    }

    /// Takes a change in; tells how many transitions it was and what was lost for lack of room.
    pub(super) fn take_in(&mut self, change: Change) -> (u64, Losses) {
        let mut transitions = 0;
        let mut losses = Losses::default();
        for page in change.pages {
            transitions += u64::from(self.say(page, &mut losses));
        }
        for (key, body) in change.states {
            losses.states += u64::from(!self.keep(key, body));
        }
        self.make_room(&mut losses);
        (transitions, losses)
    }

    /// Whether the page is a transition.
    fn say(&mut self, page: Page, losses: &mut Losses) -> bool {
        let known = self.board.get(&page.fingerprint()).map(|held| &held.page);
        let is_same = known.is_some_and(|known| {
            known.starts_at_ms == page.starts_at_ms && known.status == page.status
        });
        if is_same && !page.is_firing() {
            return false;
        }
        let body = encode(&page);
        if self.bytes_that_stay() + body.len() + OVERHEAD <= self.limits.bytes {
            self.ops
                .push(Op::Board(page.fingerprint().0, Some(body.clone())));
            self.hold(page.clone(), body.len());
        } else {
            // It is delivered, but neither repeated nor known after a restart.
            self.let_go(page.fingerprint());
            losses.released += 1;
        }
        if !is_same && !self.receivers.is_empty() {
            self.append(page, None);
        }
        !is_same
    }

    fn append(&mut self, page: Page, only: Option<String>) {
        self.last += 1;
        let record = Record { page, only };
        let body = encode(&record);
        self.ops.push(Op::Entry(self.last, Some(body.clone())));
        self.insert(self.last, Entry::new(&record, body));
    }

    fn insert(&mut self, number: u64, mut entry: Entry) {
        entry.since_ms = self.age_ms;
        self.bytes += entry.size();
        self.waiting += entry.size();
        self.entries.insert(number, entry);
    }

    fn remove(&mut self, number: u64) {
        if let Some(entry) = self.entries.remove(&number) {
            self.bytes -= entry.size();
            self.waiting -= entry.size();
            self.ops.push(Op::Entry(number, None));
        }
    }

    fn hold(&mut self, page: Page, length: usize) {
        let size = length + OVERHEAD;
        self.bytes += size;
        let before = self.board.insert(page.fingerprint(), Held { page, size });
        self.bytes -= before.map_or(0, |held| held.size);
    }

    fn let_go(&mut self, key: Fingerprint) {
        if let Some(held) = self.board.remove(&key) {
            self.bytes -= held.size;
            self.ops.push(Op::Board(key.0, None));
        }
    }

    pub(super) fn refresh(&mut self, page: Page) {
        let known = self.board.get_mut(&page.fingerprint());
        if let Some(held) = known
            && held.page.is_firing()
            && page.is_firing()
            && held.page.starts_at_ms == page.starts_at_ms
        {
            held.page = page;
        }
    }

    /// Whether there was room for it.
    fn keep(&mut self, key: String, body: Option<Vec<u8>>) -> bool {
        let before = self.states.remove(&key);
        let was = before.map_or(0, |body| key.len() + body.len() + OVERHEAD);
        self.bytes -= was;
        let body = body.map(Vec::into_boxed_slice);
        let size = body
            .as_ref()
            .map_or(0, |body| key.len() + body.len() + OVERHEAD);
        let fits = self.bytes_that_stay() + size <= self.limits.bytes;
        let body = body.filter(|_| fits);
        if let Some(body) = &body {
            self.bytes += size;
            self.states.insert(key.clone(), body.clone());
        }
        self.ops.push(Op::State(key, body));
        fits
    }

    /// What cannot be dropped to make room.
    fn bytes_that_stay(&self) -> usize {
        self.bytes.saturating_sub(self.waiting)
    }

    pub(super) fn states(&self) -> Vec<(String, Vec<u8>)> {
        let states = self.states.iter();
        states
            .map(|(key, body)| (key.clone(), body.to_vec()))
            .collect()
    }

    pub(super) fn firing(&self) -> Vec<Page> {
        let held = self.board.values().map(|held| &held.page);
        held.filter(|page| page.is_firing()).cloned().collect()
    }

    pub(super) fn repeat(&self, now_ms: i64) -> Vec<Page> {
        let held = self.board.values().map(|held| &held.page);
        held.filter(|page| match page.is_firing() {
            true => page.ends_at_ms > now_ms,
            false => now_ms.saturating_sub(page.ends_at_ms) < REPEAT_RESOLVED_MS,
        })
        .cloned()
        .collect()
    }

    /// Episodes that nobody was told of yet: where they fired, by alert.
    fn unsent_episodes(&self) -> Vec<(u64, u64)> {
        let mut fired = HashMap::new();
        let mut episodes = Vec::new();
        for (number, entry) in &self.entries {
            if entry.only.is_some() {
                continue;
            }
            if entry.is_firing {
                fired.insert(entry.alert, *number);
            } else if let Some(start) = fired.remove(&entry.alert) {
                episodes.push((start, *number));
            }
        }
        episodes
    }
}

impl Entry {
    fn new(record: &Record, body: Box<[u8]>) -> Self {
        Self {
            alert: (record.page.fingerprint(), record.page.starts_at_ms),
            is_firing: record.page.is_firing(),
            since_ms: 0,
            only: record.only.clone(),
            body,
        }
    }

    fn size(&self) -> usize {
        self.body.len() + OVERHEAD
    }
}

fn encode<T: Serialize>(value: &T) -> Box<[u8]> {
    serde_json::to_vec(value)
        .expect("maps with text keys can be written as JSON")
        .into_boxed_slice()
}
