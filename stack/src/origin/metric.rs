//! The origin's metrics. Labels are of small closed sets: never a session, address or path.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::cmcd::State;
use super::session::News;
use crate::daemon::Table;

/// Seconds; around the length of a part, a segment and the bound of a held request.
const HELD: [f64; 9] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 6.0];

/// Seconds; a part is due five times in one.
const LATE: [f64; 7] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.1, 1.0];

/// Seconds until the first picture.
const STARTUP: [f64; 8] = [0.25, 0.5, 0.75, 1.0, 2.0, 4.0, 8.0, 16.0];

/// Seconds behind live: low latency is 1, plain HLS 6 and more.
const LATENCY: [f64; 9] = [0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];

/// Seconds of a stall: from one that nobody sees to one that nobody waits for.
const STALL: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

type Count = Counter<u64>;
type Seconds = Counter<f64, std::sync::atomic::AtomicU64>;

/// What was asked for and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    pub(crate) what: &'static str,
    pub(crate) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// Requests for streams.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    requests: Family<Asked, Count>,
    bytes: Family<What, Count>,
    refused: Family<Why, Count>,
    pub(crate) held: Gauge,
    pub(crate) held_for: Histogram,
    /// How late the loop showed its parts.
    pub(crate) late: Histogram,
}

impl Requests {
    pub(crate) fn register(table: &mut Table) -> Self {
        Self {
            requests: table.by(&["what", "code"], "origin_requests", "Requests for streams"),
            bytes: table.put(
                "origin_answer",
                "Bytes in answers to requests for streams",
                Some(Unit::Bytes),
                &["what"],
                Family::default(),
            ),
            refused: table.by(
                &["why"],
                "origin_refused",
                "Requests refused, by limit or fault",
            ),
            held: table.add(
                "origin_held_requests",
                "Requests held until what they ask for is there",
            ),
            held_for: table.seconds(
                "origin_held",
                "Time for which requests were held",
                Histogram::new(HELD),
            ),
            late: table.seconds(
                "origin_part_late",
                "Delay of parts of looped streams behind the moment when they were due",
                Histogram::new(LATE),
            ),
        }
    }

    pub(crate) fn answer(&self, what: &'static str, code: u16, bytes: u64) {
        self.requests.get_or_create(&Asked { what, code }).inc();
        self.bytes.get_or_create(&What { what }).inc_by(bytes);
    }

    pub(crate) fn refuse(&self, why: &'static str) {
        self.refused.get_or_create(&Why { why }).inc();
    }
}

/// How it goes for players, by what they say.
#[derive(Clone, Debug)]
pub(crate) struct Players {
    sets: Count,
    refused: Family<Why, Count>,
    players: Family<InState, Gauge>,
    stalls: Count,
    stalled: Seconds,
    stall: Histogram,
    played: Seconds,
    starved: Count,
    errors: Count,
    startup: Histogram,
    latency: Histogram,
}

impl Players {
    pub(crate) fn register(table: &mut Table) -> Self {
        Self {
            sets: table.add("origin_cmcd_sets", "Sets of CMCD taken"),
            refused: table.by(&["why"], "origin_cmcd_refused", "Sets of CMCD not taken"),
            players: table.by(
                &["state"],
                "origin_players",
                "Sessions by the state they named last",
            ),
            stalls: table.add("origin_player_stalls", "Stalls that players named"),
            stalled: table.seconds(
                "origin_player_stalled",
                "Time that players stalled",
                Seconds::default(),
            ),
            stall: table.seconds(
                "origin_player_stall",
                "Length of stalls",
                Histogram::new(STALL),
            ),
            played: table.seconds(
                "origin_player_played",
                "Time that players played",
                Seconds::default(),
            ),
            starved: table.add(
                "origin_player_starved",
                "Sets that said that the buffer had run empty",
            ),
            errors: table.add("origin_player_errors", "Errors that players named"),
            startup: table.seconds(
                "origin_player_startup",
                "Time from play to the first picture, by players",
                Histogram::new(STARTUP),
            ),
            latency: table.seconds(
                "origin_player_latency",
                "Time behind live, by players, one observation a set",
                Histogram::new(LATENCY),
            ),
        }
    }

    pub(crate) fn refuse(&self, why: &'static str) {
        self.refused.get_or_create(&Why { why }).inc();
    }

    pub(crate) fn count(&self, news: &News) {
        self.sets.inc();
        self.stalls.inc_by(u64::from(news.stall_begun));
        self.starved.inc_by(u64::from(news.starved));
        self.errors.inc_by(u64::from(news.error));
        self.played.inc_by(news.played / 1000.0);
        if let Some(stall) = news.stall_ended {
            self.stalled.inc_by(stall / 1000.0);
            self.stall.observe(stall / 1000.0);
        }
        for (histogram, said) in [(&self.startup, news.startup), (&self.latency, news.latency)] {
            if let Some(ms) = said {
                histogram.observe(ms / 1000.0);
            }
        }
    }

    pub(crate) fn set_states(&self, states: impl Iterator<Item = Option<State>>) {
        let (mut playing, mut stalled, mut over, mut other) = (0, 0, 0, 0);
        for state in states {
            *match state {
                Some(State::Playing) => &mut playing,
                Some(State::Rebuffering) => &mut stalled,
                Some(state) if state.is_last() => &mut over,
                _ => &mut other,
            } += 1;
        }
        for (state, count) in [
            ("playing", playing),
            ("rebuffering", stalled),
            ("over", over),
            ("other", other),
        ] {
            self.players.get_or_create(&InState { state }).set(count);
        }
    }
}

/// What encoders send.
#[derive(Clone, Debug)]
pub(crate) struct Ingests {
    pub(crate) open: Gauge,
    pub(crate) bytes: Count,
    pub(crate) fragments: Count,
    pub(crate) media: Seconds,
    pub(crate) gap: Histogram,
    faults: Family<Why, Count>,
    breaks: Family<Why, Count>,
}

impl Ingests {
    pub(crate) fn register(table: &mut Table) -> Self {
        Self {
            open: table.add("origin_ingests", "Encoders that send now"),
            bytes: table.bytes("origin_ingest", "Bytes from encoders"),
            fragments: table.add("origin_ingest_fragments", "Fragments from encoders"),
            media: table.seconds(
                "origin_ingest_media",
                "Playing time of the fragments from encoders",
                Seconds::default(),
            ),
            gap: table.seconds(
                "origin_ingest_gap",
                "Time from one fragment to the next of an encoder",
                Histogram::new(HELD),
            ),
            faults: table.by(
                &["why"],
                "origin_ingest_faults",
                "Ingests that were refused or cut",
            ),
            breaks: table.by(
                &["why"],
                "origin_ingest_breaks",
                "Places where an encoder's fragments do not join on",
            ),
        }
    }

    pub(crate) fn fault(&self, why: &'static str) {
        self.faults.get_or_create(&Why { why }).inc();
    }

    pub(crate) fn broke(&self, why: &'static str) {
        self.breaks.get_or_create(&Why { why }).inc();
    }
}
