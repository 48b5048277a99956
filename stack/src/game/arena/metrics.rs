//! Metrics of an arena process.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::daemon::Table;
use crate::game::protocol::close;

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) matches: Gauge,
    pub(crate) players: Gauge,
    pub(crate) tick: Histogram,
    pub(crate) tick_late: Histogram,
    pub(crate) tick_nice: Gauge,
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
    /// Those of an arena.
    pub(crate) fn new(table: &mut Table) -> Self {
        let times = || Histogram::new(exponential_buckets(0.000_01, 2.0, 18));
        Self {
            matches: table.add("arena_matches", "Matches open"),
            players: table.add("arena_players", "Players connected"),
            tick: table.seconds(
                "arena_tick",
                "Time a tick took: intents, world, publication",
                times(),
            ),
            tick_late: table.seconds(
                "arena_tick_late",
                "Time from a tick's deadline to its start",
                times(),
            ),
            tick_nice: table.add(
                "arena_tick_nice",
                "Nice value of the thread that ticks: tick_nice, or what the system left it",
            ),
            overruns: table.add(
                "arena_tick_overruns",
                "Ticks that ended after the next one's deadline, started late or not",
            ),
            ticks_missed: table.add("arena_ticks_missed", "Ticks left out after an overrun"),
            inputs: table.add("arena_inputs", "Intents taken in"),
            inputs_repeated: table.add(
                "arena_inputs_repeated",
                "Intents skipped because they had been seen",
            ),
            snapshots: table.add("arena_snapshots", "Snapshots sent"),
            snapshot_bytes: table.bytes("arena_snapshot", "Size of snapshots sent"),
            snapshots_whole: table.add("arena_snapshots_whole", "Snapshots sent without a base"),
            snapshots_skipped: table.add(
                "arena_snapshots_skipped",
                "Ticks that slow players did not get",
            ),
            round_trip: table.seconds(
                "arena_round_trip",
                "Time from sending a snapshot to its acknowledgement",
                Histogram::new(exponential_buckets(0.001, 2.0, 13)),
            ),
            connections_refused: table.add(
                "arena_connections_refused",
                "WebSocket requests refused: malformed, or too many connections",
            ),
            partings: table.by(&["reason"], "arena_partings", "Connections ended"),
            reports_dropped: table.add(
                "arena_reports_dropped",
                "Reports that found no room; beats make up for them",
            ),
        }
    }
}
