//! Tickets at a steady rate, each followed from the moment it was due to its assignment. The rate
//! does not wait for answers: a slow server shows as latency, not as less load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::server::Server;
use super::{Args, CYCLE_MS};
use crate::game::proto::matchmaker_client::MatchmakerClient;
use crate::game::proto::watch_assignments_response::Update;
use crate::game::proto::{
    ActivateTicketsRequest, CreateTicketRequest, SearchFields, WatchAssignmentsRequest,
};

/// Tickets are due in groups this far apart: one activation and one watch for each group.
const GROUP: Duration = Duration::from_millis(10);
/// Connections to the server.
const CONNECTIONS: usize = 4;
/// Groups under way at most; above, the load generator itself is too slow and says so.
const GROUPS_OPEN: usize = 2_000;
/// Regions that players come from, evenly.
const REGIONS: u32 = 8;
/// A ticket that waits longer counts as expired.
const TTL: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Outcome {
    latencies: Vec<Duration>,
    assigned_at: Vec<Instant>,
    expired: u64,
    failed: u64,
}

/// Creates tickets for the given time, then waits for the last ones.
pub(super) async fn measure(server: &Server, args: &Args, players: Vec<String>) -> Result<Value> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.connect().await?);
    }
    let mut random = Pcg64Mcg::seed_from_u64(args.seed);
    let open = Arc::new(Semaphore::new(GROUPS_OPEN));
    let mut groups: JoinSet<Outcome> = JoinSet::new();
    let groups_total =
        args.ticket_seconds * (Duration::from_secs(1).as_millis() / GROUP.as_millis()) as u64;
    let (mut next, mut owed, mut created, mut not_sent) = (0_usize, 0.0_f64, 0_u64, 0_u64);
    let began = time::Instant::now();
    for number in 0..groups_total {
        let due = began + GROUP * number as u32;
        time::sleep_until(due).await;
        owed += f64::from(args.tickets_per_second) * GROUP.as_secs_f64();
        let count = owed as usize;
        owed -= count as f64;
        let requests: Vec<CreateTicketRequest> = (0..count)
            .map(|_| {
                next = (next + 1) % players.len();
                request(&players[next], random.random_range(0..REGIONS))
            })
            .collect();
        let Ok(permit) = Arc::clone(&open).try_acquire_owned() else {
            not_sent += count as u64;
            continue;
        };
        created += count as u64;
        let client = clients[number as usize % CONNECTIONS].clone();
        groups.spawn(async move {
            let outcome = follow(client, requests, due.into_std()).await;
            drop(permit);
            outcome
        });
    }
    let mut all = Outcome::default();
    let patience = time::Instant::now() + TTL + Duration::from_secs(10);
    while let Ok(Some(outcome)) = time::timeout_at(patience, groups.join_next()).await {
        let outcome = outcome.context("a group of tickets panicked")?;
        all.latencies.extend(outcome.latencies);
        all.assigned_at.extend(outcome.assigned_at);
        all.expired += outcome.expired;
        all.failed += outcome.failed;
    }
    figures(args, &all, began.into_std(), created, not_sent)
}

fn figures(
    args: &Args,
    all: &Outcome,
    began: Instant,
    created: u64,
    not_sent: u64,
) -> Result<Value> {
    let mut histogram = Histogram::<u64>::new(3)?;
    for latency in &all.latencies {
        histogram.record(latency.as_micros() as u64)?;
    }
    // Without the first and the last second, in which the rate is not steady.
    let (from, to) = (
        began + Duration::from_secs(1),
        began + Duration::from_secs(args.ticket_seconds),
    );
    let steady = all
        .assigned_at
        .iter()
        .filter(|at| (from..to).contains(*at))
        .count();
    let quantile = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(json!({
        "offered_per_second": args.tickets_per_second,
        "seconds": args.ticket_seconds,
        "players_per_match": args.ticket_players,
        "cycle_ms": CYCLE_MS,
        "created": created,
        "not_sent_load_generator_too_slow": not_sent,
        "assigned": all.latencies.len(),
        "expired": all.expired,
        "failed": all.failed,
        "unanswered": created - all.latencies.len() as u64 - all.expired - all.failed,
        "matched_per_second": steady as f64 / (to - from).as_secs_f64().max(1.0),
        "create_to_assignment_ms": {
            "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "p99.9": quantile(0.999),
            "max": histogram.max() as f64 / 1_000.0,
        },
        "target_p99_ms": 2 * CYCLE_MS + 50,
    }))
}

fn request(player: &str, region: u32) -> CreateTicketRequest {
    let strings = [
        ("mode", "bench".to_owned()),
        ("region", format!("region-{region}")),
    ];
    CreateTicketRequest {
        player_id: player.to_owned(),
        search_fields: Some(SearchFields {
            string_args: strings
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..SearchFields::default()
        }),
        ttl_ms: TTL.as_millis() as u32,
        idempotency_key: String::new(),
    }
}

/// A group of tickets: created side by side, activated and watched together.
async fn follow(
    mut client: MatchmakerClient<Channel>,
    requests: Vec<CreateTicketRequest>,
    due: Instant,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut creating = JoinSet::new();
    for request in requests {
        let mut client = client.clone();
        creating.spawn(async move { client.create_ticket(request).await });
    }
    let mut ticket_ids = Vec::new();
    while let Some(created) = creating.join_next().await {
        match created {
            Ok(Ok(created)) => ticket_ids.push(created.into_inner().ticket_id),
            Ok(Err(_)) | Err(_) => outcome.failed += 1,
        }
    }
    let count = ticket_ids.len() as u64;
    let activated = client
        .activate_tickets(ActivateTicketsRequest {
            ticket_ids: ticket_ids.clone(),
        })
        .await;
    let watch = WatchAssignmentsRequest {
        ticket_ids,
        until_match_ends: false,
    };
    let (Ok(_), Ok(updates)) = (activated, client.watch_assignments(watch).await) else {
        outcome.failed += count;
        return outcome;
    };
    let mut updates = updates.into_inner();
    while let Some(Ok(update)) = updates.next().await {
        match update.update {
            Some(Update::Assigned(_)) => {
                outcome.latencies.push(due.elapsed());
                outcome.assigned_at.push(Instant::now());
            }
            _ => outcome.expired += 1,
        }
    }
    outcome
}
