//! Places of the map `SHARED`: single numbers that the probes and the agent exchange.

/// When the reader was last woken, nanoseconds of the monotonic clock.
pub const WOKEN: u32 = 0;
/// Generation of `PROCESSES`.
pub const OBSERVED: u32 = 1;
/// Monotonic clock of the last walk.
pub const WALKED_AT: u32 = 2;
/// The kernel's tick count then.
pub const WALKED_TICKS: u32 = 3;
/// Sockets that it visited.
pub const WALKED: u32 = 4;
/// Facts that the agent wants to be told of: the bits of `change::Facts`.
pub const ASKED: u32 = 5;
/// Number of places.
pub const SHARED: u32 = 6;

/// Which sockets a walk sums up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Scope {
    /// All.
    All,
    /// All; those from before the start are matched with the socket dump.
    Seeding,
    /// Those of the places whose `Live` bears the walk's number already.
    Marked,
}
