//! The record that tells of a rare fact, and when places told of which.

use super::Header;
use crate::change::FACTS;

/// A rare fact was counted at a place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ChangeRecord {
    /// Kind and time.
    pub header: Header,
    /// Index into `STATS`.
    pub slot: u32,
    /// `change::Fact`.
    pub fact: u32,
}

/// When a place last told of each fact, nanoseconds of the monotonic clock; 0 for never.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// By `change::Fact`.
    pub at_ns: [u64; FACTS],
}
