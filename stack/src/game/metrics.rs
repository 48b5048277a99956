//! Metrics of `game`; those of arenas are in [`super::arena`].

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use super::book::{EndReason, GoneReason};
use super::fleet::{Exit, State};
use crate::daemon::Table;

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) tickets_created: Counter,
    pub(crate) tickets_refused: Counter,
    pub(crate) tickets_gone: Family<Gone, Counter>,
    pub(crate) tickets_waiting: Gauge,
    pub(crate) tickets_active: Gauge,
    pub(crate) tickets_assigned: Family<Profile, Counter>,
    pub(crate) wait: Family<Profile, Histogram, fn() -> Histogram>,
    pub(crate) spread: Family<Profile, Histogram, fn() -> Histogram>,
    pub(crate) matches_live: Gauge,
    pub(crate) matches_ended: Family<Ended, Counter>,
    pub(crate) proposals_released: Counter,
    pub(crate) cycle: Histogram,
    pub(crate) cycles_missed: Counter,
    pub(crate) cycles_short: Counter,
    pub(crate) ratings_dropped: Counter,
    pub(crate) watches_refused: Counter,
    pub(crate) arenas: Family<ArenaState, Gauge>,
    pub(crate) arena_starts: Counter,
    pub(crate) arena_exits: Family<ArenaExit, Counter>,
    pub(crate) allocation: Histogram,
    pub(crate) allocations_failed: Counter,
    pub(crate) allocations_dangling: Counter,
}

/// `profile`; those of foreign directors are all `external`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Profile {
    pub(crate) profile: String,
}

/// `reason` of tickets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Gone {
    pub(crate) reason: GoneReason,
}

/// `reason` of matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ended {
    pub(crate) reason: EndReason,
}

/// `state` of arena processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ArenaState {
    pub(crate) state: State,
}

/// `reason` of ends of arena processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ArenaExit {
    pub(crate) reason: Exit,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

fn rating_points() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 12))
}

impl Metrics {
    /// Those of the matchmaker.
    pub(crate) fn new(table: &mut Table) -> Self {
        Self {
            tickets_created: table.add("game_tickets_created", "Tickets created"),
            tickets_refused: table.add(
                "game_tickets_refused",
                "Tickets refused because there were too many",
            ),
            tickets_gone: table.by(
                &["reason"],
                "game_tickets_gone",
                "Tickets that left without a match",
            ),
            tickets_waiting: table.add(
                "game_tickets_waiting",
                "Tickets without a match, active or not",
            ),
            tickets_active: table.add("game_tickets_active", "Tickets in pools"),
            tickets_assigned: table.by(
                &["profile"],
                "game_tickets_assigned",
                "Tickets assigned to a match",
            ),
            wait: table.put(
                "game_ticket_wait",
                "Time from activation to assignment",
                Some(Unit::Seconds),
                &["profile"],
                Family::new_with_constructor(seconds),
            ),
            spread: table.put(
                "game_match_rating_spread",
                "Highest minus lowest rating in a match",
                None,
                &["profile"],
                Family::new_with_constructor(rating_points),
            ),
            matches_live: table.add("game_matches_live", "Matches under way"),
            matches_ended: table.by(&["reason"], "game_matches_ended", "Matches ended"),
            proposals_released: table.add(
                "game_proposals_released",
                "Proposals whose tickets went back to their pools",
            ),
            cycle: table.seconds(
                "game_cycle",
                "Time that one run of all match functions took",
                seconds(),
            ),
            cycles_missed: table.add(
                "game_cycles_missed",
                "Cycles left out because one before took too long",
            ),
            cycles_short: table.add(
                "game_cycles_short_of_rooms",
                "Cycles that could have used more rooms than there were",
            ),
            ratings_dropped: table.add(
                "game_ratings_dropped",
                "Ratings not kept for lack of room or because the store failed",
            ),
            watches_refused: table.add(
                "game_watches_refused",
                "Watches refused because a ticket had too many",
            ),
            arenas: table.by(&["state"], "game_arenas", "Arena processes"),
            arena_starts: table.add("game_arena_starts", "Arena processes started"),
            arena_exits: table.by(&["reason"], "game_arena_exits", "Arena processes ended"),
            allocation: table.seconds(
                "game_allocation",
                "Time an arena took to open a match",
                seconds(),
            ),
            allocations_failed: table.add(
                "game_allocations_failed",
                "Matches that no arena opened in time",
            ),
            allocations_dangling: table.add(
                "game_allocations_dangling",
                "Rooms that only one side knew of and that were given back",
            ),
        }
    }

    /// Of a match that was assigned.
    pub(crate) fn count_assigned(&self, profile: &str, spread: f64, waited_ms: &[u64]) {
        let label = Profile {
            profile: profile.to_owned(),
        };
        self.tickets_assigned
            .get_or_create(&label)
            .inc_by(waited_ms.len() as u64);
        self.spread.get_or_create(&label).observe(spread);
        let wait = self.wait.get_or_create(&label);
        for waited_ms in waited_ms {
            wait.observe(*waited_ms as f64 / 1_000.0);
        }
    }
}
