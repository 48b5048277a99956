//! One room: what waits for the next batch, what is remembered for resumes, and the sums.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tracing::{Instrument as _, info_span};

use super::audit::{Limiter, Verdict, limiter};
use super::batch::{self, FrameBound};
use super::config::Personal;
use super::hub::Shared;
use super::log::{Batch, Opened};
use super::outbox::Frame;
use super::privacy;
use super::protocol::{ClientMessage, Refusal, Refused, Said, Tally};

/// A room in memory.
pub(crate) struct Room {
    /// Unique in this process.
    pub(crate) number: u64,
    pub(crate) name: Box<str>,
    shared: Arc<Shared>,
    limiter: Limiter,
    state: Mutex<State>,
}

struct State {
    /// Taken, but not yet given to the log.
    pending: Vec<Bytes>,
    pending_since: Instant,
    /// A task will see to `pending`.
    scheduled: bool,
    flushed: Instant,
    /// The newest items, consecutive, the last with revision `rev`.
    recent: VecDeque<Bytes>,
    recent_bytes: usize,
    rev: u64,
    tally: Tally,
    tally_changed: bool,
    used: Instant,
}

impl Room {
    pub(crate) fn new(number: u64, name: &str, opened: Opened, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let tick = Duration::from_millis(shared.config.tick_ms);
        let state = State {
            pending: Vec::new(),
            pending_since: now,
            scheduled: false,
            flushed: now.checked_sub(tick).unwrap_or(now),
            recent_bytes: opened.recent.iter().map(Bytes::len).sum(),
            recent: opened.recent.into(),
            rev: opened.rev,
            tally: opened.tally,
            tally_changed: false,
            used: now,
        };
        Self {
            number,
            name: name.into(),
            limiter: limiter(shared.config.room_rate),
            shared,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Revision of the newest item.
    pub(crate) fn rev(&self) -> u64 {
        self.state().rev
    }

    /// The sums now.
    pub(crate) fn tally(&self) -> Tally {
        self.state().tally.clone()
    }

    /// The sums, if they changed since they were last asked for here.
    pub(crate) fn changed_tally(&self) -> Option<Tally> {
        let mut state = self.state();
        mem::take(&mut state.tally_changed).then(|| state.tally.clone())
    }

    /// How long it was not used; none while something is under way.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let state = self.state();
        (!state.scheduled && !state.tally_changed).then(|| state.used.elapsed())
    }

    /// Takes a message for the next batch, or says why not. Counts and audits either way.
    pub(crate) fn publish<'m>(
        self: &Arc<Self>,
        user: &'m str,
        message: ClientMessage<'m>,
    ) -> Result<(), Refused<'m>> {
        let (kind, id) = (message.t.clone(), message.id.clone());
        let length = message.text.as_ref().map_or(0, |text| text.len());
        let result = self.take(user, message);
        let verdict = match &result {
            Ok(verdict) => *verdict,
            Err(refused) => Verdict::Refused(refused.code),
        };
        // Only what is a known kind goes on record, not what a stranger called it.
        let kind = ["msg", "gift", "vote"]
            .into_iter()
            .find(|known| *known == kind)
            .unwrap_or("unknown");
        let id = id
            .as_deref()
            .filter(|id| id.len() <= super::protocol::ID_BYTES);
        self.shared
            .auditor
            .record(&self.name, user, id, kind, length, verdict);
        match &result {
            Ok(_) => _ = self.shared.metrics.taken.inc(),
            Err(refused) => self.shared.metrics.refuse(refused.code),
        }
        result.map(|_| ())
    }

    fn take<'m>(
        self: &Arc<Self>,
        user: &'m str,
        message: ClientMessage<'m>,
    ) -> Result<Verdict, Refused<'m>> {
        let config = &self.shared.config;
        let (said, id) = Said::parse(message, config.text_bytes)?;
        let refuse = |code| {
            Err(Refused {
                code,
                id: id.clone(),
            })
        };
        if self.limiter.check().is_err() {
            return refuse(Refusal::RoomRateLimited);
        }
        let (said, verdict) = match (said, config.personal) {
            (Said::Text(text), Personal::Mask | Personal::Refuse) => match privacy::mask(&text) {
                std::borrow::Cow::Borrowed(_) => (Said::Text(text), Verdict::Taken),
                std::borrow::Cow::Owned(_) if config.personal == Personal::Refuse => {
                    return refuse(Refusal::Personal);
                }
                std::borrow::Cow::Owned(masked) => {
                    self.shared.metrics.masked.inc();
                    (Said::Text(masked.into()), Verdict::Masked)
                }
            },
            (said, _) => (said, Verdict::Taken),
        };
        let at_ms = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| since.as_millis() as u64);
        let mut state = self.state();
        if !state.tally.admits(&said, config.kinds) {
            return refuse(Refusal::TooManyKinds);
        }
        if state.pending.len() >= config.pending_items.min(self.shared.log.places()) {
            return refuse(Refusal::Overloaded);
        }
        // Strings and numbers always serialize.
        let json = serde_json::to_vec(&said.item(id, user, at_ms)).unwrap_or_default();
        if state.pending.is_empty() {
            state.pending_since = Instant::now();
        }
        state.pending.push(json.into());
        if !mem::replace(&mut state.scheduled, true) {
            let due = state.flushed + Duration::from_millis(config.tick_ms);
            tokio::spawn(Arc::clone(self).flush(due));
        }
        Ok(verdict)
    }

    /// Gives what waits to the log, batch by batch, until nothing does.
    async fn flush(self: Arc<Self>, mut due: Instant) {
        loop {
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let batch = {
                let mut state = self.state();
                state.flushed = Instant::now();
                state.used = state.flushed;
                Batch {
                    items: mem::take(&mut state.pending),
                    since: state.pending_since,
                }
            };
            let span = info_span!(target: crate::log::SPAN, "append", room = %self.name, items = batch.items.len());
            self.shared.log.append(&self, batch).instrument(span).await;
            let mut state = self.state();
            if state.pending.is_empty() {
                state.scheduled = false;
                return;
            }
            due = state.flushed + Duration::from_millis(self.shared.config.tick_ms);
        }
    }

    /// Sends items that have their revisions, from `first` on, to everyone in the room. Only the log
    /// calls it, in order; what is known already is left out.
    pub(crate) async fn deliver(&self, first: u64, mut items: Vec<Bytes>, since: Instant) {
        let config = &self.shared.config;
        let first = {
            let mut state = self.state();
            let known = (state.rev + 1)
                .saturating_sub(first)
                .min(items.len() as u64);
            items.drain(..known as usize);
            let first = first + known;
            if items.is_empty() {
                return;
            }
            state.remember(
                first,
                &items,
                config.recent_items,
                config.recent_bytes,
                config.kinds,
            );
            first
        };
        let frames = batch::batches(first, &items, self.frame_bound());
        for (last, frame) in batch::join(frames, config.batch_bytes) {
            self.shared
                .lanes
                .send(self.number, last, frame, since)
                .await;
        }
    }

    /// Frames for everything remembered after a revision, and the revision that they lead to.
    pub(crate) fn catch_up(&self, seen: u64) -> (Vec<Frame>, u64) {
        let mut state = self.state();
        state.used = Instant::now();
        let kept = state.recent.len() as u64;
        let wanted = state
            .rev
            .saturating_sub(seen)
            .min(kept)
            .min(self.shared.config.replay as u64);
        let items: Vec<Bytes> = state
            .recent
            .iter()
            .skip((kept - wanted) as usize)
            .cloned()
            .collect();
        let rev = state.rev;
        drop(state);
        let frames = batch::batches(rev + 1 - wanted, &items, self.frame_bound());
        let frames = batch::join(frames, self.shared.config.batch_bytes);
        (frames.into_iter().map(|(_, frame)| frame).collect(), rev)
    }

    /// Items after a revision: from memory if it reaches back so far, else from the log.
    pub(crate) async fn read(&self, after: u64, limit: usize) -> anyhow::Result<Vec<(u64, Bytes)>> {
        {
            let state = self.state();
            let oldest = state.rev - state.recent.len() as u64;
            if after >= oldest {
                let revs = oldest + 1..;
                return Ok(revs
                    .zip(&state.recent)
                    .filter(|(rev, _)| *rev > after)
                    .take(limit)
                    .map(|(rev, item)| (rev, item.clone()))
                    .collect());
            }
        }
        self.shared.log.read(&self.name, after, limit).await
    }

    /// The revision before the oldest one remembered.
    pub(crate) fn oldest(&self) -> u64 {
        let state = self.state();
        state.rev - state.recent.len() as u64
    }

    pub(crate) fn frame_bound(&self) -> FrameBound {
        FrameBound {
            items: self.shared.config.batch_items,
            bytes: self.shared.config.batch_bytes,
        }
    }
}

impl State {
    fn remember(
        &mut self,
        first: u64,
        items: &[Bytes],
        most_items: usize,
        most_bytes: usize,
        kinds: usize,
    ) {
        if first != self.rev + 1 {
            // A hole in the log: what is before it no longer connects.
            self.recent.clear();
            self.recent_bytes = 0;
        }
        for item in items {
            self.tally_changed |= self.tally.count(item, kinds);
            self.recent_bytes += item.len();
            self.recent.push_back(item.clone());
        }
        self.rev = first + items.len() as u64 - 1;
        while self.recent.len() > most_items || self.recent_bytes > most_bytes {
            match self.recent.pop_front() {
                Some(item) => self.recent_bytes -= item.len(),
                None => break,
            }
        }
    }
}
