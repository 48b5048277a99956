//! One thread writes the truth; everyone else puts lines into its bounded queue and never waits.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{Event, Record, Stamp};

/// Lines that may wait for the disk: at some 300 bytes each, a few tens of megabytes.
const QUEUE: usize = 1 << 16;
/// A reader that follows the file sees a line at most this late.
const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// Handle to a file of truth; clones share the file. Ends with [`Truth::close`].
#[derive(Clone)]
pub(crate) struct Truth {
    shared: Arc<Shared>,
}

struct Shared {
    queue: SyncSender<Message>,
    lost: AtomicU64,
    thread: Mutex<Option<JoinHandle<Totals>>>,
}

enum Message {
    Line(Box<Record>),
    Close,
}

/// What became of all lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Written, the last line not counted.
    pub(crate) lines: u64,
    /// Queue full, or the disk refused.
    pub(crate) lost: u64,
}

impl Truth {
    /// Starts the writer.
    pub(crate) fn start(out: Box<dyn Write + Send>) -> Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("truth".to_owned())
            .spawn(move || write_all(out, &lines))
            .context("starting the writer of the truth")?;
        let shared = Shared {
            queue,
            lost: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Puts down what happens now. Never waits: a full queue counts the line as lost.
    pub(crate) fn put(&self, session: Option<&Arc<str>>, event: Event) {
        self.put_at(Stamp::now(), session, event);
    }

    /// Puts down what happened at another moment.
    pub(crate) fn put_at(&self, at: Stamp, session: Option<&Arc<str>>, event: Event) {
        let record = Record {
            at,
            session: session.cloned(),
            event,
        };
        match self.shared.queue.try_send(Message::Line(Box::new(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Writes what is queued and the last line, and returns the sums; later lines are lost, and a
    /// second call returns zeros.
    pub(crate) fn close(&self) -> Totals {
        let thread = self
            .shared
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else {
            return Totals::default();
        };
        // Lost lines must be known before the last line is written: they travel as a line.
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let last = Record {
            at: Stamp::now(),
            session: None,
            event: Event::Last { lines: 0, lost },
        };
        // Blocking is right here: the writer empties the queue, and nothing else is left to do.
        let sent = self
            .shared
            .queue
            .send(Message::Line(Box::new(last)))
            .is_ok();
        let closed = self.shared.queue.send(Message::Close).is_ok();
        match thread.join() {
            Ok(totals) if sent && closed => totals,
            Ok(_) | Err(_) => Totals { lines: 0, lost },
        }
    }
}

/// Writes until told to close. What the disk refuses is counted; one warning per ten seconds.
fn write_all(mut out: Box<dyn Write + Send>, lines: &Receiver<Message>) -> Totals {
    let mut totals = Totals::default();
    let mut line = Vec::with_capacity(512);
    let mut flushed = Instant::now();
    let mut warned: Option<Instant> = None;
    loop {
        let mut failed = None;
        match lines.recv_timeout(FLUSH_EVERY) {
            Ok(Message::Line(mut record)) => {
                let last = complete_last(&mut record, totals);
                failed = write_line(&mut out, &mut line, &record).err();
                match (&failed, last) {
                    (Some(_), _) => totals.lost += 1,
                    (None, Some(lost)) => totals.lost = lost,
                    (None, None) => totals.lines += 1,
                }
            }
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => {
                if let Err(error) = out.flush() {
                    tracing::warn!(%error, "the end of the truth cannot be written");
                }
                return totals;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if flushed.elapsed() >= FLUSH_EVERY {
            flushed = Instant::now();
            failed = out.flush().err().or(failed);
        }
        if let Some(error) = failed
            && warned.is_none_or(|at| at.elapsed() > Duration::from_secs(10))
        {
            warned = Some(Instant::now());
            tracing::warn!(%error, lost = totals.lost, "the truth cannot be written; going on");
        }
    }
}

/// Puts the sums into the last line; what was lost altogether, if this is it.
fn complete_last(record: &mut Record, totals: Totals) -> Option<u64> {
    match &mut record.event {
        Event::Last { lines, lost } => {
            *lines = totals.lines;
            *lost += totals.lost;
            Some(*lost)
        }
        _ => None,
    }
}

fn write_line(out: &mut dyn Write, line: &mut Vec<u8>, record: &Record) -> std::io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, record)?;
    line.push(b'\n');
    out.write_all(line)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;

    use super::*;
    use crate::truth::{Role, SCHEMA};

    #[derive(Clone, Default)]
    struct Sink {
        bytes: Arc<Mutex<Vec<u8>>>,
        gate: Arc<(Mutex<bool>, Condvar)>,
    }

    impl Sink {
        fn open(&self) {
            *self.gate.0.lock().unwrap() = true;
            self.gate.1.notify_all();
        }

        fn lines(&self) -> Vec<serde_json::Value> {
            let bytes = self.bytes.lock().unwrap();
            let text = std::str::from_utf8(&bytes).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    impl Write for Sink {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            let mut open = self.gate.0.lock().unwrap();
            while !*open {
                open = self.gate.1.wait(open).unwrap();
            }
            self.bytes.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_carry_both_clocks_session_and_kind_and_the_last_one_counts() {
        let sink = Sink::default();
        sink.open();
        let truth = Truth::start(Box::new(sink.clone())).unwrap();
        truth.put(
            None,
            Event::Run {
                schema: SCHEMA,
                writer: "crowd",
                seed: 7,
                name: "idol".into(),
            },
        );
        let session: Arc<str> = "p-1".into();
        let start = Event::Start {
            role: Role::Player,
            client: "crowd",
            url: "u".into(),
            late_ms: 0.5,
        };
        truth.put(Some(&session), start);
        assert_eq!(truth.close(), Totals { lines: 2, lost: 0 });
        let lines = sink.lines();
        assert_eq!(lines[0]["kind"], "run");
        assert!(lines[0].get("session").is_none());
        assert_eq!(lines[1]["kind"], "start");
        assert_eq!(lines[1]["session"], "p-1");
        assert_eq!(lines[1]["role"], "player");
        assert!(lines[1]["mono_ns"].as_u64() >= lines[0]["mono_ns"].as_u64());
        assert!(lines[1]["wall_ns"].as_u64().unwrap() > 1_600_000_000_000_000_000);
        assert_eq!(
            (&lines[2]["kind"], lines[2]["lines"].as_u64()),
            (&"last".into(), Some(2))
        );
    }

    #[test]
    fn what_finds_the_queue_full_is_counted_and_nobody_waits() {
        let sink = Sink::default();
        let truth = Truth::start(Box::new(sink.clone())).unwrap();
        // The writer hangs in its first write, so the queue fills up: nothing here may block.
        let over = 100;
        for _ in 0..(QUEUE + over) {
            truth.put(None, Event::StopReading);
        }
        sink.open();
        let totals = truth.close();
        assert_eq!(totals.lines + totals.lost, (QUEUE + over) as u64);
        assert!(totals.lost >= over as u64 - 1, "{totals:?}");
        let lines = sink.lines();
        assert_eq!(lines.last().unwrap()["lost"].as_u64(), Some(totals.lost));
    }

    #[test]
    fn a_full_disk_loses_lines_but_not_the_run() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let truth = Truth::start(Box::new(Full)).unwrap();
        truth.put(None, Event::StopReading);
        truth.put(None, Event::StopReading);
        let totals = truth.close();
        assert_eq!(totals.lines, 0);
        assert!(totals.lost >= 2);
    }
}
