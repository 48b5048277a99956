//! Metrics of an arena process.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::game::protocol::close;

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) matches: Gauge,
    pub(crate) players: Gauge,
    pub(crate) tick: Histogram,
    pub(crate) tick_late: Histogram,
    pub(crate) overruns: Counter,
    pub(crate) ticks_missed: Counter,
    pub(crate) inputs: Counter,
    pub(crate) inputs_repeated: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) snapshot_bytes: Counter,
    pub(crate) snapshots_whole: Counter,
    pub(crate) snapshots_skipped: Counter,
    pub(crate) round_trip: Histogram,
    pub(crate) connections_refused: Counter,
    pub(crate) partings: Family<Parting, Counter>,
    pub(crate) reports_dropped: Counter,
}

/// `reason` why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Parting {
    pub(crate) reason: Reason,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Reason {
    /// The match is over.
    MatchOver,
    /// The player said so.
    Left,
    /// The connection was closed or reset, without a word.
    Gone,
    /// No Hello in time.
    NoHello,
    /// No such token.
    BadToken,
    /// Bytes that are no message.
    Malformed,
    /// A message above its bound.
    TooBig,
    /// More messages than a player can mean.
    TooFast,
    /// Nothing heard, or nothing taken, for too long.
    TimedOut,
    /// A newer connection has the same token.
    Replaced,
    /// The arena stops.
    Stopping,
}

impl Reason {
    /// What the player is told; nothing if nobody would hear it.
    pub(crate) fn close_code(self) -> Option<u16> {
        match self {
            Self::MatchOver => Some(close::MATCH_OVER),
            Self::BadToken => Some(close::BAD_TOKEN),
            Self::Malformed => Some(close::MALFORMED),
            Self::TooBig => Some(close::TOO_BIG),
            Self::TooFast => Some(close::TOO_FAST),
            Self::TimedOut | Self::NoHello => Some(close::TIMED_OUT),
            Self::Replaced => Some(close::REPLACED),
            Self::Stopping => Some(close::STOPPING),
            Self::Left => Some(1000),
            Self::Gone => None,
        }
    }
}

impl Metrics {
    /// Registered under `arena_`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let times = || Histogram::new(exponential_buckets(0.000_01, 2.0, 18));
        let metrics = Self {
            matches: Gauge::default(),
            players: Gauge::default(),
            tick: times(),
            tick_late: times(),
            overruns: Counter::default(),
            ticks_missed: Counter::default(),
            inputs: Counter::default(),
            inputs_repeated: Counter::default(),
            snapshots: Counter::default(),
            snapshot_bytes: Counter::default(),
            snapshots_whole: Counter::default(),
            snapshots_skipped: Counter::default(),
            round_trip: Histogram::new(exponential_buckets(0.001, 2.0, 13)),
            connections_refused: Counter::default(),
            partings: Family::default(),
            reports_dropped: Counter::default(),
        };
        let arena = registry.sub_registry_with_prefix("arena");
        metrics.register_ticks(arena);
        metrics.register_players(arena);
        metrics
    }

    fn register_ticks(&self, arena: &mut Registry) {
        arena.register("matches", "Matches open", self.matches.clone());
        let help = "Time a tick took: intents, world, publication";
        arena.register_with_unit("tick", help, Unit::Seconds, self.tick.clone());
        let help = "Time from a tick's deadline to its start";
        arena.register_with_unit("tick_late", help, Unit::Seconds, self.tick_late.clone());
        let help = "Ticks that ended after the next one's deadline, started late or not";
        arena.register("tick_overruns", help, self.overruns.clone());
        arena.register(
            "ticks_missed",
            "Ticks left out after an overrun",
            self.ticks_missed.clone(),
        );
        let help = "Reports that found no room; beats make up for them";
        arena.register("reports_dropped", help, self.reports_dropped.clone());
    }

    fn register_players(&self, arena: &mut Registry) {
        arena.register("players", "Players connected", self.players.clone());
        arena.register("inputs", "Intents taken in", self.inputs.clone());
        arena.register(
            "inputs_repeated",
            "Intents skipped because they had been seen",
            self.inputs_repeated.clone(),
        );
        arena.register("snapshots", "Snapshots sent", self.snapshots.clone());
        arena.register_with_unit(
            "snapshot",
            "Size of snapshots sent",
            Unit::Bytes,
            self.snapshot_bytes.clone(),
        );
        arena.register(
            "snapshots_whole",
            "Snapshots sent without a base",
            self.snapshots_whole.clone(),
        );
        let help = "Ticks that slow players did not get";
        arena.register("snapshots_skipped", help, self.snapshots_skipped.clone());
        let help = "Time from sending a snapshot to its acknowledgement";
        arena.register_with_unit("round_trip", help, Unit::Seconds, self.round_trip.clone());
        let help = "WebSocket requests refused: malformed, or too many connections";
        arena.register(
            "connections_refused",
            help,
            self.connections_refused.clone(),
        );
        arena.register("partings", "Connections ended", self.partings.clone());
    }
}
