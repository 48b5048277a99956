//! What is counted for a service: histograms, counters, and sums over sockets.

use crate::hist::{SIZE_BUCKETS, TIME_BUCKETS};
use crate::tcp::{OUTCOMES, RETRANSMITS};

/// Histogram of times. The count is the sum of the buckets, so the two never disagree.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Counts by `hist::time_bucket`.
    pub buckets: [u64; TIME_BUCKETS],
    /// Sum of all values in nanoseconds.
    pub sum_ns: u64,
}

/// Histogram of sizes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Counts by `hist::size_bucket`.
    pub buckets: [u64; SIZE_BUCKETS],
    /// Sum of all values in bytes.
    pub sum: u64,
}

/// What is counted for a service and peer group, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Time in the send routine.
    pub send: Times,
    /// Time from the return of a send to the ACK of its last byte.
    pub delivery: Times,
    /// Smoothed round-trip times.
    pub rtt: Times,
    /// Life of closed connections.
    pub life: Times,
    /// Runnable but not running.
    pub sched: Times,
    /// Bytes queued right after a send.
    pub queue: Sizes,
    /// Deliveries that took no time: everything was confirmed before the send returned, as on
    /// loopback. Apart from `delivery`, since only the send's program counts them, without atomics.
    pub prompt: u64,
    /// Retransmitted segments by `tcp::Retransmit`.
    pub retransmits: [u64; RETRANSMITS],
    /// Retransmissions undone without a DSACK.
    pub undone: u64,
    /// Connections by `tcp::Role` and `tcp::Outcome`.
    pub connections: [[u64; OUTCOMES]; 2],
    /// What closed connections added up to.
    pub closed: Flow,
}

/// Counters that the kernel keeps per socket: what a connection did since Weir knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes from the application.
    pub sent: u64,
    /// Bytes to the application.
    pub received: u64,
    /// Bytes that the peer confirmed.
    pub acked: u64,
    /// Sender clocks in ticks: busy and not limited, limited by the peer's window, by the buffer.
    pub busy: u64,
    /// See `busy`.
    pub rwnd_limited: u64,
    /// See `busy`.
    pub sndbuf_limited: u64,
    /// Segments that DSACK reported as needless.
    pub dsacks: u64,
    /// Nanoseconds with the peer's window shut; unlike the others not from the kernel.
    pub zero_window_ns: u64,
}

impl Flow {
    /// Nothing counted.
    pub const NONE: Self = Self {
        sent: 0,
        received: 0,
        acked: 0,
        busy: 0,
        rwnd_limited: 0,
        sndbuf_limited: 0,
        dsacks: 0,
        zero_window_ns: 0,
    };

    /// What was added since `base`. The clocks and the DSACK count are 32 bits wide in the kernel
    /// and may wrap; the others saturate, should a connection have been taken for another.
    #[inline(always)]
    pub fn since(&self, base: &Self) -> Self {
        #[inline(always)]
        fn wrapping(now: u64, base: u64) -> u64 {
            (now as u32).wrapping_sub(base as u32) as u64
        }
        Self {
            sent: self.sent.saturating_sub(base.sent),
            received: self.received.saturating_sub(base.received),
            acked: self.acked.saturating_sub(base.acked),
            busy: wrapping(self.busy, base.busy),
            rwnd_limited: wrapping(self.rwnd_limited, base.rwnd_limited),
            sndbuf_limited: wrapping(self.sndbuf_limited, base.sndbuf_limited),
            dsacks: wrapping(self.dsacks, base.dsacks),
            zero_window_ns: self.zero_window_ns,
        }
    }
}

/// Adds one array of counters to another.
pub(super) fn add_all(sum: &mut [u64], more: &[u64]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.wrapping_add(*more);
    }
}

impl Times {
    /// Adds what another CPU counted.
    pub fn add(&mut self, other: &Self) {
        add_all(&mut self.buckets, &other.buckets);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

impl Flow {
    /// Adds another's.
    #[inline(always)]
    pub fn add(&mut self, other: &Self) {
        self.sent = self.sent.wrapping_add(other.sent);
        self.received = self.received.wrapping_add(other.received);
        self.acked = self.acked.wrapping_add(other.acked);
        self.busy = self.busy.wrapping_add(other.busy);
        self.rwnd_limited = self.rwnd_limited.wrapping_add(other.rwnd_limited);
        self.sndbuf_limited = self.sndbuf_limited.wrapping_add(other.sndbuf_limited);
        self.dsacks = self.dsacks.wrapping_add(other.dsacks);
        self.zero_window_ns = self.zero_window_ns.wrapping_add(other.zero_window_ns);
    }
}

impl Stats {
    /// Nothing counted.
    pub const ZERO: Self = {
        const NONE: Times = Times {
            buckets: [0; TIME_BUCKETS],
            sum_ns: 0,
        };
        Self {
            send: NONE,
            delivery: NONE,
            rtt: NONE,
            life: NONE,
            sched: NONE,
            queue: Sizes {
                buckets: [0; SIZE_BUCKETS],
                sum: 0,
            },
            prompt: 0,
            retransmits: [0; RETRANSMITS],
            undone: 0,
            connections: [[0; OUTCOMES]; 2],
            closed: Flow::NONE,
        }
    };

    /// Adds what another CPU, or another owner of the same service, counted; `prompt` deliveries to
    /// `delivery`.
    pub fn add(&mut self, other: &Self) {
        self.send.add(&other.send);
        self.delivery.add(&other.delivery);
        self.delivery.buckets[0] = self.delivery.buckets[0].wrapping_add(other.prompt);
        self.rtt.add(&other.rtt);
        self.life.add(&other.life);
        self.sched.add(&other.sched);
        add_all(&mut self.queue.buckets, &other.queue.buckets);
        self.queue.sum = self.queue.sum.wrapping_add(other.queue.sum);
        add_all(&mut self.retransmits, &other.retransmits);
        self.undone = self.undone.wrapping_add(other.undone);
        for (sum, more) in self.connections.iter_mut().zip(&other.connections) {
            add_all(sum, more);
        }
        self.closed.add(&other.closed);
    }
}

/// Sums over the open sockets of a service, made anew by each walk.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// The walk that made these sums; others are stale.
    pub walk: u64,
    /// Sockets in whatever state.
    pub sockets: u64,
    /// Open connections.
    pub open: u64,
    /// Their counters.
    pub flow: Flow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_wrap_and_bytes_never_go_negative() {
        let base = Flow {
            sent: 10,
            busy: u64::from(u32::MAX),
            ..Flow::default()
        };
        let now = Flow {
            sent: 5,
            busy: 4,
            acked: 7,
            ..Flow::default()
        };
        let added = now.since(&base);
        assert_eq!((added.sent, added.busy, added.acked), (0, 5, 7));
    }

    #[test]
    fn a_prompt_delivery_is_one_in_the_first_bucket() {
        let mut counted = Stats::ZERO;
        counted.prompt = 3;
        counted.delivery.buckets[0] = 2;
        let mut sum = Stats::ZERO;
        sum.add(&counted);
        sum.add(&counted);
        assert_eq!((sum.delivery.buckets[0], sum.prompt), (10, 0));
        // A sum of sums counts none of them again.
        let mut total = Stats::ZERO;
        total.add(&sum);
        assert_eq!(total.delivery.buckets[0], 10);
    }
}
