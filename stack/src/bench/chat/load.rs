//! Consumers and publishers of one room, on one server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_util::sync::CancellationToken;

use super::subscriber;
use super::target::{Kind, Target};

/// Handshakes under way at once.
const HANDSHAKES: usize = 256;
/// One consumer in so many looks into every item for its delay.
const LOOKS: usize = 100;
/// Publishers, each with its own connection.
const PUBLISHERS: usize = 4;
/// Messages in one write of a publisher at saturation.
const WRITE: u64 = 16;
/// A measurement that stands still for so long has failed or is complete.
const STILL: Duration = Duration::from_secs(3);

/// How fast to publish.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As fast as consumers follow, with so many messages under way.
    Saturate(u64),
    /// So many messages a second, at their times whether others were delivered or not.
    Rate(f64),
}

/// What all clients of a load share.
pub(crate) struct Counts {
    pub(super) started: Instant,
    /// Items that consumers got.
    pub(super) delivered: AtomicU64,
    /// Items sent before this, in nanoseconds after `started`, have no delay recorded.
    pub(super) counted_from: AtomicU64,
    published: AtomicU64,
    /// Items that the consumers that look did not get though later ones came.
    pub(super) missed: AtomicU64,
    pub(super) failed: AtomicBool,
    /// From publishing to each delivery to one of the consumers that look, in nanoseconds.
    delays: std::sync::Mutex<Histogram<u64>>,
}

impl Counts {
    /// The delays so far.
    pub(super) fn delays(&self) -> std::sync::MutexGuard<'_, Histogram<u64>> {
        self.delays
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Begins the measurement.
    pub(super) fn reset(&self) {
        self.delays().reset();
        self.delivered.store(0, Ordering::Relaxed);
        self.published.store(0, Ordering::Relaxed);
        self.missed.store(0, Ordering::Relaxed);
        self.counted_from
            .store(self.started.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}

/// The clients.
pub(super) struct Load {
    pub(super) shared: Arc<Counts>,
    consumers: JoinSet<()>,
    count: u64,
    publishers: Vec<Arc<Mutex<OwnedWriteHalf>>>,
    /// Connections that nobody reads.
    stuck: Vec<TcpStream>,
    kind: Kind,
    text: String,
    stop: CancellationToken,
}

impl Load {
    /// Connects everyone.
    pub(super) async fn connect(
        target: &Target,
        consumers: usize,
        text_bytes: usize,
    ) -> Result<Self> {
        let shared = Arc::new(Counts {
            started: Instant::now(),
            delivered: AtomicU64::new(0),
            counted_from: AtomicU64::new(0),
            published: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            delays: std::sync::Mutex::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?),
        });
        let mut load = Self {
            shared,
            consumers: JoinSet::new(),
            count: consumers as u64,
            publishers: Vec::new(),
            stuck: Vec::new(),
            kind: target.kind,
            text: "x".repeat(text_bytes),
            stop: CancellationToken::new(),
        };
        let path = target.subscribe_path();
        for first in (0..consumers).step_by(HANDSHAKES) {
            let some = (first..consumers.min(first + HANDSHAKES))
                .map(|_| subscriber::connect(target, path));
            for (index, connected) in join_all(some).await.into_iter().enumerate() {
                let (stream, early) = connected?;
                let looks = (first + index) % LOOKS == 0;
                load.consumers.spawn(subscriber::run(
                    stream,
                    early,
                    target.kind,
                    Arc::clone(&load.shared),
                    looks,
                    load.stop.clone(),
                ));
            }
        }
        for _ in 0..PUBLISHERS {
            let (stream, _) = subscriber::connect(target, target.publish_path()).await?;
            let (mut read, write) = stream.into_split();
            // What comes back to a publisher is taken and not looked at.
            tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
            load.publishers.push(Arc::new(Mutex::new(write)));
        }
        Ok(load)
    }

    /// Has so many connections that nobody reads.
    pub(super) async fn set_stuck(&mut self, target: &Target, count: usize) -> Result<()> {
        self.stuck.truncate(count);
        while self.stuck.len() < count {
            let (stream, _) = subscriber::connect(target, target.subscribe_path()).await?;
            self.stuck.push(stream);
        }
        Ok(())
    }

    /// Items that consumers got since the last reset.
    pub(super) fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Items that the consumers that look missed since the last reset.
    pub(super) fn missed(&self) -> u64 {
        self.shared.missed.load(Ordering::Relaxed)
    }

    /// Publishes for so long; returns how many messages went out.
    pub(super) async fn publish(&self, pace: Pace, time: Duration) -> Result<u64> {
        let before = self.shared.published.load(Ordering::Relaxed);
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for (index, writer) in self.publishers.iter().enumerate() {
            let publisher = Publisher {
                shared: Arc::clone(&self.shared),
                writer: Arc::clone(writer),
                consumers: self.count,
                kind: self.kind,
                text: self.text.clone(),
                frames: Vec::new(),
            };
            match pace {
                Pace::Saturate(window) => tasks.spawn(publisher.saturate(window, end)),
                Pace::Rate(rate) => tasks.spawn(publisher.pace(rate, index, end)),
            };
        }
        while let Some(done) = tasks.join_next().await {
            done?.context("publishing")?;
        }
        Ok(self.shared.published.load(Ordering::Relaxed) - before)
    }

    /// Waits until everything is delivered, or nothing more is.
    pub(super) async fn settle(&self) {
        let (mut last, mut since) = (self.delivered(), Instant::now());
        while since.elapsed() < STILL
            && last < self.shared.published.load(Ordering::Relaxed) * self.count
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.delivered() != last {
                (last, since) = (self.delivered(), Instant::now());
            }
        }
    }

    /// Ends all clients; returns the delays that were seen.
    pub(super) async fn finish(mut self) -> Option<Histogram<u64>> {
        self.stop.cancel();
        while self.consumers.join_next().await.is_some() {}
        let delays = self.shared.delays().clone();
        Some(delays).filter(|delays| !delays.is_empty())
    }
}

async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut results = Vec::new();
    let mut waiting: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        waiting.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(result) => {
                results.push(result);
                false
            }
            std::task::Poll::Pending => true,
        });
        if waiting.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results
}

struct Publisher {
    shared: Arc<Counts>,
    writer: Arc<Mutex<OwnedWriteHalf>>,
    consumers: u64,
    kind: Kind,
    text: String,
    frames: Vec<u8>,
}

impl Publisher {
    async fn saturate(mut self, window: u64, end: Instant) -> Result<()> {
        while Instant::now() < end {
            let under_way = self
                .shared
                .published
                .load(Ordering::Relaxed)
                .saturating_sub(self.shared.delivered.load(Ordering::Relaxed) / self.consumers);
            if under_way + WRITE > window {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            self.write(WRITE).await?;
        }
        Ok(())
    }

    /// Its share of the rate, on absolute times.
    async fn pace(mut self, rate: f64, index: usize, end: Instant) -> Result<()> {
        let every = Duration::from_secs_f64(PUBLISHERS as f64 / rate.max(0.001));
        let mut due = Instant::now() + every.mul_f64(index as f64 / PUBLISHERS as f64);
        while due < end {
            tokio::time::sleep_until(due.into()).await;
            let mut count = 0;
            while due <= Instant::now() {
                due += every;
                count += 1;
            }
            self.write(count).await?;
        }
        Ok(())
    }

    async fn write(&mut self, count: u64) -> Result<()> {
        self.frames.clear();
        for _ in 0..count {
            self.add();
        }
        self.shared.published.fetch_add(count, Ordering::Relaxed);
        Ok(self.writer.lock().await.write_all(&self.frames).await?)
    }

    /// A masked frame. The baseline passes on what it gets, so it gets what our consumers get: the
    /// item with its time and user.
    fn add(&mut self) {
        let id = self.shared.started.elapsed().as_nanos();
        let text = &self.text;
        let payload = match self.kind {
            Kind::Chat | Kind::Single => format!(r#"{{"t":"msg","text":"{text}","id":"{id}"}}"#),
            Kind::Nchan => format!(
                r#"{{"t":"msg","text":"{text}","id":"{id}","at_ms":1790000000000,"user":"publisher"}}"#
            ),
        };
        let mask = [0x5a, 0xa5, 0x3c, 0xc3];
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Text),
            mask: Some(mask),
            ..FrameHeader::default()
        };
        // Memory takes every write.
        let _ = header.format(payload.len() as u64, &mut self.frames);
        self.frames.extend(
            payload
                .bytes()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
    }
}
