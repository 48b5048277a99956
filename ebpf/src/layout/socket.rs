//! What is kept of a socket.

use super::Flow;

/// State of a socket between events.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// When it was established; 0 if not, or before the start.
    pub opened_at_ns: u64,
    /// Return of the send whose delivery is being measured; 0 if none.
    pub delivery_from_ns: u64,
    /// Since when the peer's window is shut; 0 if it is not.
    pub zero_since_ns: u64,
    /// No RTT sample before this.
    pub rtt_next_ns: u64,
    /// Time the window was shut before `zero_since_ns`.
    pub zero_done_ns: u64,
    /// The kernel's counters when Weir began to count.
    pub base: Flow,
    /// Sequence number that ends the measured delivery.
    pub delivery_seq: u32,
    /// Where its facts are counted: index into `STATS`.
    pub slot: u32,
    /// SRTT of the last sample.
    pub rtt_last: u32,
    /// Segments retransmitted in this loss episode.
    pub episode: u32,
    /// `dsack_dups` when the episode began.
    pub episode_dsacks: u32,
    /// `tcp::Role`.
    pub role: u8,
    /// 1 once established.
    pub established: u8,
    /// 1 once the process that uses it is known.
    pub claimed: u8,
    /// Peer group, 0 if none.
    pub group: u8,
}

impl Socket {
    /// Nothing known.
    pub const NEW: Self = Self {
        opened_at_ns: 0,
        delivery_from_ns: 0,
        zero_since_ns: 0,
        rtt_next_ns: 0,
        zero_done_ns: 0,
        base: Flow::NONE,
        delivery_seq: 0,
        slot: 0,
        rtt_last: 0,
        episode: 0,
        episode_dsacks: 0,
        role: 0,
        established: 0,
        claimed: 0,
        group: 0,
    };
}

/// A socket that was open before the start, found by a socket dump; key is its cookie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed {
    /// The kernel's counters at the dump.
    pub base: Flow,
    /// Where its facts are counted.
    pub slot: u32,
    /// `tcp::Role`.
    pub role: u8,
    /// Peer group, 0 if none.
    pub group: u8,
    #[expect(missing_docs, reason = "padding")]
    pub pad: [u8; 2],
}
