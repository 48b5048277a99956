//! One direction as a pure model: fates, a queue of limited length that is served at a rate, then
//! flight. No clock, no I/O: the caller says what time it is, in nanoseconds since its start, and
//! never goes back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::fate::{Direction, Fate, Fates};
use super::impairment::{Impairment, Outage};
use super::schedule::{Schedule, finish_steady};

/// Packets and bytes in flight at most: a gigabit per second for half a second, twice over.
const FLIGHT_PACKETS: usize = 1 << 17;
const FLIGHT_BYTES: usize = 128 << 20;

/// What happened to the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Counts {
    /// Came in.
    pub(crate) arrived: u64,
    /// Dropped by their fate.
    pub(crate) lost: u64,
    /// Dropped at the full queue.
    pub(crate) queue_full: u64,
    /// Dropped by an outage.
    pub(crate) outage: u64,
    /// Dropped as more was in flight than memory allows.
    pub(crate) overflow: u64,
    /// Went out.
    pub(crate) delivered: u64,
    /// Their bytes.
    pub(crate) delivered_bytes: u64,
}

/// A direction of a link, for packets of any sort.
pub(crate) struct Pipe<P> {
    impairment: Impairment,
    schedule: Option<Schedule>,
    /// When the schedule's first round began.
    schedule_start: u64,
    fates: Fates,
    queue: VecDeque<Waiting<P>>,
    queue_bytes: u64,
    /// When the first packet of the queue has left it; none: it does not move.
    head_done: Option<u64>,
    flight: BinaryHeap<Reverse<Flying<P>>>,
    flight_bytes: usize,
    /// When the newest packet that keeps the order is due.
    last_due: u64,
    counts: Counts,
}

struct Waiting<P> {
    packet: P,
    bytes: usize,
    fate: Fate,
}

struct Flying<P> {
    due: u64,
    number: u64,
    bytes: usize,
    packet: P,
}

impl<P> Pipe<P> {
    /// An empty pipe; fails if the impairment's trace cannot be read.
    pub(crate) fn new(seed: u64, direction: Direction, impairment: Impairment) -> Result<Self> {
        let schedule = load(&impairment)?;
        Ok(Self {
            impairment,
            schedule,
            schedule_start: 0,
            fates: Fates::new(seed, direction),
            queue: VecDeque::new(),
            queue_bytes: 0,
            head_done: None,
            flight: BinaryHeap::new(),
            flight_bytes: 0,
            last_due: 0,
            counts: Counts::default(),
        })
    }

    /// The sums so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Puts other figures in force. A new trace starts now; the packet being served starts anew.
    pub(crate) fn change(&mut self, now: u64, impairment: Impairment, schedule: Option<Schedule>) {
        self.advance(now);
        if impairment.trace != self.impairment.trace {
            self.schedule = schedule;
            self.schedule_start = now;
        }
        self.impairment = impairment;
        self.head_done = self.serve(now);
    }

    /// A packet comes; it comes back if it is dropped.
    pub(crate) fn push(&mut self, now: u64, bytes: usize, packet: P) -> Option<P> {
        self.advance(now);
        self.counts.arrived += 1;
        let fate = self.fates.next(&self.impairment);
        let dropped = if self.impairment.outage == Outage::Drop {
            &mut self.counts.outage
        } else if fate.lost {
            &mut self.counts.lost
        } else if self.queue_is_full(bytes) {
            &mut self.counts.queue_full
        } else {
            self.queue.push_back(Waiting {
                packet,
                bytes,
                fate,
            });
            self.queue_bytes += bytes as u64;
            if self.queue.len() == 1 {
                self.head_done = self.serve(now);
            }
            return None;
        };
        *dropped += 1;
        Some(packet)
    }

    /// The next packet that is due.
    pub(crate) fn pop(&mut self, now: u64) -> Option<P> {
        self.advance(now);
        if self.flight.peek()?.0.due > now {
            return None;
        }
        let Reverse(flying) = self.flight.pop()?;
        self.flight_bytes -= flying.bytes;
        self.counts.delivered += 1;
        self.counts.delivered_bytes += flying.bytes as u64;
        Some(flying.packet)
    }

    /// When something happens next if nothing comes.
    pub(crate) fn next_at(&self) -> Option<u64> {
        let due = self.flight.peek().map(|flying| flying.0.due);
        match (due, self.head_done) {
            (Some(due), Some(done)) => Some(due.min(done)),
            (due, done) => due.or(done),
        }
    }

    fn queue_is_full(&self, bytes: usize) -> bool {
        // Without a rate nothing waits, but for a packet that is taken out below at once.
        self.queue.len() >= self.impairment.queue_packets as usize
            || (self.impairment.queue_bytes != 0
                && !self.queue.is_empty()
                && self.queue_bytes + bytes as u64 > self.impairment.queue_bytes)
    }

    /// Moves what the rate has let out into flight.
    fn advance(&mut self, now: u64) {
        while let Some(done) = self.head_done
            && done <= now
            && let Some(waiting) = self.queue.pop_front()
        {
            self.queue_bytes -= waiting.bytes as u64;
            self.fly(done, waiting);
            self.head_done = self.serve(done);
        }
    }

    /// When the first in the queue has left if it starts at a time.
    fn serve(&self, start: u64) -> Option<u64> {
        let bits = self.queue.front()?.bytes as u64 * 8;
        if self.impairment.outage == Outage::Hold {
            return None;
        }
        Some(match &self.schedule {
            Some(schedule) => {
                let since = start.saturating_sub(self.schedule_start);
                self.schedule_start
                    .saturating_add(schedule.finish(since, bits))
            }
            None if self.impairment.rate_bps == 0 => start,
            None => finish_steady(start, bits, self.impairment.rate_bps),
        })
    }

    fn fly(&mut self, done: u64, waiting: Waiting<P>) {
        let Waiting {
            packet,
            bytes,
            fate,
        } = waiting;
        if self.flight.len() >= FLIGHT_PACKETS || self.flight_bytes + bytes > FLIGHT_BYTES {
            self.counts.overflow += 1;
            return;
        }
        let delay = nanos(self.impairment.delay_ms).saturating_add_signed(fate.jitter_ns);
        let mut due = done.saturating_add(delay).max(self.last_due);
        if fate.late {
            due = due.saturating_add(nanos(self.impairment.reorder_ms));
        } else {
            self.last_due = due;
        }
        self.flight_bytes += bytes;
        self.flight.push(Reverse(Flying {
            due,
            number: fate.number,
            bytes,
            packet,
        }));
    }
}

/// The schedule of an impairment that has a trace.
pub(crate) fn load(impairment: &Impairment) -> Result<Option<Schedule>> {
    impairment
        .trace
        .as_ref()
        .map(super::trace::Trace::load)
        .transpose()
}

fn nanos(ms: f64) -> u64 {
    (ms * 1e6) as u64
}

impl<P> PartialEq for Flying<P> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl<P> Eq for Flying<P> {}

impl<P> PartialOrd for Flying<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Flying<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

#[cfg(test)]
mod tests;
