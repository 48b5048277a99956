//! Values of the kernel maps and the records, as both sides see them.

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
fn add_all(sum: &mut [u64], more: &[u64]) {
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

/// Length of a command name, with its end.
pub const COMM: usize = 16;

/// Who does something: the cgroup, the command of the process, and the group of its peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerKey {
    /// Inode number of the cgroup v2 directory.
    pub cgroup: u64,
    /// Command of the thread-group leader, zero-padded.
    pub comm: [u8; COMM],
    /// Peer group, 0 if none.
    pub group: u64,
}

/// The place of an owner, and the first process seen of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner {
    /// Start of that process, nanoseconds since boot: tells a reused pid.
    pub start_ns: u64,
    /// Its process id.
    pub tgid: u32,
    /// Index into `STATS`.
    pub slot: u32,
}

/// Key of a listener.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Port in host byte order.
    pub port: u32,
}

/// Who listens.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Its owner, peer group 0.
    pub key: OwnerKey,
    /// Place of that owner.
    pub owner: Owner,
}

/// What a thread is at; index is its id modulo the array's length.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// When its send began; 0 if it is in none.
    pub send_at_ns: u64,
    /// Socket it sends on; 0 if the rung does not know.
    pub send_sk: u64,
    /// Since when it waits for a CPU; 0 if it does not.
    pub queued_at_ns: u64,
    /// Thread id; others are strangers that share the place.
    pub tid: u32,
    /// Where its process's run-queue delay is counted; 0 if it is not observed.
    pub slot: u32,
    /// Generation of `PROCESSES` in which `slot` was looked up.
    pub generation: u64,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecordKind {
    /// A new owner got a place.
    Owner,
}

/// Number of kinds of records.
pub const RECORDS: usize = 1;

/// What every record begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// When, nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// `RecordKind`.
    pub kind: u32,
    /// Length of the whole record.
    pub len: u32,
}

/// A new owner got a place: name it while its process is there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OwnerRecord {
    /// Kind and time.
    pub header: Header,
    /// Who.
    pub key: OwnerKey,
    /// Where.
    pub owner: Owner,
}

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

    #[test]
    fn layouts_have_no_padding() {
        assert_eq!(size_of::<Socket>(), 5 * 8 + size_of::<Flow>() + 5 * 4 + 4);
        assert_eq!(size_of::<Seed>(), size_of::<Flow>() + 8);
        assert_eq!(
            size_of::<Listener>(),
            size_of::<OwnerKey>() + size_of::<Owner>()
        );
        assert_eq!(size_of::<OwnerRecord>(), 16 + size_of::<Listener>());
        assert_eq!(size_of::<Thread>(), 40);
        assert_eq!(size_of::<Stats>() % 8, 0);
    }
}
