//! Bots in many matches at once; what the arenas say of their ticks, what the bots see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::server::Server;
use crate::game::proto::watch_assignments_response::Update;
use crate::game::proto::{
    ActivateTicketsRequest, Assignment, CreateTicketRequest, WatchAssignmentsRequest,
};

mod bot;

/// Time from the last join until ticks are counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// Time for all assignments.
const ASSIGNING: Duration = Duration::from_secs(60);

/// What is read from arenas before and after.
const METRICS: [&str; 8] = [
    "arena_tick_seconds_count",
    "arena_tick_overruns_total",
    "arena_ticks_missed_total",
    "arena_tick_seconds_sum",
    "arena_snapshots_total",
    "arena_snapshots_skipped_total",
    "arena_snapshot_bytes_total",
    "arena_tick_late_seconds_sum",
];

/// Fills the arenas, lets them run, and reads the figures of the steady part.
pub(super) async fn measure(server: &Server, args: &Args) -> Result<Value> {
    let players = args.arenas * args.arena_players;
    let assignments = time::timeout(ASSIGNING, assign(server, players))
        .await
        .context("not all bots got a match")??;
    let stop = CancellationToken::new();
    let counting = Arc::new(AtomicU64::new(0));
    let mut bots = JoinSet::new();
    for (number, assignment) in (0_u64..).zip(assignments) {
        let behaviour = bot::Behaviour {
            seed: args.seed ^ number,
            counting: Arc::clone(&counting),
            stop: stop.clone(),
        };
        bots.spawn(bot::play(assignment, behaviour));
    }
    time::sleep(WARM_UP).await;
    let bases = server.arenas().await?;
    let before = server.sum(&bases, &METRICS).await?;
    counting.store(1, Ordering::Relaxed);
    time::sleep(Duration::from_secs(args.arena_seconds)).await;
    counting.store(0, Ordering::Relaxed);
    let after = server.sum(&bases, &METRICS).await?;
    let running = server
        .sum(
            &bases,
            &["arena_matches", "arena_players", "arena_tick_nice"],
        )
        .await?;
    stop.cancel();
    let mut seen = bot::Seen::new()?;
    while let Some(bot) = bots.join_next().await {
        seen.add(bot.context("a bot panicked")??)?;
    }
    let delta: Vec<f64> = before
        .iter()
        .zip(after)
        .map(|(before, after)| after - before)
        .collect();
    ensure!(delta[0] > 0.0, "no ticks were counted");
    Ok(figures(args, &delta, &running, &seen))
}

fn figures(args: &Args, delta: &[f64], running: &[f64], seen: &bot::Seen) -> Value {
    let (ticks, overruns) = (delta[0], delta[1]);
    let quantiles = |histogram: &Histogram<u64>| {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        json!({ "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": histogram.max() as f64 / 1_000.0 })
    };
    json!({
        "arenas": running[0],
        "processes": args.processes,
        "players": running[1],
        "tick_hz": args.tick_hz,
        "tick_nice": running[2] / f64::from(args.processes),
        "seconds": args.arena_seconds,
        "ticks": ticks,
        "ticks_expected": args.arenas as f64 * f64::from(args.tick_hz) * args.arena_seconds as f64,
        "overruns": overruns,
        "overrun_share": overruns / ticks,
        "target_overrun_share": 0.001,
        "ticks_missed": delta[2],
        "tick_mean_us": delta[3] / ticks * 1e6,
        "tick_late_mean_us": delta[7] / ticks * 1e6,
        "snapshots": delta[4],
        "snapshots_skipped": delta[5],
        "snapshot_mean_bytes": delta[6] / delta[4].max(1.0),
        "bots_snapshots": seen.snapshots,
        "bots_ended_early": seen.ended_early,
        "input_to_snapshot_ms": quantiles(&seen.input_to_snapshot_us),
        "snapshot_gap_ms": quantiles(&seen.gap_us),
    })
}

async fn assign(server: &Server, players: u32) -> Result<Vec<Assignment>> {
    let mut client = server.connect().await?;
    let mut assignments = Vec::with_capacity(players as usize);
    let mut ticket_ids = Vec::new();
    for number in 0..players {
        let request = CreateTicketRequest {
            player_id: format!("bot-{number}"),
            ttl_ms: 60_000,
            ..Default::default()
        };
        ticket_ids.push(client.create_ticket(request).await?.into_inner().ticket_id);
    }
    let mut watches = Vec::new();
    for ids in ticket_ids.chunks(1_000) {
        let watch = WatchAssignmentsRequest {
            ticket_ids: ids.to_vec(),
            until_match_ends: false,
        };
        watches.push(client.watch_assignments(watch).await?.into_inner());
    }
    for ids in ticket_ids.chunks(1_000) {
        client
            .activate_tickets(ActivateTicketsRequest {
                ticket_ids: ids.to_vec(),
            })
            .await?;
    }
    for mut updates in watches {
        while let Some(update) = updates.next().await {
            if let Some(Update::Assigned(assignment)) = update?.update {
                assignments.push(assignment);
            }
        }
    }
    ensure!(
        assignments.len() == players as usize,
        "{} of {players} bots got a match",
        assignments.len()
    );
    Ok(assignments)
}
