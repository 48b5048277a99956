//! The thread of one direction: reads what the kernel hands over, asks the model, writes what is
//! due. Waits in ppoll(2), whose timeouts are exact to microseconds once the slack is set.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{GROTable, SyncDevice, VIRTIO_NET_HDR_LEN};

use super::handle::{Message, Plan};
use crate::link::pipe::{Counts, Pipe};

/// Bytes before each packet, for the header that tells the kernel of joined segments.
const HEADROOM: usize = VIRTIO_NET_HDR_LEN;
/// The kernel joins at most 64 KiB; in the smallest segments these are so many.
const MOST_SEGMENTS: usize = 256;
const LARGEST: usize = 65_535;
/// Packets written in one go: as many of 1500 bytes as fit into one joined packet.
const BATCH: usize = 43;
/// Reads before what is due is written again.
const READS: usize = 8;
/// Buffers kept for reuse.
const POOL: usize = 4096;
/// Failed reads in a row that mean the device is broken rather than a packet odd.
const MOST_FAILURES: u32 = 1000;

/// The sums of a direction.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) counts: Counts,
    /// Writes that the kernel refused, as the far device was down.
    pub(super) refused: u64,
    /// Reads that were no packets.
    pub(super) unreadable: u64,
}

pub(super) struct Pump {
    start: Instant,
    pipe: Pipe<Vec<u8>>,
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    inbox: Receiver<Message>,
    wake: Arc<OwnedFd>,
    size: usize,
    raw: Vec<u8>,
    segments: Vec<Vec<u8>>,
    sizes: Vec<usize>,
    pool: Vec<Vec<u8>>,
    due: Vec<Vec<u8>>,
    large: Vec<u8>,
    table: GROTable,
    refused: u64,
    unreadable: u64,
    failures: u32,
}

impl Pump {
    pub(super) fn new(
        start: Instant,
        pipe: Pipe<Vec<u8>>,
        mtu: u16,
        from: Arc<SyncDevice>,
        to: Arc<SyncDevice>,
        inbox: Receiver<Message>,
        wake: Arc<OwnedFd>,
    ) -> Self {
        let size = HEADROOM + usize::from(mtu);
        Self {
            start,
            pipe,
            from,
            to,
            inbox,
            wake,
            size,
            raw: vec![0; HEADROOM + LARGEST],
            segments: vec![vec![0; size]; MOST_SEGMENTS],
            sizes: vec![0; MOST_SEGMENTS],
            pool: Vec::new(),
            due: Vec::with_capacity(BATCH),
            large: Vec::with_capacity(2 * HEADROOM + LARGEST),
            table: GROTable::default(),
            refused: 0,
            unreadable: 0,
            failures: 0,
        }
    }

    /// Moves packets until the device is gone.
    pub(super) fn run(mut self) -> io::Error {
        // Both make delays more exact; without the right to it they are less so.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let _ = rustix::process::setpriority_process(None, -15);
        loop {
            if let Err(error) = self.turn() {
                return error;
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.listen();
        let more = self.read()?;
        self.write();
        if more { Ok(()) } else { self.wait() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn listen(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            // Who asked may have given up: then nobody waits for the answer.
            let _ = match message {
                Message::Change(plan, done) => {
                    let Plan {
                        impairment,
                        schedule,
                    } = *plan;
                    let now = self.now();
                    self.pipe.change(now, impairment, schedule);
                    done.try_send(()).is_ok()
                }
                Message::Counts(reply) => {
                    let (refused, unreadable) = (self.refused, self.unreadable);
                    reply
                        .try_send(Sums {
                            counts: self.pipe.counts(),
                            refused,
                            unreadable,
                        })
                        .is_ok()
                }
            };
        }
    }

    /// Whether there may be more.
    fn read(&mut self) -> io::Result<bool> {
        for _ in 0..READS {
            match self.from.recv_multiple(
                &mut self.raw,
                &mut self.segments,
                &mut self.sizes,
                HEADROOM,
            ) {
                Ok(count) => {
                    self.failures = 0;
                    self.take(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => {
                    self.unreadable += 1;
                    self.failures += 1;
                    let gone =
                        error.raw_os_error() == Some(rustix::io::Errno::BADFD.raw_os_error());
                    if gone || self.failures > MOST_FAILURES {
                        return Err(error);
                    }
                }
            }
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) {
        let now = self.now();
        for index in 0..count {
            let fresh = self.pool.pop().unwrap_or_else(|| vec![0; self.size]);
            let mut packet = std::mem::replace(&mut self.segments[index], fresh);
            let bytes = self.sizes[index];
            packet.truncate(HEADROOM + bytes);
            if let Some(dropped) = self.pipe.push(now, bytes, packet) {
                self.reuse(dropped);
            }
        }
    }

    fn write(&mut self) {
        loop {
            let now = self.now();
            while self.due.len() < BATCH
                && let Some(packet) = self.pipe.pop(now)
            {
                self.due.push(packet);
            }
            if self.due.is_empty() {
                return;
            }
            self.send();
            for packet in std::mem::take(&mut self.due) {
                self.reuse(packet);
            }
        }
    }

    /// Writes a batch, segments of a flow joined: the first packet moves to a buffer that has room
    /// for those behind it.
    fn send(&mut self) {
        let mut first = Vec::new();
        if self.due.len() > 1 {
            self.large.clear();
            self.large.extend_from_slice(&self.due[0]);
            first = std::mem::replace(&mut self.due[0], std::mem::take(&mut self.large));
        }
        if self
            .to
            .send_multiple(&mut self.table, &mut self.due, HEADROOM)
            .is_err()
        {
            self.refused += 1;
        }
        if self.due.len() > 1 {
            self.large = std::mem::replace(&mut self.due[0], first);
        }
    }

    fn reuse(&mut self, mut packet: Vec<u8>) {
        if self.pool.len() < POOL {
            packet.resize(self.size, 0);
            self.pool.push(packet);
        }
    }

    /// Until a packet comes, one is due, or someone has a message.
    fn wait(&self) -> io::Result<()> {
        let timeout = match self.pipe.next_at() {
            None => None,
            Some(at) => match at.saturating_sub(self.now()) {
                0 => return Ok(()),
                left => Some(Timespec {
                    tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
                    tv_nsec: (left % 1_000_000_000).cast_signed(),
                }),
            },
        };
        let mut fds = [
            PollFd::new(&*self.from, PollFlags::IN),
            PollFd::new(&*self.wake, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[0].revents().contains(PollFlags::ERR) {
            return Err(io::Error::other("the device was taken away"));
        }
        if fds[1].revents().contains(PollFlags::IN) {
            // Only resets the counter; the messages are in the inbox.
            let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
        }
        Ok(())
    }
}
