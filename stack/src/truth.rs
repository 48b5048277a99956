//! The truth: what players, chat users, gamers and faults really did, one JSON object a line.
//!
//! Every line has `mono_ns` (CLOCK_MONOTONIC, the same clock in all processes and network
//! namespaces of a host), `wall_ns` (CLOCK_REALTIME), `kind`, and, where it concerns one session,
//! `session`. The kinds and their fields are [`Event`]. Lines of one session are in order; lines
//! of different sessions are nearly so: sort by `mono_ns` where it matters. Seconds carry the
//! suffix `_s`, milliseconds `_ms`, bits per second `_bps`. The last line is `last` and says how
//! many lines were written and how many were lost, so a cut-off file shows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Serialize, Serializer};

mod event;
mod writer;

pub(crate) use event::{Event, Phase, Reason, Role, WaitingFor};
pub(crate) use writer::Truth;

/// Version of the schema, in the first line of every file.
pub(crate) const SCHEMA: u32 = 1;

/// One line of the truth.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    /// When.
    #[serde(flatten)]
    pub(crate) at: Stamp,
    /// Whose: for players also the CMCD `sid`. Absent for what concerns no session.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub(crate) session: Option<Arc<str>>,
    /// What.
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// One moment on both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stamp {
    /// CLOCK_MONOTONIC.
    pub(crate) mono_ns: u64,
    /// CLOCK_REALTIME.
    pub(crate) wall_ns: u64,
}

impl Stamp {
    /// This moment.
    pub(crate) fn now() -> Self {
        Self {
            mono_ns: read(ClockId::Monotonic),
            wall_ns: read(ClockId::Realtime),
        }
    }

    /// The same moment moved by some nanoseconds, for what is known only afterwards.
    pub(crate) fn shifted(self, by_ns: i64) -> Self {
        Self {
            mono_ns: self.mono_ns.saturating_add_signed(by_ns),
            wall_ns: self.wall_ns.saturating_add_signed(by_ns),
        }
    }
}

fn as_text<S: Serializer>(
    session: &Option<Arc<str>>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    session.as_deref().serialize(to)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanos
}

/// Creates (or empties) the file and starts its writer; the error names the path.
pub(crate) fn create(path: &Path) -> Result<Truth> {
    let file = File::create(path)
        .with_context(|| format!("cannot write the truth to {}", path.display()))?;
    Truth::start(Box::new(BufWriter::with_capacity(1 << 16, file)) as Box<dyn Write + Send>)
}
