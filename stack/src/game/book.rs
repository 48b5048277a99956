//! The book of tickets and matches: every state and who may change into which. Pure: time is an
//! argument (milliseconds of any clock that never goes back), what players should hear comes out
//! as updates.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::config::Tickets;
use super::pool::SearchFields;
use super::rating::Placing;

mod pairing;
pub(crate) mod update;

pub(crate) use update::{Assignment, EndReason, GoneReason, Update};

/// Number of a ticket, from 1, never used twice.
pub(crate) type TicketId = u64;
/// Number of a match, from 1, never used twice.
pub(crate) type MatchId = u64;

/// All tickets and matches.
#[derive(Debug)]
pub(crate) struct Book {
    bounds: Tickets,
    last_ticket: TicketId,
    last_match: MatchId,
    tickets: HashMap<TicketId, Ticket>,
    keys: HashMap<String, TicketId>,
    active: BTreeSet<TicketId>,
    /// Of tickets that are neither in a match nor ended.
    expiries: BTreeSet<(u64, TicketId)>,
    matches: HashMap<MatchId, Match>,
    /// When proposals are released and matches of other directors given up.
    timeouts: BTreeSet<(u64, MatchId)>,
    /// Ended tickets and matches, oldest first.
    ended: VecDeque<(u64, Ended)>,
}

#[derive(Debug)]
struct Ticket {
    player: String,
    key: Option<String>,
    fields: SearchFields,
    expires_ms: u64,
    active_since_ms: Option<u64>,
    state: TicketState,
}

#[derive(Clone, Debug)]
enum TicketState {
    /// Not in a match; active if `active_since_ms` says so.
    Waiting,
    /// In a proposal: frozen.
    Proposed,
    Assigned(MatchId, Box<Assignment>),
    Gone(GoneReason),
}

#[derive(Debug)]
struct Match {
    profile: String,
    tickets: Vec<TicketId>,
    spread: f64,
    timeout_ms: u64,
    state: MatchState,
}

#[derive(Clone, Debug, PartialEq)]
enum MatchState {
    Proposed,
    Live,
    Ended(EndReason, Vec<Placing>),
}

#[derive(Clone, Copy, Debug)]
enum Ended {
    Ticket(TicketId),
    Match(MatchId),
}

/// A match that waits for a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal {
    /// Of the match.
    pub(crate) id: MatchId,
    /// Its profile's name.
    pub(crate) profile: String,
    /// Tickets and their players.
    pub(crate) members: Vec<(TicketId, String)>,
    /// Highest rating minus lowest.
    pub(crate) spread: f64,
    /// How long each ticket was active, in milliseconds, in the order of members.
    pub(crate) waited_ms: Vec<u64>,
}

/// Why a ticket or match could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Too many tickets.
    #[error("too many tickets")]
    Full,
    /// Never seen, or ended too long ago.
    #[error("unknown")]
    Unknown,
    /// The ticket is in a match.
    #[error("assigned")]
    Assigned,
    /// The match has ended.
    #[error("ended")]
    Ended,
    /// Somebody who is not in the match, or twice.
    #[error("the placings are not of this match's players")]
    NotItsPlayers,
}

/// What happened by time alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elapsed {
    /// Tickets expired.
    pub(crate) expired: u64,
    /// Proposals whose tickets went back to their pools.
    pub(crate) released: u64,
    /// Matches of other directors given up unreported.
    pub(crate) given_up: u64,
}

impl Book {
    /// Empty.
    pub(crate) fn new(bounds: Tickets) -> Self {
        Self {
            bounds,
            last_ticket: 0,
            last_match: 0,
            tickets: HashMap::new(),
            keys: HashMap::new(),
            active: BTreeSet::new(),
            expiries: BTreeSet::new(),
            matches: HashMap::new(),
            timeouts: BTreeSet::new(),
            ended: VecDeque::new(),
        }
    }

    /// Writes a ticket down, or finds the one with the same key. Returns its id, whether it was
    /// there, and when it expires.
    pub(crate) fn create(
        &mut self,
        now_ms: u64,
        player: String,
        fields: SearchFields,
        ttl_ms: u64,
        key: Option<String>,
    ) -> Result<(TicketId, bool, u64), Refused> {
        if let Some(id) = key.as_ref().and_then(|key| self.keys.get(key))
            && let Some(ticket) = self.tickets.get(id)
        {
            return Ok((*id, true, ticket.expires_ms));
        }
        if self.expiries.len() >= self.bounds.max {
            return Err(Refused::Full);
        }
        self.last_ticket += 1;
        let id = self.last_ticket;
        let ttl_ms = if ttl_ms == 0 {
            self.bounds.ttl_ms
        } else {
            ttl_ms
        };
        let expires_ms = now_ms + ttl_ms.min(self.bounds.ttl_max_ms);
        if let Some(key) = &key {
            self.keys.insert(key.clone(), id);
        }
        self.expiries.insert((expires_ms, id));
        let state = TicketState::Waiting;
        self.tickets.insert(
            id,
            Ticket {
                player,
                key,
                fields,
                expires_ms,
                active_since_ms: None,
                state,
            },
        );
        Ok((id, false, expires_ms))
    }

    /// Lets a ticket take part in matching.
    pub(crate) fn activate(&mut self, now_ms: u64, id: TicketId) -> Result<(), Refused> {
        let ticket = self.tickets.get_mut(&id).ok_or(Refused::Unknown)?;
        match ticket.state {
            TicketState::Waiting => {
                ticket.active_since_ms.get_or_insert(now_ms);
                self.active.insert(id);
                Ok(())
            }
            TicketState::Proposed | TicketState::Assigned(..) => Err(Refused::Assigned),
            TicketState::Gone(_) => Err(Refused::Unknown),
        }
    }

    /// Drops a ticket that is not in a match.
    pub(crate) fn deactivate(
        &mut self,
        now_ms: u64,
        id: TicketId,
        out: &mut Vec<Update>,
    ) -> Result<(), Refused> {
        match self.tickets.get(&id).map(|ticket| &ticket.state) {
            Some(TicketState::Waiting) => {
                self.end_ticket(now_ms, id, GoneReason::Cancelled, out);
                Ok(())
            }
            Some(TicketState::Proposed | TicketState::Assigned(..)) => Err(Refused::Assigned),
            Some(TicketState::Gone(_)) | None => Err(Refused::Unknown),
        }
    }

    /// Lets time pass: expiry, release, forgetting.
    pub(crate) fn elapse(&mut self, now_ms: u64, out: &mut Vec<Update>) -> Elapsed {
        let mut elapsed = Elapsed::default();
        while let Some(&(at_ms, id)) = self.expiries.first()
            && at_ms <= now_ms
        {
            self.end_ticket(now_ms, id, GoneReason::Expired, out);
            elapsed.expired += 1;
        }
        while let Some(&(at_ms, id)) = self.timeouts.first()
            && at_ms <= now_ms
        {
            self.timeouts.pop_first();
            if self.release(now_ms, id).is_ok() {
                elapsed.released += 1;
            } else if self
                .end(now_ms, id, EndReason::Abandoned, Vec::new(), out)
                .is_ok()
            {
                elapsed.given_up += 1;
            }
        }
        while let Some(&(at_ms, ended)) = self.ended.front()
            && (at_ms + self.bounds.ended_keep_ms <= now_ms
                || self.ended.len() > self.bounds.ended_max)
        {
            self.ended.pop_front();
            match ended {
                Ended::Ticket(id) => drop(self.tickets.remove(&id)),
                Ended::Match(id) => drop(self.matches.remove(&id)),
            }
        }
        elapsed
    }

    /// What a watcher that comes now should hear first, and whether more may follow.
    pub(crate) fn look_up(&self, id: TicketId) -> (Option<Update>, bool) {
        let Some(ticket) = self.tickets.get(&id) else {
            return (Some(Update::Gone(id, GoneReason::Unknown)), false);
        };
        match &ticket.state {
            TicketState::Waiting | TicketState::Proposed => (None, true),
            TicketState::Assigned(match_id, assignment) => {
                let live = self
                    .matches
                    .get(match_id)
                    .is_some_and(|found| found.state == MatchState::Live);
                (Some(Update::Assigned(id, (**assignment).clone())), live)
            }
            TicketState::Gone(reason) => (Some(Update::Gone(id, *reason)), false),
        }
    }

    /// How a ticket's match ended, if it did.
    pub(crate) fn look_up_end(&self, id: TicketId) -> Option<Update> {
        let TicketState::Assigned(match_id, _) = &self.tickets.get(&id)?.state else {
            return None;
        };
        match &self.matches.get(match_id)?.state {
            MatchState::Ended(reason, placings) => {
                Some(Update::Ended(id, *reason, placings.clone()))
            }
            MatchState::Proposed | MatchState::Live => None,
        }
    }

    /// Tickets that take part in matching, tickets without a match, live matches.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let live = self
            .matches
            .values()
            .filter(|found| found.state == MatchState::Live)
            .count();
        (self.active.len(), self.expiries.len(), live)
    }

    fn end_ticket(&mut self, now_ms: u64, id: TicketId, reason: GoneReason, out: &mut Vec<Update>) {
        self.active.remove(&id);
        let Some(ticket) = self.tickets.get_mut(&id) else {
            return;
        };
        self.expiries.remove(&(ticket.expires_ms, id));
        ticket.state = TicketState::Gone(reason);
        ticket.fields = SearchFields::default();
        if let Some(key) = ticket.key.take() {
            self.keys.remove(&key);
        }
        self.ended.push_back((now_ms, Ended::Ticket(id)));
        out.push(Update::Gone(id, reason));
    }
}

#[cfg(test)]
mod tests;
