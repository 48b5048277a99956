//! A link for one player: a relay on loopback whose rate towards the player follows a trace. All
//! connections of the player share it, chunk by chunk in order of coming. What passed is kept, so
//! that two players that disagree can be laid side by side.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use super::transfer::{Log, Transfer};

/// About a packet: small, so that connections take turns.
const CHUNK: usize = 1448;

/// Timers may be this late without costing rate, seconds.
const LATE_S: f64 = 0.02;

/// A rate over time.
pub(super) struct Trace {
    pub(super) name: &'static str,
    /// Length of the session.
    pub(super) seconds: f64,
    /// From which second on how many bits a second, in order; 0 carries nothing.
    pub(super) steps: &'static [(f64, f64)],
}

/// From easy to hard. The ladder has rungs of some 0.5, 1.2 and 2.8 Mbit/s.
pub(super) const TRACES: [Trace; 5] = [
    Trace {
        name: "steady",
        seconds: 30.0,
        steps: &[(0.0, 8e6)],
    },
    Trace {
        name: "dip",
        seconds: 40.0,
        steps: &[(0.0, 8e6), (15.0, 0.3e6), (25.0, 8e6)],
    },
    Trace {
        name: "outage",
        seconds: 40.0,
        steps: &[
            (0.0, 8e6),
            (12.0, 0.0),
            (18.0, 8e6),
            (27.0, 0.0),
            (29.0, 8e6),
        ],
    },
    Trace {
        name: "slow",
        seconds: 40.0,
        steps: &[(0.0, 4e6), (15.0, 0.9e6)],
    },
    Trace {
        name: "sawtooth",
        seconds: 50.0,
        steps: &[
            (0.0, 6e6),
            (10.0, 0.4e6),
            (15.0, 6e6),
            (25.0, 0.4e6),
            (30.0, 6e6),
            (38.0, 0.1e6),
            (42.0, 6e6),
        ],
    },
];

impl Trace {
    /// When `bits` that begin at `from` have passed, seconds.
    fn passed_at(&self, from: f64, mut bits: f64) -> f64 {
        let mut at = from;
        for (index, (_, rate)) in self.steps.iter().enumerate() {
            let end = self
                .steps
                .get(index + 1)
                .map_or(f64::INFINITY, |(start, _)| *start);
            if at >= end {
                continue;
            }
            if *rate > 0.0 && at + bits / rate <= end {
                return at + bits / rate;
            }
            if end.is_finite() {
                bits -= rate * (end - at);
                at = end;
            }
        }
        // A trace that ends in silence lets nothing pass for as long as anybody looks.
        at + 3600.0
    }
}

/// A running link; it ends when this is dropped.
pub(super) struct Link {
    url: Url,
    wire: Arc<Wire>,
    task: JoinHandle<()>,
}

struct Wire {
    began: Instant,
    trace: &'static [(f64, f64)],
    /// Second at which all that was handed over so far has passed.
    busy_until: Mutex<f64>,
    log: Mutex<Log>,
    /// Whether the player has asked for anything yet.
    is_used: watch::Sender<bool>,
}

impl Link {
    /// A link to the server of `stream` whose trace begins now.
    pub(super) async fn start(stream: &Url, trace: &Trace) -> Result<Self> {
        let host = stream
            .host_str()
            .context("the stream's address has no host")?;
        let port = stream
            .port_or_known_default()
            .context("the stream's address has no port")?;
        let server = tokio::net::lookup_host((host, port))
            .await?
            .next()
            .context("the stream's host has no address")?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("binding the link")?;
        let mut url = stream.clone();
        let _known = url.set_port(Some(listener.local_addr()?.port()));
        let wire = Arc::new(Wire {
            began: Instant::now(),
            trace: trace.steps,
            busy_until: Mutex::new(0.0),
            log: Mutex::default(),
            is_used: watch::Sender::new(false),
        });
        let running = Arc::clone(&wire);
        let task = tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                relays.spawn(relay(client, server, Arc::clone(&running)));
                while relays.try_join_next().is_some() {}
            }
        });
        Ok(Self { url, wire, task })
    }

    /// Waits until the player asks for something for the first time.
    pub(super) async fn used(&self) {
        let mut is_used = self.wire.is_used.subscribe();
        // The sender lives as long as this link.
        let _always = is_used.wait_for(|is_used| *is_used).await;
    }

    /// What passed so far, oldest first.
    pub(super) fn transfers(&self) -> Vec<Transfer> {
        self.wire.log().transfers().to_vec()
    }

    /// The stream's address through the link.
    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Waits until so many bytes have passed.
    async fn carry(&self, bytes: usize) {
        let trace = Trace {
            name: "",
            seconds: 0.0,
            steps: self.trace,
        };
        let at = {
            let mut busy_until = self
                .busy_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Timers are up to a few milliseconds late: what that costs may be caught up with.
            let from = busy_until.max(self.now_s() - LATE_S);
            *busy_until = trace.passed_at(from, bytes as f64 * 8.0);
            *busy_until
        };
        tokio::time::sleep_until(self.began + Duration::from_secs_f64(at)).await;
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, wire: Arc<Wire>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let _quick = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // The transfer that this connection carries; neither HTTP/1.1 client pipelines.
    let current = AtomicUsize::new(usize::MAX);
    let up = carry_up(from_client, to_server, &wire, &current);
    let down = carry_down(from_server, to_client, &wire, &current);
    // Whichever side ends first ends the connection.
    tokio::select! {
        _ended = up => {}
        _ended = down => {}
    }
}

/// Requests pass at once; each is written down.
async fn carry_up(
    mut client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    wire: &Wire,
    current: &AtomicUsize,
) -> io::Result<()> {
    let mut chunk = [0; 1 << 14];
    loop {
        let length = client.read(&mut chunk).await?;
        if length == 0 {
            return server.shutdown().await;
        }
        if let Some(place) = wire.log().open(wire.now_s(), &chunk[..length]) {
            current.store(place, Ordering::Relaxed);
            wire.is_used.send_replace(true);
        }
        server.write_all(&chunk[..length]).await?;
    }
}

/// Responses pass at the trace's rate.
async fn carry_down(
    mut server: ReadHalf<'_>,
    mut client: WriteHalf<'_>,
    wire: &Wire,
    current: &AtomicUsize,
) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        let length = server.read(&mut chunk).await?;
        if length == 0 {
            return client.shutdown().await;
        }
        wire.carry(length).await;
        client.write_all(&chunk[..length]).await?;
        let place = current.load(Ordering::Relaxed);
        wire.log().pass(place, wire.now_s(), length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_pass_at_the_rate_of_the_moment_and_wait_out_silence() {
        let trace = Trace {
            name: "",
            seconds: 0.0,
            steps: &[(0.0, 100.0), (1.0, 0.0), (3.0, 50.0)],
        };
        assert_eq!(trace.passed_at(0.0, 50.0), 0.5);
        assert_eq!(trace.passed_at(0.5, 100.0), 4.0);
        assert_eq!(trace.passed_at(2.0, 50.0), 4.0);
    }
}
