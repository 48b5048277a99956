//! Pairings: matches in the book, proposed, assigned, released, ended.

use super::{
    Assignment, Book, EndReason, Ended, Match, MatchId, MatchState, Proposal, Refused, TicketId,
    TicketState, Update,
};
use crate::game::matcher::{self, Candidate};
use crate::game::pool::{Profile, RATING};
use crate::game::rating::Placing;

impl Book {
    /// Runs the match function of a profile; the tickets of the proposals are frozen.
    pub(crate) fn propose(
        &mut self,
        now_ms: u64,
        profile: &Profile,
        limit: usize,
    ) -> Vec<Proposal> {
        let found = {
            let candidates: Vec<Candidate<'_>> = self
                .active
                .iter()
                .filter_map(|id| self.candidate(now_ms, *id, profile))
                .collect();
            matcher::find(&candidates, profile.players, &profile.window, limit)
        };
        found
            .into_iter()
            .map(|found| self.freeze(now_ms, profile, found))
            .collect()
    }

    fn candidate<'a>(
        &'a self,
        now_ms: u64,
        id: TicketId,
        profile: &Profile,
    ) -> Option<Candidate<'a>> {
        let ticket = self.tickets.get(&id)?;
        if !profile.pool.holds(&ticket.fields) {
            return None;
        }
        Some(Candidate {
            ticket: id,
            rating: *ticket.fields.doubles.get(RATING)?,
            waited_ms: now_ms.saturating_sub(ticket.active_since_ms?),
            split: ticket
                .fields
                .strings
                .get(&profile.split_by)
                .map_or("", String::as_str),
        })
    }

    fn freeze(&mut self, now_ms: u64, profile: &Profile, found: matcher::Match) -> Proposal {
        self.last_match += 1;
        let id = self.last_match;
        let mut proposal = Proposal {
            id,
            profile: profile.name.clone(),
            members: Vec::with_capacity(found.tickets.len()),
            spread: found.spread,
            waited_ms: Vec::with_capacity(found.tickets.len()),
        };
        for ticket_id in &found.tickets {
            self.active.remove(ticket_id);
            if let Some(ticket) = self.tickets.get_mut(ticket_id) {
                self.expiries.remove(&(ticket.expires_ms, *ticket_id));
                ticket.state = TicketState::Proposed;
                proposal.members.push((*ticket_id, ticket.player.clone()));
                proposal
                    .waited_ms
                    .push(now_ms.saturating_sub(ticket.active_since_ms.unwrap_or(now_ms)));
            }
        }
        let timeout_ms = now_ms + self.bounds.release_timeout_ms;
        self.timeouts.insert((timeout_ms, id));
        self.matches.insert(
            id,
            Match {
                profile: proposal.profile.clone(),
                tickets: found.tickets,
                spread: found.spread,
                timeout_ms,
                state: MatchState::Proposed,
            },
        );
        proposal
    }

    /// Assigns the tickets of a proposal to a server. Tokens are in the order of members; without
    /// them (a director's own server) the match has to be reported within its time.
    pub(crate) fn assign(
        &mut self,
        now_ms: u64,
        id: MatchId,
        connection: &str,
        tokens: Option<&[String]>,
        out: &mut Vec<Update>,
    ) -> Result<(), Refused> {
        let found = self.matches.get_mut(&id).ok_or(Refused::Unknown)?;
        if found.state != MatchState::Proposed {
            return Err(Refused::Ended);
        }
        found.state = MatchState::Live;
        self.timeouts.remove(&(found.timeout_ms, id));
        if tokens.is_none() {
            found.timeout_ms = now_ms + self.bounds.match_max_ms;
            self.timeouts.insert((found.timeout_ms, id));
        }
        for (index, ticket_id) in found.tickets.iter().enumerate() {
            let Some(ticket) = self.tickets.get_mut(ticket_id) else {
                continue;
            };
            let assignment = Assignment {
                match_id: id,
                connection: connection.to_owned(),
                token: tokens
                    .and_then(|tokens| tokens.get(index))
                    .cloned()
                    .unwrap_or_default(),
                profile: found.profile.clone(),
                spread: found.spread,
                waited_ms: now_ms.saturating_sub(ticket.active_since_ms.unwrap_or(now_ms)),
            };
            out.push(Update::Assigned(*ticket_id, assignment.clone()));
            ticket.state = TicketState::Assigned(id, Box::new(assignment));
        }
        Ok(())
    }

    /// Gives up a proposal: its tickets return to their pools, as old as they were.
    pub(crate) fn release(&mut self, now_ms: u64, id: MatchId) -> Result<(), Refused> {
        let found = self.matches.get(&id).ok_or(Refused::Unknown)?;
        if found.state != MatchState::Proposed {
            return Err(Refused::Ended);
        }
        if let Some(found) = self.matches.remove(&id) {
            self.timeouts.remove(&(found.timeout_ms, id));
            for ticket_id in found.tickets {
                let Some(ticket) = self.tickets.get_mut(&ticket_id) else {
                    continue;
                };
                ticket.state = TicketState::Waiting;
                // One that is overdue gets no further match, it expires with the next tick of time.
                self.expiries.insert((ticket.expires_ms, ticket_id));
                if ticket.expires_ms > now_ms {
                    self.active.insert(ticket_id);
                }
            }
        }
        Ok(())
    }

    /// Ends a match. Returns the placings to rate: the given ones, then players not among them,
    /// who share the last place.
    pub(crate) fn end(
        &mut self,
        now_ms: u64,
        id: MatchId,
        reason: EndReason,
        mut placings: Vec<Placing>,
        out: &mut Vec<Update>,
    ) -> Result<Vec<Placing>, Refused> {
        let found = self.matches.get_mut(&id).ok_or(Refused::Unknown)?;
        if found.state != MatchState::Live {
            return Err(if found.state == MatchState::Proposed {
                Refused::Unknown
            } else {
                Refused::Ended
            });
        }
        let mut absent: Vec<&str> = found
            .tickets
            .iter()
            .filter_map(|ticket| self.tickets.get(ticket))
            .map(|ticket| ticket.player.as_str())
            .collect();
        for placing in &placings {
            let at = absent
                .iter()
                .position(|player| *player == placing.player)
                .ok_or(Refused::NotItsPlayers)?;
            absent.swap_remove(at);
        }
        if reason == EndReason::Finished && !placings.is_empty() {
            let last = placings
                .iter()
                .map(|placing| placing.place)
                .max()
                .unwrap_or(0)
                .saturating_add(1);
            placings.extend(absent.into_iter().map(|player| Placing {
                player: player.to_owned(),
                place: last,
                score: 0,
            }));
        }
        found.state = MatchState::Ended(reason, placings.clone());
        self.timeouts.remove(&(found.timeout_ms, id));
        for ticket_id in &found.tickets {
            if let Some(key) = self
                .tickets
                .get_mut(ticket_id)
                .and_then(|ticket| ticket.key.take())
            {
                self.keys.remove(&key);
            }
            self.ended.push_back((now_ms, Ended::Ticket(*ticket_id)));
            out.push(Update::Ended(*ticket_id, reason, placings.clone()));
        }
        self.ended.push_back((now_ms, Ended::Match(id)));
        Ok(placings)
    }

    /// Players of a match, in the order of its tokens; empty if it is unknown.
    pub(crate) fn players(&self, id: MatchId) -> Vec<String> {
        let tickets = self
            .matches
            .get(&id)
            .map_or(&[][..], |found| &found.tickets);
        tickets
            .iter()
            .filter_map(|ticket| Some(self.tickets.get(ticket)?.player.clone()))
            .collect()
    }
}
