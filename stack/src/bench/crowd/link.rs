//! A link for one player: a relay on loopback whose rate towards the player follows a trace. All
//! connections of the player share it, chunk by chunk in order of coming.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

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
    task: JoinHandle<()>,
}

struct Wire {
    began: Instant,
    trace: &'static [(f64, f64)],
    /// Second at which all that was handed over so far has passed.
    busy_until: Mutex<f64>,
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
        });
        let task = tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                relays.spawn(relay(client, server, Arc::clone(&wire)));
                while relays.try_join_next().is_some() {}
            }
        });
        Ok(Self { url, task })
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
            let from = busy_until.max(self.began.elapsed().as_secs_f64() - LATE_S);
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
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        tokio::io::copy(&mut from_client, &mut to_server)
            .await
            .map(|_| ())
    };
    let down = async {
        let mut chunk = [0; CHUNK];
        loop {
            let length = from_server.read(&mut chunk).await?;
            if length == 0 {
                return to_client.shutdown().await;
            }
            wire.carry(length).await;
            to_client.write_all(&chunk[..length]).await?;
        }
    };
    // Whichever side ends first ends the connection.
    tokio::select! {
        _ended = up => {}
        _ended = down => {}
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
