//! What every service does alike: run time, logs, health, metrics, connections, graceful stop.
//!
//! A service makes its metrics in a [`Table`], merges [`router`] into its own, says [`ready`] and calls [`Server::serve`].

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

mod door;
mod file;
mod health;
mod metric;
mod process;
mod server;
mod trace;

pub(crate) use door::{Door, Seat};
pub(crate) use file::raise_limit;
pub(crate) use health::{Health, router};
pub(crate) use metric::{Row, Table};
pub(crate) use process::Process;
pub(crate) use server::{Limits, Server, listen};
pub(crate) use trace::trace;

/// Runs a service until it ends by itself or is told to stop (see [`stop_token`]).
pub(crate) fn run(
    name: &'static str,
    config: &Config,
    service: impl Future<Output = Result<ExitCode>>,
) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .build()
        .context("starting the run time")?;
    let entered = runtime.enter();
    let log = crate::log::start(name, &config.log)?;
    let end = runtime.block_on(service);
    // The last spans need the run time that their exporter lives on.
    drop(log);
    drop(entered);
    end
}

/// A token that is cancelled by SIGINT and SIGTERM. Call once, inside the run time.
pub(crate) fn stop_token() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).context("SIGINT")?,
        signal(SignalKind::terminate()).context("SIGTERM")?,
    );
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(token)
}

/// Says on standard output where a service can be reached, one JSON object in a line: `up` and
/// scenarios wait for it.
pub(crate) fn ready(name: &str, addresses: &[(&str, String)]) {
    let addresses: serde_json::Map<String, serde_json::Value> = addresses
        .iter()
        .map(|(what, address)| ((*what).to_owned(), address.clone().into()))
        .collect();
    println!(
        "{}",
        serde_json::json!({ "ready": name, "addresses": addresses })
    );
}
