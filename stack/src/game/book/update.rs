//! What watchers of a ticket hear.

use super::{MatchId, TicketId};
use crate::game::rating::Placing;

/// Where a player should go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assignment {
    /// Which match.
    pub(crate) match_id: MatchId,
    /// Where to connect.
    pub(crate) connection: String,
    /// What to show there; empty on a director's own server.
    pub(crate) token: String,
    /// Of the match.
    pub(crate) profile: String,
    /// Highest rating minus lowest.
    pub(crate) spread: f64,
    /// From activation to assignment, in milliseconds.
    pub(crate) waited_ms: u64,
}

/// News of a ticket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Update {
    /// It has a match.
    Assigned(TicketId, Assignment),
    /// It left without one.
    Gone(TicketId, GoneReason),
    /// Its match is over.
    Ended(TicketId, EndReason, Vec<Placing>),
}

/// Why a ticket left; the numbers are those of `Gone.Reason`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelValue,
)]
pub(crate) enum GoneReason {
    /// Its time was over.
    Expired = 1,
    /// Its player gave up.
    Cancelled = 2,
    /// Never seen, or ended too long ago.
    Unknown = 3,
    /// The server stops.
    Stopping = 4,
}

/// Why a match is over; the numbers are those of `MatchEnded.Reason`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    prometheus_client::encoding::EncodeLabelValue,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndReason {
    /// Played to its end.
    Finished = 1,
    /// The arena died or stopped answering.
    ArenaLost = 2,
    /// Nobody came.
    NotJoined = 3,
    /// All left, or nobody reported.
    Abandoned = 4,
    /// The server stops.
    Stopped = 5,
}

impl Update {
    /// Whose news.
    pub(crate) fn ticket(&self) -> TicketId {
        match self {
            Self::Assigned(id, _) | Self::Gone(id, _) | Self::Ended(id, ..) => *id,
        }
    }
}
