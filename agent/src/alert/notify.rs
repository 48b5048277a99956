//! Brings pages to their receivers: one task for each, fed from the log by its cursor.
//!
//! A receiver that hangs or fails holds up nobody else. In order for each alert, at least once;
//! what passes is tried again for as long as the log keeps it.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

mod alertmanager;
mod command;
pub mod config;
mod count;
mod courier;
mod credential;
mod report;
mod verdict;
mod webhook;

pub use count::{Counts, Receiver};

use super::config::Alert;
use super::log::Log;
use courier::Courier;

/// How often the log is looked through for what is too old.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long deliveries may go on after a stop. What is left is sent after the next start.
const DRAIN: Duration = Duration::from_secs(3);

/// Makes the notifier: a future that delivers until `stop`, and then ends within a few seconds.
/// Needs a tokio runtime with I/O and time.
///
/// # Errors
/// If a field is wrong, or a file or environment variable it names cannot be used. Whether a
/// receiver is there is not tried: it may come later.
pub fn start(
    config: &Alert,
    log: Log,
    counts: &Counts,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let couriers = config::couriers(config, &log)?;
    let names: Vec<_> = couriers.iter().map(|one| one.name().to_owned()).collect();
    counts.watch(couriers.iter().map(Courier::counts));
    Ok(run(couriers, names, log, stop))
}

async fn run(couriers: Vec<Courier>, names: Vec<String>, log: Log, stop: CancellationToken) {
    log.register(&names).await;
    let mut tasks = JoinSet::new();
    for courier in couriers {
        tasks.spawn(courier.run(stop.clone()));
    }
    while !stop.is_cancelled() {
        log.expire(now_ms()).await;
        stop.run_until_cancelled(sleep(EXPIRE_EVERY)).await;
    }
    let finish = async { while tasks.join_next().await.is_some() {} };
    // Dropping the tasks ends what is left, commands included.
    drop(tokio::time::timeout(DRAIN, finish).await);
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
