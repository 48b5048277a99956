//! The sending side of one connection: writes shared frames straight to the socket and queues
//! only what the socket does not take.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::Shutdown;
use tokio::net::TcpStream;

use super::metric::{Ended, Metrics};
use super::outbox::{Bound, Frame, Outbox, Queued};

/// What became of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    /// The kernel has it.
    Whole,
    /// It waits, or part of it.
    Queued,
    /// The connection has ended.
    Gone,
}

/// One connected client.
pub(crate) struct Consumer {
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    /// Second in which something was last heard, since the start of the service.
    heard_s: AtomicU32,
    pinged: AtomicBool,
    /// Whether a lane has it on its list of those to retry.
    pub(crate) late: AtomicBool,
    /// 0, or why it ended; the first reason stays.
    ended: AtomicU8,
    metrics: Arc<Metrics>,
}

impl Consumer {
    pub(crate) fn new(stream: TcpStream, now_s: u32, metrics: Arc<Metrics>) -> Self {
        metrics.accepted.inc();
        metrics.connections.inc();
        Self {
            stream,
            outbox: Mutex::default(),
            heard_s: AtomicU32::new(now_s),
            pinged: AtomicBool::new(false),
            late: AtomicBool::new(false),
            ended: AtomicU8::new(0),
            metrics,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends, or queues after what already waits.
    pub(crate) fn send(&self, frame: &Frame, bound: &Bound) -> Sent {
        if self.is_gone() {
            return Sent::Gone;
        }
        let mut outbox = self.outbox();
        let mut written = 0;
        if outbox.is_empty() {
            match self.stream.try_write(&frame.bytes) {
                Ok(n) => written = n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    drop(outbox);
                    self.end(Ended::Reset);
                    return Sent::Gone;
                }
            }
            self.metrics.bytes_out.inc_by(written as u64);
            if written == frame.bytes.len() {
                return Sent::Whole;
            }
        }
        let before = outbox.bytes();
        let queued = outbox.push(frame, written, bound);
        self.metrics
            .queued_bytes
            .inc_by(outbox.bytes() as i64 - before as i64);
        drop(outbox);
        match queued {
            Queued::Waits { items, frames } => {
                self.metrics.drop_items("slow_consumer", items);
                self.metrics.dropped_frames.inc_by(u64::from(frames));
                Sent::Queued
            }
            Queued::Full => {
                self.metrics.drop_items("slow_consumer", frame.items);
                self.end(Ended::SlowConsumer);
                Sent::Gone
            }
        }
    }

    /// Writes what waits as far as the socket takes it; true if nothing waits any more.
    pub(crate) fn retry(&self) -> bool {
        if self.is_gone() {
            return true;
        }
        let mut outbox = self.outbox();
        let before = outbox.bytes();
        let drained = outbox.drain(|bytes| self.stream.try_write(bytes));
        let after = outbox.bytes();
        self.metrics
            .queued_bytes
            .dec_by(before as i64 - after as i64);
        self.metrics.bytes_out.inc_by((before - after) as u64);
        let empty = outbox.is_empty();
        drop(outbox);
        match drained {
            Ok(items) => {
                self.metrics.delivered.inc_by(u64::from(items));
                empty
            }
            Err(_) => {
                self.end(Ended::Reset);
                true
            }
        }
    }

    /// Waits until nothing waits any more, or the connection has ended.
    pub(crate) async fn drain(&self) {
        while !self.retry() {
            if self.stream.writable().await.is_err() {
                return;
            }
        }
    }

    /// Whether something waits.
    pub(crate) fn waits(&self) -> bool {
        !self.outbox().is_empty()
    }

    /// Notes that the client is alive.
    pub(crate) fn hear(&self, now_s: u32) {
        self.heard_s.store(now_s, Ordering::Relaxed);
        self.pinged.store(false, Ordering::Relaxed);
    }

    /// Pings a silent client once, ends one that stays silent.
    pub(crate) fn probe(
        &self,
        now_s: u32,
        ping_s: u32,
        silent_s: u32,
        ping: &Frame,
        bound: &Bound,
    ) {
        let silent = now_s.saturating_sub(self.heard_s.load(Ordering::Relaxed));
        if silent >= silent_s {
            self.end(Ended::Silent);
        } else if silent >= ping_s && !self.pinged.swap(true, Ordering::Relaxed) {
            self.send(ping, bound);
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.ended.load(Ordering::Acquire) != 0
    }

    /// Ends the connection: its reader sees the end of the stream and leaves.
    pub(crate) fn end(&self, ended: Ended) {
        if self
            .ended
            .compare_exchange(0, ended as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            // It may be closed by the other side already, which is as good.
            let _ = rustix::net::shutdown(self.stream.as_fd(), Shutdown::Both);
        }
    }

    /// Says goodbye if nothing else is half written, then ends the sending direction only, so that
    /// the goodbye is not lost to unread data.
    pub(crate) fn say_goodbye(&self, close: &Frame, ended: Ended) {
        let outbox = self.outbox();
        if outbox.is_empty() && !self.is_gone() {
            // Best effort: the connection ends either way.
            let _ = self.stream.try_write(&close.bytes);
        }
        drop(outbox);
        if self
            .ended
            .compare_exchange(0, ended as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            let _ = rustix::net::shutdown(self.stream.as_fd(), Shutdown::Write);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let (items, bytes) = self.outbox().clear();
        self.metrics.drop_items("closed", items);
        self.metrics.queued_bytes.dec_by(bytes as i64);
        self.metrics.connections.dec();
        let ended = Ended::from_number(*self.ended.get_mut()).unwrap_or(Ended::Client);
        self.metrics.ended(ended);
    }
}
