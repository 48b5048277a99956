//! The ring buffer, or one perf buffer for each CPU, as a source of records.
//!
//! The probes wake the reader at most once in 10 ms. After a wake-up it looks again every 10 ms
//! until it finds nothing, so that what came without a wake-up waits no longer.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::perf::{PerfEvent, PerfEventArray, PerfEventArrayBuffer};
use aya::maps::{Map, MapData, RingBuf};
use aya::util::online_cpus;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

use super::Transport;

/// The smallest page of any architecture; perf buffers are counted in pages.
const PAGE: usize = 4096;
/// How long a record may wait that came without a wake-up.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where records come from.
pub enum Records {
    /// One buffer for all CPUs.
    Ring(RingBuf<MapData>),
    /// One for each CPU; the array keeps them in the kernel.
    Perf(Vec<PerfEventArrayBuffer<MapData>>, PerfEventArray<MapData>),
}

/// Says when one of the buffers has something.
pub struct Wakeups(Vec<AsyncFd<OwnedFd>>);

/// Registers a descriptor with the running reactor.
#[expect(
    deprecated,
    reason = "the successor is unsafe, for descriptors that may close early; these are owned"
)]
pub(super) fn watch<T: AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, Interest::READABLE)
}

impl Records {
    /// Takes over a map; `bytes` is the size of each perf buffer.
    pub fn new(map: Map, transport: Transport, bytes: u32) -> Result<Self> {
        if transport == Transport::Ring {
            return Ok(Self::Ring(map.try_into()?));
        }
        let mut array: PerfEventArray<MapData> = map.try_into()?;
        let pages = (bytes as usize / PAGE).max(1);
        let cpus = online_cpus().map_err(|(path, why)| anyhow::anyhow!("{path}: {why}"))?;
        let mut buffers = Vec::new();
        for cpu in cpus {
            let buffer = array.open(cpu, Some(pages.next_power_of_two()));
            buffers
                .push(buffer.with_context(|| format!("cannot open a perf buffer on CPU {cpu}"))?);
        }
        Ok(Self::Perf(buffers, array))
    }

    /// Registers the buffers with the running reactor.
    pub fn wakeups(&self) -> io::Result<Wakeups> {
        let fds: Vec<BorrowedFd<'_>> = match self {
            Self::Ring(ring) => vec![ring.as_fd()],
            Self::Perf(buffers, _) => buffers.iter().map(AsFd::as_fd).collect(),
        };
        let watches = fds.into_iter().map(|fd| watch(fd.try_clone_to_owned()?));
        watches.collect::<io::Result<_>>().map(Wakeups)
    }

    /// Hands every waiting record to `each`, as one slice. Returns how many there were.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        match self {
            Self::Ring(ring) => {
                while let Some(record) = ring.next() {
                    each(&record);
                    records += 1;
                }
            }
            Self::Perf(buffers, _) => {
                for buffer in buffers {
                    buffer.for_each(|event| match event {
                        PerfEvent::Sample { head, tail } => {
                            records += 1;
                            if tail.is_empty() {
                                each(head);
                            } else {
                                each(&[head, tail].concat());
                            }
                        }
                        // The probe counted it when the buffer refused it.
                        PerfEvent::Lost { .. } => {}
                    });
                }
            }
        }
        records
    }
}

impl Wakeups {
    /// Waits until a buffer has something. Cancel-safe.
    pub async fn wait(&self) -> io::Result<()> {
        let mut waits: Vec<_> = self.0.iter().map(|fd| Box::pin(fd.readable())).collect();
        std::future::poll_fn(|cx| {
            for wait in &mut waits {
                if let std::task::Poll::Ready(guard) = wait.as_mut().poll(cx) {
                    guard?.clear_ready_matching(Ready::READABLE);
                    return std::task::Poll::Ready(Ok(()));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// How long to wait before looking again.
    pub async fn pause(&self) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
