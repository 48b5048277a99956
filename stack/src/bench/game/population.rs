//! Players whose ratings differ, made as a director of one's own would: tickets, proposals,
//! assignments and reported results.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::server::Server;
use crate::game::proto::matchmaker_client::MatchmakerClient;
use crate::game::proto::{
    ActivateTicketsRequest, CreateAssignmentsRequest, CreateTicketRequest,
    InvokeMatchmakingFunctionsRequest, MatchProposal, Placing, Pool, Profile, ReportResultRequest,
    SearchFields,
};

/// Players, so that a player plays again only every second or so at the usual rates.
const PLAYERS: usize = 4_000;
/// Matches each of them has played.
const ROUNDS: usize = 3;
/// Tickets in one request.
const BATCH: usize = 1_000;

/// Plays the rounds; returns the players' ids.
pub(super) async fn rate(server: &Server, seed: u64) -> Result<Vec<String>> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let players: Vec<String> = (0..PLAYERS)
        .map(|number| format!("player-{number}"))
        .collect();
    let skills: HashMap<&str, f64> = players
        .iter()
        .map(|player| (player.as_str(), random.random()))
        .collect();
    let mut client = server.connect().await?;
    for _ in 0..ROUNDS {
        for batch in players.chunks(BATCH) {
            let ids = create(&mut client, batch).await?;
            client
                .activate_tickets(ActivateTicketsRequest { ticket_ids: ids })
                .await?;
        }
        let mut proposals = client
            .invoke_matchmaking_functions(invocation())
            .await?
            .into_inner();
        while let Some(proposal) = proposals.next().await {
            let proposal = proposal?.r#match.context("an empty proposal")?;
            report(&mut client, proposal, &skills).await?;
        }
    }
    Ok(players)
}

async fn create(client: &mut MatchmakerClient<Channel>, players: &[String]) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(players.len());
    for player in players {
        let request = CreateTicketRequest {
            player_id: player.clone(),
            search_fields: Some(SearchFields {
                tags: vec!["warm-up".to_owned()],
                ..SearchFields::default()
            }),
            ttl_ms: 60_000,
            idempotency_key: String::new(),
        };
        ids.push(client.create_ticket(request).await?.into_inner().ticket_id);
    }
    Ok(ids)
}

fn invocation() -> InvokeMatchmakingFunctionsRequest {
    let pool = Pool {
        tags: vec!["warm-up".to_owned()],
        ..Pool::default()
    };
    let profile = Profile {
        name: "warm-up".to_owned(),
        pool: Some(pool),
        players: 16,
        window: 1e6,
        ..Profile::default()
    };
    InvokeMatchmakingFunctionsRequest {
        profile: Some(profile),
    }
}

async fn report(
    client: &mut MatchmakerClient<Channel>,
    proposal: MatchProposal,
    skills: &HashMap<&str, f64>,
) -> Result<()> {
    let match_id = proposal.match_id;
    let connection = "udp://192.0.2.1:1".to_owned();
    client
        .create_assignments(CreateAssignmentsRequest {
            match_id: match_id.clone(),
            connection,
        })
        .await?;
    let skill = |player: &String| skills.get(player.as_str()).copied().unwrap_or(0.0);
    let mut players = proposal.player_ids;
    players.sort_by(|a, b| skill(b).total_cmp(&skill(a)));
    let placings = (1..).zip(players).map(|(place, player_id)| Placing {
        player_id,
        place,
        score: 0,
    });
    client
        .report_result(ReportResultRequest {
            match_id,
            placings: placings.collect(),
        })
        .await?;
    Ok(())
}
