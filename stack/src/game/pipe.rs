//! What `game` and an arena process say over the arena's standard input and output: one JSON
//! object a line. The arena's first line is that of [`crate::daemon::ready`]; when its input ends,
//! its master is gone and it stops.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::book::{EndReason, MatchId};
use super::config::Room;

/// Longest line, in bytes.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// From `game`; `Setup` is the first and comes once.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// How to run.
    Setup(Setup),
    /// Opens a match; answered by `Opened` or `Refused`.
    Open {
        /// Number for reports.
        id: MatchId,
        /// Id for players.
        name: String,
        /// One for each player; slots are in this order.
        tokens: Vec<String>,
    },
    /// Ends a match that `game` no longer knows.
    Close {
        /// Which.
        id: MatchId,
    },
    /// Ends all matches and the process.
    Stop,
}

/// How an arena process runs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Setup {
    /// Where to listen.
    pub(crate) address: IpAddr,
    /// 0: any.
    pub(crate) port: u16,
    /// Matches at a time.
    pub(crate) rooms: usize,
    /// Time from beat to beat, in milliseconds.
    pub(crate) beat_ms: u64,
    /// Rules of matches.
    pub(crate) room: Room,
}

/// From an arena.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub(crate) enum Report {
    /// Players may come.
    Opened {
        /// Which match.
        id: MatchId,
    },
    /// The arena is full.
    Refused {
        /// Which match.
        id: MatchId,
    },
    /// A match is over.
    Ended {
        /// Which match.
        id: MatchId,
        /// Why.
        reason: EndReason,
        /// Slot, place and score of those who played, best first.
        standings: Vec<(u8, u32, i32)>,
    },
    /// The ticks go on.
    Beat {
        /// Matches that are open.
        open: Vec<MatchId>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lines_fit_their_bound() {
        let open = vec![MatchId::MAX; 1_024];
        assert!(serde_json::to_string(&Report::Beat { open }).unwrap().len() < MAX_LINE);
        let order = Order::Open {
            id: 1,
            name: "x".repeat(128),
            tokens: vec!["x".repeat(128); 16],
        };
        let line = serde_json::to_string(&order).unwrap();
        assert!(line.len() < MAX_LINE);
        assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), order);
    }
}
