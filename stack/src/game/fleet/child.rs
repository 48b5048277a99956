//! One arena process: spawned, listened to, judged by its beats, restarted.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time;
use tokio_stream::StreamExt as _;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;

use super::{Ended, Exit, Fleet, Slot, State};
use crate::game::ARENA;
use crate::game::book::{EndReason, MatchId};
use crate::game::config::ms;
use crate::game::metrics::ArenaExit;
use crate::game::pipe::{MAX_LINE, Order, Report, Setup};

/// Orders that wait while a process does not read.
const ORDERS: usize = 256;
/// Time for an orderly end.
const GRACE: Duration = Duration::from_secs(2);
/// Pause before the first restart; doubled up to the second.
const RESTART_PAUSE: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(30)];
/// A process that ran this long was well: the pause starts anew.
const WELL: Duration = Duration::from_secs(60);

type Lines = FramedRead<ChildStdout, LinesCodec>;

/// Keeps a process running in a slot until `stop`; if not `forever`, until it has been idle for
/// long, or has crashed.
pub(super) async fn keep(fleet: Arc<Fleet>, number: usize, forever: bool, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE[0];
    loop {
        let began = Instant::now();
        let exit = match run(&fleet, number, forever, &stop).await {
            Ok(exit) => exit,
            Err(error) => {
                tracing::error!(slot = number, "arena did not start: {error:#}");
                Exit::NotStarted
            }
        };
        fleet
            .metrics
            .arena_exits
            .get_or_create(&ArenaExit { reason: exit })
            .inc();
        give_up_rooms(&fleet, number, exit).await;
        if !forever || stop.is_cancelled() {
            fleet.slots().remove(&number);
            fleet.show_states(&fleet.slots());
            return;
        }
        pause = if began.elapsed() > WELL {
            RESTART_PAUSE[0]
        } else {
            pause
        };
        tracing::warn!(slot = number, ?exit, after = ?began.elapsed(), restart_in = ?pause, "arena ended");
        _ = stop.run_until_cancelled(time::sleep(pause)).await;
        pause = (pause * 2).min(RESTART_PAUSE[1]);
    }
}

/// The matches of a process that is no more are over.
async fn give_up_rooms(fleet: &Fleet, number: usize, exit: Exit) {
    let rooms = fleet.update(number, |slot| {
        let rooms = std::mem::take(&mut slot.rooms);
        let restarts = slot.restarts + 1;
        *slot = Slot {
            restarts,
            ..Slot::new()
        };
        rooms
    });
    let reason = if exit == Exit::Stopped {
        EndReason::Stopped
    } else {
        EndReason::ArenaLost
    };
    for (id, _) in rooms.into_iter().flatten() {
        // Only fails once the director is gone, and then nobody waits for the match.
        _ = fleet
            .ended
            .send(Ended {
                id,
                reason,
                standings: Vec::new(),
            })
            .await;
    }
}

async fn run(
    fleet: &Fleet,
    number: usize,
    forever: bool,
    stop: &CancellationToken,
) -> Result<Exit> {
    let (mut child, stdin, mut lines) = spawn()?;
    fleet.metrics.arena_starts.inc();
    let (orders, queue) = mpsc::channel(ORDERS);
    let writer = tokio::spawn(write_orders(stdin, queue));
    let config = &fleet.config;
    let setup = Setup {
        address: config.address,
        port: if config.port == 0 {
            0
        } else {
            config.port + number as u16
        },
        rooms: config.rooms,
        beat_ms: config.health.period_ms,
        room: config.room.clone(),
    };
    _ = orders.try_send(Order::Setup(setup));
    let ready = tokio::select! {
        ready = time::timeout(ms(config.start_timeout_ms), read_ready(&mut lines)) => ready,
        () = stop.cancelled() => return Ok(end(&mut child, Exit::Stopped).await),
    };
    let address = match ready
        .context("not ready in time (start_timeout_ms)")
        .flatten()
    {
        Ok(address) => address,
        Err(error) => {
            fleet.update(number, |slot| slot.state = State::Unhealthy);
            end(&mut child, Exit::NotStarted).await;
            return Err(error);
        }
    };
    let pid = child.id();
    tracing::info!(slot = number, pid, address, "arena is ready");
    fleet.update(number, |slot| {
        slot.pid = pid;
        slot.connection = format!("ws://{address}/");
        slot.http = format!("http://{address}");
        slot.orders = Some(orders);
        slot.state = State::Ready;
        slot.idle_since = Instant::now();
    });
    let exit = listen(fleet, number, forever, &mut child, &mut lines, stop).await;
    writer.abort();
    Ok(exit)
}

fn spawn() -> Result<(Child, ChildStdin, Lines)> {
    let own = std::env::current_exe().context("finding the own binary")?;
    // `up` and scenarios give each service a name for its executable, too; by hand there is one.
    let named = own.with_file_name(ARENA);
    let binary = if named.exists() { named } else { own };
    let mut child = Command::new(&binary)
        .arg0(ARENA)
        .args(["arena", "--managed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    let stdin = child.stdin.take().context("standard input of the arena")?;
    let stdout = child
        .stdout
        .take()
        .context("standard output of the arena")?;
    Ok((
        child,
        stdin,
        FramedRead::new(stdout, LinesCodec::new_with_max_length(MAX_LINE)),
    ))
}

async fn write_orders(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Order>) {
    let mut lines = Vec::new();
    let mut orders = Vec::new();
    while queue.recv_many(&mut orders, ORDERS).await > 0 {
        lines.clear();
        for order in orders.drain(..) {
            if serde_json::to_writer(&mut lines, &order).is_ok() {
                lines.push(b'\n');
            }
        }
        if stdin.write_all(&lines).await.is_err() {
            return;
        }
    }
}

async fn read_ready(lines: &mut Lines) -> Result<String> {
    let Some(line) = lines.next().await else {
        bail!("it ended before it was ready")
    };
    let line: Value = serde_json::from_str(&line?).context("its first line")?;
    let address = line.pointer("/addresses/arena").and_then(Value::as_str);
    Ok(address
        .context("its first line names no address")?
        .to_owned())
}

/// Until the process ends, one way or another.
async fn listen(
    fleet: &Fleet,
    number: usize,
    forever: bool,
    child: &mut Child,
    lines: &mut Lines,
    stop: &CancellationToken,
) -> Exit {
    let health = &fleet.config.health;
    let patience = ms(health.period_ms) * health.failure_threshold;
    let mut deadline = time::Instant::now() + ms(health.initial_delay_ms) + patience;
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(Ok(line)) => match serde_json::from_str(&line) {
                    Ok(Report::Beat { open }) => {
                        deadline = deadline.max(time::Instant::now() + patience);
                        reconcile(fleet, number, &open.into_iter().collect()).await;
                        if !forever && is_idle(fleet, number) {
                            return shut_down(fleet, number, child, lines).await;
                        }
                    }
                    Ok(report) => take(fleet, number, report).await,
                    Err(error) => tracing::warn!(slot = number, %error, "arena wrote an unknown line"),
                },
                Some(Err(error)) => {
                    tracing::error!(slot = number, %error, "arena's reports cannot be read");
                    return end(child, Exit::Crashed).await;
                }
                None => return end(child, Exit::Crashed).await,
            },
            () = time::sleep_until(deadline) => {
                tracing::error!(slot = number, pid = child.id(), ?patience, "arena gave no beat, killing it");
                fleet.update(number, |slot| slot.state = State::Unhealthy);
                return end(child, Exit::Unhealthy).await;
            }
            () = stop.cancelled() => return shut_down(fleet, number, child, lines).await,
        }
    }
}

async fn take(fleet: &Fleet, number: usize, report: Report) {
    let (id, opened) = match report {
        Report::Opened { id } => (id, true),
        Report::Refused { id } => (id, false),
        Report::Ended {
            id,
            reason,
            standings,
        } => {
            let known = fleet
                .update(number, |slot| slot.rooms.remove(&id))
                .flatten();
            if known.is_some() {
                _ = fleet
                    .ended
                    .send(Ended {
                        id,
                        reason,
                        standings,
                    })
                    .await;
            }
            return;
        }
        Report::Beat { .. } => return,
    };
    fleet.update(number, |slot| {
        let answer = slot.rooms.get_mut(&id).and_then(|room| room.opened.take());
        // An answer nobody waits for: `Fleet::open` gave up and has sent Close.
        if let Some(answer) = answer {
            _ = answer.send(opened);
        }
    });
}

/// Rooms that only one side knows of are given back on both. Young ones may be under way.
async fn reconcile(fleet: &Fleet, number: usize, open: &HashSet<MatchId>) {
    let young = ms(fleet.config.open_timeout_ms + 2 * fleet.config.health.period_ms);
    let lost = fleet.update(number, |slot| {
        let lost: Vec<MatchId> = slot
            .rooms
            .iter()
            .filter(|(id, room)| !open.contains(id) && room.since.elapsed() > young)
            .map(|(id, _)| *id)
            .collect();
        for id in &lost {
            slot.rooms.remove(id);
        }
        for id in open.iter().filter(|id| !slot.rooms.contains_key(id)) {
            slot.order(Order::Close { id: *id });
        }
        lost
    });
    for id in lost.into_iter().flatten() {
        fleet.metrics.allocations_dangling.inc();
        tracing::warn!(
            slot = number,
            match_number = id,
            "arena does not know a match that it should have"
        );
        _ = fleet
            .ended
            .send(Ended {
                id,
                reason: EndReason::ArenaLost,
                standings: Vec::new(),
            })
            .await;
    }
}

fn is_idle(fleet: &Fleet, number: usize) -> bool {
    let idle = ms(fleet.config.idle_ms);
    fleet.update(number, |slot| {
        slot.rooms.is_empty() && slot.idle_since.elapsed() > idle
    }) == Some(true)
}

/// Asks the process to end; its last reports still count.
async fn shut_down(fleet: &Fleet, number: usize, child: &mut Child, lines: &mut Lines) -> Exit {
    fleet.update(number, |slot| {
        slot.state = State::Shutdown;
        slot.order(Order::Stop);
    });
    let last = async {
        while let Some(Ok(line)) = lines.next().await {
            if let Ok(report) = serde_json::from_str(&line) {
                take(fleet, number, report).await;
            }
        }
        child.wait().await
    };
    if time::timeout(GRACE, last).await.is_err() {
        tracing::warn!(slot = number, "arena did not stop in time, killing it");
    }
    end(child, Exit::Stopped).await
}

/// Makes sure that the process is gone, and reaps it.
async fn end(child: &mut Child, exit: Exit) -> Exit {
    // A closed output may be a process that is just about to end by itself: its status says why.
    if exit == Exit::Crashed
        && let Ok(Ok(status)) = time::timeout(Duration::from_millis(200), child.wait()).await
    {
        tracing::warn!(%status, "arena crashed");
    }
    if let Err(error) = child.kill().await {
        tracing::debug!(%error, "arena was gone");
    }
    exit
}
