//! Metrics of `game`; those of arenas are in [`super::arena`].

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::book::{EndReason, GoneReason};
use super::fleet::{Exit, State};

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
    /// Registered under `game_`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            tickets_created: Counter::default(),
            tickets_refused: Counter::default(),
            tickets_gone: Family::default(),
            tickets_waiting: Gauge::default(),
            tickets_active: Gauge::default(),
            tickets_assigned: Family::default(),
            wait: Family::new_with_constructor(seconds),
            spread: Family::new_with_constructor(rating_points),
            matches_live: Gauge::default(),
            matches_ended: Family::default(),
            proposals_released: Counter::default(),
            cycle: seconds(),
            cycles_missed: Counter::default(),
            cycles_short: Counter::default(),
            ratings_dropped: Counter::default(),
            watches_refused: Counter::default(),
            arenas: Family::default(),
            arena_starts: Counter::default(),
            arena_exits: Family::default(),
            allocation: seconds(),
            allocations_failed: Counter::default(),
            allocations_dangling: Counter::default(),
        };
        let game = registry.sub_registry_with_prefix("game");
        metrics.register_tickets(game);
        metrics.register_matches(game);
        metrics.register_arenas(game);
        metrics
    }

    fn register_tickets(&self, game: &mut Registry) {
        game.register(
            "tickets_created",
            "Tickets created",
            self.tickets_created.clone(),
        );
        game.register(
            "tickets_refused",
            "Tickets refused because there were too many",
            self.tickets_refused.clone(),
        );
        game.register(
            "tickets_gone",
            "Tickets that left without a match",
            self.tickets_gone.clone(),
        );
        game.register(
            "tickets_waiting",
            "Tickets without a match, active or not",
            self.tickets_waiting.clone(),
        );
        game.register(
            "tickets_active",
            "Tickets in pools",
            self.tickets_active.clone(),
        );
        game.register(
            "tickets_assigned",
            "Tickets assigned to a match",
            self.tickets_assigned.clone(),
        );
        let help = "Time from activation to assignment";
        game.register_with_unit("ticket_wait", help, Unit::Seconds, self.wait.clone());
        let help = "Watches refused because a ticket had too many";
        game.register("watches_refused", help, self.watches_refused.clone());
    }

    fn register_matches(&self, game: &mut Registry) {
        game.register(
            "match_rating_spread",
            "Highest minus lowest rating in a match",
            self.spread.clone(),
        );
        game.register(
            "matches_live",
            "Matches under way",
            self.matches_live.clone(),
        );
        game.register("matches_ended", "Matches ended", self.matches_ended.clone());
        let help = "Proposals whose tickets went back to their pools";
        game.register("proposals_released", help, self.proposals_released.clone());
        let help = "Time that one run of all match functions took";
        game.register_with_unit("cycle", help, Unit::Seconds, self.cycle.clone());
        game.register(
            "cycles_missed",
            "Cycles left out because one before took too long",
            self.cycles_missed.clone(),
        );
        let help = "Cycles that could have used more rooms than there were";
        game.register("cycles_short_of_rooms", help, self.cycles_short.clone());
        let help = "Ratings not kept for lack of room or because the store failed";
        game.register("ratings_dropped", help, self.ratings_dropped.clone());
    }

    fn register_arenas(&self, game: &mut Registry) {
        game.register("arenas", "Arena processes", self.arenas.clone());
        game.register(
            "arena_starts",
            "Arena processes started",
            self.arena_starts.clone(),
        );
        game.register(
            "arena_exits",
            "Arena processes ended",
            self.arena_exits.clone(),
        );
        let help = "Time an arena took to open a match";
        game.register_with_unit("allocation", help, Unit::Seconds, self.allocation.clone());
        let help = "Matches that no arena opened in time";
        game.register("allocations_failed", help, self.allocations_failed.clone());
        let help = "Rooms that only one side knew of and that were given back";
        game.register(
            "allocations_dangling",
            help,
            self.allocations_dangling.clone(),
        );
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
