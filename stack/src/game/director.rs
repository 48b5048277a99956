//! The cycle: match functions on absolute deadlines, proposals to arenas, ends of matches back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::book::{EndReason, Proposal};
use super::desk::Desk;
use super::fleet::{Ended, Fleet};
use super::metrics::Metrics;
use super::pool::Profile;
use super::rating::Placing;

/// Matches made in one cycle at most; the rest wait for the next.
const MATCHES_PER_CYCLE: usize = 5_000;

/// Runs a cycle every `period` until `stop`.
pub(crate) async fn run(
    desk: Arc<Desk>,
    fleet: Arc<Fleet>,
    profiles: Vec<Profile>,
    period: Duration,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut deadlines = time::interval(period);
    deadlines.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let placing = TaskTracker::new();
    let mut last: Option<time::Instant> = None;
    while let Some(deadline) = stop.run_until_cancelled(deadlines.tick()).await {
        if let Some(last) = last {
            let passed = (deadline - last).as_secs_f64() / period.as_secs_f64();
            metrics
                .cycles_missed
                .inc_by((passed.round() as u64).saturating_sub(1));
        }
        last = Some(deadline);
        let began = Instant::now();
        desk.elapse();
        if fleet.exists() {
            for proposal in cycle(&desk, &fleet, &profiles, &metrics) {
                placing.spawn(place(Arc::clone(&desk), Arc::clone(&fleet), proposal));
            }
        }
        metrics.cycle.observe(began.elapsed().as_secs_f64());
    }
}

/// Proposals of all profiles, as many as there are rooms for.
fn cycle(desk: &Desk, fleet: &Fleet, profiles: &[Profile], metrics: &Metrics) -> Vec<Proposal> {
    let free = fleet.free_rooms().min(MATCHES_PER_CYCLE);
    let mut proposals = Vec::new();
    for profile in profiles {
        proposals.extend(desk.propose(profile, free - proposals.len()));
    }
    // With every room taken the match functions were not even asked how many matches there are.
    if proposals.len() == free && desk.active() > 1 {
        metrics.cycles_short.inc();
        fleet.grow();
    }
    proposals
}

async fn place(desk: Arc<Desk>, fleet: Arc<Fleet>, proposal: Proposal) {
    let tokens: Vec<String> = proposal
        .members
        .iter()
        .map(|_| format!("{:032x}", rand::random::<u128>()))
        .collect();
    let id = proposal.id;
    match fleet.open(id, desk.name(id), tokens.clone()).await {
        Ok(connection) => {
            if desk.assign(id, &connection, Some(&tokens)).is_ok() && !fleet.hosts(id) {
                // The arena ended between its answer and the assignment; its report came too early.
                _ = desk.end(id, EndReason::ArenaLost, Vec::new()).await;
            }
        }
        Err(error) => {
            tracing::debug!(match_id = desk.name(id), %error, "releasing a proposal");
            desk.release(id);
        }
    }
}

/// Takes the ends of matches from arenas until all senders are gone.
pub(crate) async fn take_ends(desk: Arc<Desk>, mut ended: mpsc::Receiver<Ended>) {
    while let Some(Ended {
        id,
        reason,
        standings,
    }) = ended.recv().await
    {
        let players = desk.players(id);
        let placings = standings.into_iter().filter_map(|(slot, place, score)| {
            let player = players.get(usize::from(slot))?.clone();
            Some(Placing {
                player,
                place,
                score,
            })
        });
        let placings = placings.collect();
        // Unknown is a proposal that `place` releases, or one that it is about to assign and end.
        if let Err(error) = desk.end(id, reason, placings).await {
            tracing::debug!(match_id = desk.name(id), %error, "an end without a match");
        }
    }
}
