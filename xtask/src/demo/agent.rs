//! The agent of the demo: a release build with a configuration of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::atomic::AtomicBool,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{process::Processes, scrape::Scrape};
use crate::command::{note, step};

/// Where Weir listens by default; another port is taken if this one is in use.
const DEFAULT_PORT: u16 = 9470;
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(super) struct Agent {
    address: SocketAddr,
    url: String,
}

impl Agent {
    /// Starts the agent and waits until it answers.
    pub(super) fn start(
        processes: &mut Processes,
        binary: &Path,
        stop: &AtomicBool,
    ) -> Result<Self> {
        step!("weir, beside it all: it watches the kernel, not the programs");
        let address = free_address()?;
        let config = processes.directory().join("weir.toml");
        fs::write(&config, format!("[prometheus]\nlisten = \"{address}\"\n"))
            .context("writing weir.toml")?;
        let (binary, config) = (binary.display().to_string(), config.display().to_string());
        processes.start("weir", None, &[&binary, "run", "--config", &config])?;
        let agent = Self {
            address,
            url: format!("http://{address}/metrics"),
        };
        processes.wait_until("the agent answers", READY_WITHIN, stop, || {
            Ok(agent.scrape().is_ok())
        })?;
        Ok(agent)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Reads all metrics once.
    pub(super) fn scrape(&self) -> Result<Scrape> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .context("setting a timeout")?;
        // Version 1.0 keeps the answer in one piece.
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nAccept: text/plain\r\n\r\n")
            .context("asking for metrics")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("reading metrics")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("an answer without a body")?;
        let status = head.lines().next().unwrap_or_default();
        if !status.contains(" 200 ") {
            bail!("{}: {status}", self.url);
        }
        Ok(Scrape::parse(body))
    }
}

fn free_address() -> Result<SocketAddr> {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let listener = TcpListener::bind(local(DEFAULT_PORT)).or_else(|_| {
        note!("port {DEFAULT_PORT} is in use: taking another");
        TcpListener::bind(local(0))
    });
    listener
        .and_then(|listener| listener.local_addr())
        .context("no free port")
}
