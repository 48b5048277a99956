//! The side of an arena that listens to `game`: orders in, reports and beats out.

use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};
use tokio_stream::StreamExt as _;
use tokio_util::codec::{FramedRead, LinesCodec};

use super::Running;
use super::ticker::Command;
use crate::daemon;
use crate::game::config::ms;
use crate::game::pipe::{MAX_LINE, Order, Report};

type Orders = FramedRead<pipe::Receiver, LinesCodec>;

/// Serves `game` until it says stop or is gone.
pub(super) async fn run() -> Result<ExitCode> {
    // Ctrl-C reaches the whole process group, and when to stop is for `game` to say.
    let _ignored = signal(SignalKind::interrupt()).context("SIGINT")?;
    let terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let by_hand =
        "--managed is for `weir-stack game`, which has pipes to the arena; by hand leave it out";
    let stdin = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("standard input")?;
    let stdin = pipe::Receiver::from_owned_fd(stdin).context(by_hand)?;
    let mut orders: Orders = FramedRead::new(stdin, LinesCodec::new_with_max_length(MAX_LINE));
    let first = orders.next().await.context(by_hand)?;
    let Order::Setup(setup) = serde_json::from_str(&first?).context("in the first order")? else {
        bail!("the first order is not the setup");
    };
    let beat = ms(setup.beat_ms);
    let (running, reports) = Running::start(setup).await?;
    daemon::ready("arena", &[("arena", running.address.to_string())]);
    let stdout = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("standard output")?;
    let stdout = pipe::Sender::from_owned_fd(stdout).context(by_hand)?;
    let writing = tokio::spawn(write_reports(stdout, reports));
    obey(&mut orders, terminate, &running, beat).await;
    running.finish().await?;
    // All senders are gone with the ticker and the arena, so that this ends after the last report.
    writing.await.context("writing reports")?;
    Ok(ExitCode::SUCCESS)
}

async fn obey(
    orders: &mut Orders,
    mut terminate: Signal,
    running: &Running,
    beat: std::time::Duration,
) {
    let mut beats = time::interval(beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = 0;
    loop {
        tokio::select! {
            line = orders.next() => {
                let Some(Ok(line)) = line else { return };
                match serde_json::from_str(&line) {
                    Ok(Order::Stop) => return,
                    Ok(order) => follow(order, running).await,
                    Err(error) => tracing::warn!(%error, "an order that is none"),
                }
            }
            _ = beats.tick() => {
                // No beat while the ticker hangs: that is what beats are for.
                let now = running.alive.load(Ordering::Relaxed);
                if now != rounds {
                    rounds = now;
                    _ = running.reports.send(Report::Beat { open: running.arena.seats.matches() }).await;
                }
            }
            _ = terminate.recv() => return,
        }
    }
}

async fn follow(order: Order, running: &Running) {
    match order {
        Order::Open { id, name, tokens } => {
            let opened = running.open(id, name, tokens);
            let report = if opened {
                Report::Opened { id }
            } else {
                Report::Refused { id }
            };
            _ = running.reports.send(report).await;
        }
        Order::Close { id } => {
            if running.commands.try_send(Command::Close(id)).is_err() {
                tracing::debug!(id, "the ticker is busy; the next beat asks for this again");
            }
        }
        Order::Setup(_) => tracing::warn!("a second setup"),
        Order::Stop => {}
    }
}

async fn write_reports(mut stdout: pipe::Sender, mut reports: mpsc::Receiver<Report>) {
    let mut batch = Vec::new();
    let mut lines = Vec::new();
    while reports.recv_many(&mut batch, 256).await > 0 {
        lines.clear();
        for report in batch.drain(..) {
            if serde_json::to_writer(&mut lines, &report).is_ok() {
                lines.push(b'\n');
            }
        }
        if stdout.write_all(&lines).await.is_err() {
            return;
        }
    }
}
