//! What the probes count about themselves: every record and insertion that failed.

use super::RECORDS;
use super::stats::add_all;

/// Kernel maps whose insertions can fail; the index in `Counts::refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Bounded {
    /// `SOCKETS`.
    Sockets,
    /// `OWNERS`, or no place left in `STATS`.
    Owners,
    /// `PROCESSES`.
    Processes,
    /// `LISTENERS`.
    Listeners,
}

/// Number of bounded maps.
pub const BOUNDED: usize = 4;

/// Measurements that can get lost between begin and end; the index in `Counts::lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Lost {
    /// A send ended whose begin was not seen or was overwritten.
    Send,
    /// A delivery whose ACK was not seen.
    Delivery,
    /// A thread's wait was overwritten by another thread's.
    Sched,
}

/// Number of kinds of lost measurements.
pub const LOSSES: usize = 3;

/// What the probes count about themselves, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Records handed over, by kind.
    pub records_sent: [u64; RECORDS],
    /// Records refused, by kind.
    pub records_lost: [u64; RECORDS],
    /// Failed insertions by `Bounded`.
    pub refused: [u64; BOUNDED],
    /// Lost measurements by `Lost`.
    pub lost: [u64; LOSSES],
}

impl Counts {
    /// Adds what another CPU counted.
    pub fn add(&mut self, other: &Self) {
        add_all(&mut self.records_sent, &other.records_sent);
        add_all(&mut self.records_lost, &other.records_lost);
        add_all(&mut self.refused, &other.refused);
        add_all(&mut self.lost, &other.lost);
    }
}
