//! The book in use: with a clock, watchers, metrics and ratings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::book::{Book, EndReason, GoneReason, MatchId, Proposal, Refused, TicketId, Update};
use super::config::Tickets;
use super::metrics::{self, Metrics};
use super::pool::{Profile, SearchFields};
use super::rating::{Placing, Ratings};

/// Watches of one ticket at a time.
const MAX_WATCHES: usize = 4;
/// A ticket has at most this many updates: assigned, then ended.
const UPDATES_PER_TICKET: usize = 2;

/// What all requests and the director share.
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    started: Instant,
    /// Of this process, in every id: ids of an earlier one are unknown, never another's.
    boot: u32,
    release_timeout_ms: u64,
    /// Where ratings are kept.
    pub(crate) ratings: Arc<dyn Ratings>,
    metrics: Metrics,
}

struct Inner {
    book: Book,
    watches: HashMap<TicketId, Vec<Watch>>,
}

struct Watch {
    /// To a stream of `WatchAssignments`; has room for all updates of its tickets.
    updates: mpsc::Sender<Update>,
    until_end: bool,
}

impl Desk {
    /// With an empty book.
    pub(crate) fn new(bounds: Tickets, ratings: Arc<dyn Ratings>, metrics: Metrics) -> Self {
        let release_timeout_ms = bounds.release_timeout_ms;
        let inner = Inner {
            book: Book::new(bounds),
            watches: HashMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            started: Instant::now(),
            boot: rand::random(),
            release_timeout_ms,
            ratings,
            metrics,
        }
    }

    /// An id for the outside.
    pub(crate) fn name(&self, id: u64) -> String {
        format!("{:08x}-{id}", self.boot)
    }

    /// The number in an id from outside; `None` if it is not of this process.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let (boot, id) = name.split_once('-')?;
        (u32::from_str_radix(boot, 16) == Ok(self.boot)).then(|| id.parse().ok())?
    }

    /// Milliseconds that proposals may wait for their server.
    pub(crate) fn release_timeout_ms(&self) -> u64 {
        self.release_timeout_ms
    }

    /// See [`Book::create`]; the third value is the time left, in milliseconds.
    pub(crate) fn create(
        &self,
        player: String,
        fields: SearchFields,
        ttl_ms: u64,
        key: Option<String>,
    ) -> Result<(TicketId, bool, u64), Refused> {
        let now_ms = self.now_ms();
        let created = self
            .inner()
            .book
            .create(now_ms, player, fields, ttl_ms, key);
        match created {
            Ok((_, false, _)) => _ = self.metrics.tickets_created.inc(),
            Ok(_) => {}
            Err(_) => _ = self.metrics.tickets_refused.inc(),
        }
        created.map(|(id, existed, expires_ms)| (id, existed, expires_ms.saturating_sub(now_ms)))
    }

    /// See [`Book::activate`].
    pub(crate) fn activate(&self, id: TicketId) -> Result<(), Refused> {
        let now_ms = self.now_ms();
        self.inner().book.activate(now_ms, id)
    }

    /// See [`Book::deactivate`].
    pub(crate) fn deactivate(&self, id: TicketId) -> Result<(), Refused> {
        self.change(|book, now_ms, out| book.deactivate(now_ms, id, out))
    }

    /// See [`Book::propose`].
    pub(crate) fn propose(&self, profile: &Profile, limit: usize) -> Vec<Proposal> {
        let now_ms = self.now_ms();
        self.inner().book.propose(now_ms, profile, limit)
    }

    /// See [`Book::assign`].
    pub(crate) fn assign(
        &self,
        id: MatchId,
        connection: &str,
        tokens: Option<&[String]>,
    ) -> Result<(), Refused> {
        let label = if tokens.is_none() {
            Some("external")
        } else {
            None
        };
        self.change(|book, now_ms, out| {
            book.assign(now_ms, id, connection, tokens, out)?;
            let assigned = out.iter().filter_map(|update| match update {
                Update::Assigned(_, assignment) => Some(assignment),
                Update::Gone(..) | Update::Ended(..) => None,
            });
            let waited_ms: Vec<u64> = assigned
                .clone()
                .map(|assignment| assignment.waited_ms)
                .collect();
            if let Some(first) = assigned.clone().next() {
                self.metrics.count_assigned(
                    label.unwrap_or(&first.profile),
                    first.spread,
                    &waited_ms,
                );
            }
            Ok(())
        })
    }

    /// See [`Book::release`].
    pub(crate) fn release(&self, id: MatchId) {
        let now_ms = self.now_ms();
        if self.inner().book.release(now_ms, id).is_ok() {
            self.metrics.proposals_released.inc();
        }
    }

    /// Ends a match, tells its players and updates their ratings.
    pub(crate) async fn end(
        &self,
        id: MatchId,
        reason: EndReason,
        placings: Vec<Placing>,
    ) -> Result<(), Refused> {
        let placings =
            self.change(|book, now_ms, out| book.end(now_ms, id, reason, placings, out))?;
        self.metrics
            .matches_ended
            .get_or_create(&metrics::Ended { reason })
            .inc();
        if reason == EndReason::Finished && placings.len() > 1 {
            match self.ratings.update(&placings).await {
                Ok(refused) => _ = self.metrics.ratings_dropped.inc_by(refused as u64),
                Err(error) => {
                    tracing::warn!(%error, "ratings of a match were not stored");
                    self.metrics.ratings_dropped.inc_by(placings.len() as u64);
                }
            }
        }
        Ok(())
    }

    /// Tickets in pools.
    pub(crate) fn active(&self) -> usize {
        self.inner().book.counts().0
    }

    /// Players of a match, by slot.
    pub(crate) fn players(&self, id: MatchId) -> Vec<String> {
        self.inner().book.players(id)
    }

    /// Lets time pass; call once a cycle.
    pub(crate) fn elapse(&self) {
        let elapsed = self.change(|book, now_ms, out| book.elapse(now_ms, out));
        self.metrics.proposals_released.inc_by(elapsed.released);
        if elapsed.given_up > 0 {
            let label = metrics::Ended {
                reason: EndReason::Abandoned,
            };
            self.metrics
                .matches_ended
                .get_or_create(&label)
                .inc_by(elapsed.given_up);
        }
        let (active, waiting, live) = self.inner().book.counts();
        self.metrics.tickets_active.set(active as i64);
        self.metrics.tickets_waiting.set(waiting as i64);
        self.metrics.matches_live.set(live as i64);
    }

    /// Follows tickets; the stream ends when nothing more can come. What has happened comes first.
    /// The number is how many tickets had too many watches already.
    pub(crate) fn watch(
        &self,
        tickets: &[TicketId],
        until_end: bool,
    ) -> (mpsc::Receiver<Update>, usize) {
        let (updates, receiver) = mpsc::channel((tickets.len() * UPDATES_PER_TICKET).max(1));
        let mut refused = 0;
        let mut inner = self.inner();
        for &ticket in tickets {
            let (first, more) = inner.book.look_up(ticket);
            let assigned = first.is_some();
            let end = if until_end {
                inner.book.look_up_end(ticket)
            } else {
                None
            };
            for update in first.into_iter().chain(end) {
                // Has room: two updates for each ticket, and its watch is not registered yet.
                _ = updates.try_send(update);
            }
            if !more || (assigned && !until_end) {
                continue;
            }
            let watches = inner.watches.entry(ticket).or_default();
            watches.retain(|watch| !watch.updates.is_closed());
            if watches.len() < MAX_WATCHES {
                watches.push(Watch {
                    updates: updates.clone(),
                    until_end,
                });
            } else {
                refused += 1;
            }
        }
        self.metrics.watches_refused.inc_by(refused as u64);
        (receiver, refused)
    }

    /// Tells all watchers that nothing more will come.
    pub(crate) fn stop(&self) {
        let watches = std::mem::take(&mut self.inner().watches);
        for (ticket, watches) in watches {
            for watch in watches {
                _ = watch
                    .updates
                    .try_send(Update::Gone(ticket, GoneReason::Stopping));
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Book, u64, &mut Vec<Update>) -> T) -> T {
        let mut out = Vec::new();
        let now_ms = self.now_ms();
        let mut inner = self.inner();
        let changed = change(&mut inner.book, now_ms, &mut out);
        for update in out {
            if let Update::Gone(_, reason) = &update {
                self.metrics
                    .tickets_gone
                    .get_or_create(&metrics::Gone { reason: *reason })
                    .inc();
            }
            inner.deliver(&update);
        }
        changed
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

impl Inner {
    fn deliver(&mut self, update: &Update) {
        let ticket = update.ticket();
        let Some(mut watches) = self.watches.remove(&ticket) else {
            return;
        };
        watches.retain(|watch| {
            // A stream that is gone, or full against the rule, loses its watch and nothing else.
            watch.updates.try_send(update.clone()).is_ok()
                && watch.until_end
                && matches!(update, Update::Assigned(..))
        });
        if !watches.is_empty() {
            self.watches.insert(ticket, watches);
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::game::rating::Memory;

    fn desk() -> Desk {
        let metrics = Metrics::new(&mut crate::daemon::Table::default());
        Desk::new(Tickets::default(), Arc::new(Memory::new(100, 0.5)), metrics)
    }

    fn pair(desk: &Desk) -> (TicketId, Proposal) {
        for player in ["ann", "bob"] {
            let fields = SearchFields::from_proto(Default::default(), 1_500.0).unwrap();
            let (id, ..) = desk.create(player.to_owned(), fields, 0, None).unwrap();
            desk.activate(id).unwrap();
        }
        let profile = &crate::game::config::Config::default().profiles().unwrap()[0];
        let profile = Profile {
            pool: Default::default(),
            ..profile.clone()
        };
        let proposal = desk.propose(&profile, 1).remove(0);
        (proposal.members[0].0, proposal)
    }

    #[tokio::test]
    async fn a_watch_hears_all_and_ends_whenever_it_began() {
        let desk = desk();
        let (ticket, proposal) = pair(&desk);
        let (mut early, _) = desk.watch(&[ticket], true);
        let (mut brief, _) = desk.watch(&[ticket], false);
        desk.assign(proposal.id, "x", None).unwrap();
        let (mut late, _) = desk.watch(&[ticket], true);
        let placings = vec![Placing {
            player: "bob".to_owned(),
            place: 1,
            score: 0,
        }];
        desk.end(proposal.id, EndReason::Finished, placings)
            .await
            .unwrap();
        let (mut after, _) = desk.watch(&[ticket], true);
        for watch in [&mut early, &mut late, &mut after] {
            assert!(matches!(watch.recv().await, Some(Update::Assigned(..))));
            assert!(matches!(
                watch.recv().await,
                Some(Update::Ended(_, EndReason::Finished, _))
            ));
            assert_eq!(watch.recv().await, None);
        }
        assert!(matches!(brief.recv().await, Some(Update::Assigned(..))));
        assert_eq!(brief.recv().await, None);
        assert!(desk.ratings.get("bob").await.unwrap().rating.rating > 1_500.0);
    }

    #[test]
    fn watches_of_a_ticket_are_bounded_and_closed_ones_make_room() {
        let desk = desk();
        let (ticket, _) = pair(&desk);
        let watches: Vec<_> = (0..MAX_WATCHES)
            .map(|_| desk.watch(&[ticket], true))
            .collect();
        assert_eq!(desk.watch(&[ticket], true).1, 1);
        drop(watches);
        assert_eq!(desk.watch(&[ticket], true).1, 0);
    }

    #[test]
    fn ids_of_another_process_are_unknown() {
        let (one, two) = (desk(), desk());
        assert_eq!(one.number(&one.name(7)), Some(7));
        assert_eq!(two.number(&one.name(7)), None);
        assert_eq!(one.number("7"), None);
    }
}
