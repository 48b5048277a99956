//! The gRPC interface over the desk: bounds of requests, and translation both ways.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use super::book::{EndReason, Refused, Update};
use super::desk::Desk;
use super::pool::{OutOfBounds, Profile, SearchFields};
use super::proto::matchmaker_server::Matchmaker;
use super::proto::watch_assignments_response::Update as ProtoUpdate;
use super::proto::{self, *};
use super::protocol::MAX_PLAYERS;
use super::rating::Placing;

/// Tickets in one request.
const MAX_IDS: usize = 1_000;
/// Bytes of a player's id and of an idempotency key.
const MAX_ID: usize = 128;
/// Bytes of a connection that a director assigns.
const MAX_CONNECTION: usize = 256;
/// Matches that one invocation proposes.
const MAX_PROPOSALS: usize = 1_000;

/// Implements `weir.game.v1.Matchmaker`.
pub(crate) struct Service(pub(crate) Arc<Desk>);

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Matchmaker for Service {
    type WatchAssignmentsStream = Answers<WatchAssignmentsResponse>;
    type InvokeMatchmakingFunctionsStream = Answers<InvokeMatchmakingFunctionsResponse>;

    async fn create_ticket(
        &self,
        request: Request<CreateTicketRequest>,
    ) -> Answer<CreateTicketResponse> {
        let CreateTicketRequest {
            player_id,
            search_fields,
            ttl_ms,
            idempotency_key,
        } = request.into_inner();
        check_player(&player_id)?;
        if idempotency_key.len() > MAX_ID {
            return Err(OutOfBounds("idempotency_key: want up to 128 bytes").into());
        }
        let record = self
            .0
            .ratings
            .get(&player_id)
            .await
            .map_err(|error| no_ratings(&error))?;
        let fields =
            SearchFields::from_proto(search_fields.unwrap_or_default(), record.rating.rating)?;
        let key = (!idempotency_key.is_empty()).then_some(idempotency_key);
        let (id, existed, left_ms) = self.0.create(player_id, fields, ttl_ms.into(), key)?;
        let expires_in_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
        Ok(Response::new(CreateTicketResponse {
            ticket_id: self.0.name(id),
            existed,
            expires_in_ms,
        }))
    }

    async fn activate_tickets(
        &self,
        request: Request<ActivateTicketsRequest>,
    ) -> Answer<ActivateTicketsResponse> {
        let failed = self.each_ticket(request.into_inner().ticket_ids, |id| self.0.activate(id))?;
        Ok(Response::new(ActivateTicketsResponse { failed }))
    }

    async fn deactivate_tickets(
        &self,
        request: Request<DeactivateTicketsRequest>,
    ) -> Answer<DeactivateTicketsResponse> {
        let failed =
            self.each_ticket(request.into_inner().ticket_ids, |id| self.0.deactivate(id))?;
        Ok(Response::new(DeactivateTicketsResponse { failed }))
    }

    async fn watch_assignments(
        &self,
        request: Request<WatchAssignmentsRequest>,
    ) -> Answer<Self::WatchAssignmentsStream> {
        let WatchAssignmentsRequest {
            ticket_ids,
            until_match_ends,
        } = request.into_inner();
        check_count(ticket_ids.len())?;
        let (known, foreign): (Vec<_>, Vec<_>) = ticket_ids
            .into_iter()
            .map(|name| self.0.number(&name).ok_or(name))
            .partition(Result::is_ok);
        let mut known: Vec<u64> = known.into_iter().flatten().collect();
        known.sort_unstable();
        known.dedup();
        let (updates, refused) = self.0.watch(&known, until_match_ends);
        if refused > 0 {
            return Err(Status::resource_exhausted(format!(
                "{refused} of these tickets have four watches already"
            )));
        }
        let unknown = foreign
            .into_iter()
            .filter_map(Result::err)
            .map(|ticket_id| {
                let gone = Gone {
                    reason: gone::Reason::Unknown.into(),
                };
                Ok(WatchAssignmentsResponse {
                    ticket_id,
                    update: Some(ProtoUpdate::Gone(gone)),
                })
            });
        let desk = Arc::clone(&self.0);
        let updates =
            ReceiverStream::new(updates).map(move |update| Ok(update_to_proto(&desk, update)));
        let unknown: Vec<_> = unknown.collect();
        Ok(Response::new(Box::pin(
            tokio_stream::iter(unknown).chain(updates),
        )))
    }

    async fn invoke_matchmaking_functions(
        &self,
        request: Request<InvokeMatchmakingFunctionsRequest>,
    ) -> Answer<Self::InvokeMatchmakingFunctionsStream> {
        let profile = request.into_inner().profile.unwrap_or_default();
        let profile = Profile::from_proto(profile)?;
        let release_in_ms = u32::try_from(self.0.release_timeout_ms()).unwrap_or(u32::MAX);
        let proposals = self
            .0
            .propose(&profile, MAX_PROPOSALS)
            .into_iter()
            .map(|proposal| {
                let (tickets, player_ids): (Vec<_>, Vec<_>) = proposal.members.into_iter().unzip();
                let proposal = MatchProposal {
                    match_id: self.0.name(proposal.id),
                    profile: proposal.profile,
                    ticket_ids: tickets
                        .into_iter()
                        .map(|ticket| self.0.name(ticket))
                        .collect(),
                    player_ids,
                    rating_spread: proposal.spread,
                    release_in_ms,
                };
                Ok(InvokeMatchmakingFunctionsResponse {
                    r#match: Some(proposal),
                })
            });
        let proposals: Vec<_> = proposals.collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(proposals))))
    }

    async fn create_assignments(
        &self,
        request: Request<CreateAssignmentsRequest>,
    ) -> Answer<CreateAssignmentsResponse> {
        let CreateAssignmentsRequest {
            match_id,
            connection,
        } = request.into_inner();
        if !(1..=MAX_CONNECTION).contains(&connection.len()) {
            return Err(OutOfBounds("connection: want 1 to 256 bytes").into());
        }
        let id = self.0.number(&match_id).ok_or(Refused::Unknown)?;
        self.0.assign(id, &connection, None)?;
        Ok(Response::new(CreateAssignmentsResponse {}))
    }

    async fn report_result(
        &self,
        request: Request<ReportResultRequest>,
    ) -> Answer<ReportResultResponse> {
        let ReportResultRequest { match_id, placings } = request.into_inner();
        if placings.len() > MAX_PLAYERS || placings.iter().any(|placing| placing.place == 0) {
            return Err(OutOfBounds("placings: want up to 16, places from 1").into());
        }
        let id = self.0.number(&match_id).ok_or(Refused::Unknown)?;
        let placings = placings
            .into_iter()
            .map(
                |proto::Placing {
                     player_id,
                     place,
                     score,
                 }| Placing {
                    player: player_id,
                    place,
                    score,
                },
            )
            .collect();
        self.0.end(id, EndReason::Finished, placings).await?;
        Ok(Response::new(ReportResultResponse {}))
    }

    async fn get_rating(&self, request: Request<GetRatingRequest>) -> Answer<GetRatingResponse> {
        let GetRatingRequest { player_id } = request.into_inner();
        check_player(&player_id)?;
        let record = self
            .0
            .ratings
            .get(&player_id)
            .await
            .map_err(|error| no_ratings(&error))?;
        Ok(Response::new(GetRatingResponse {
            rating: record.rating.rating,
            deviation: record.rating.deviation,
            volatility: record.rating.volatility,
            matches: record.matches,
        }))
    }
}

impl Service {
    fn each_ticket(
        &self,
        names: Vec<String>,
        change: impl Fn(u64) -> Result<(), Refused>,
    ) -> Result<Vec<TicketError>, OutOfBounds> {
        check_count(names.len())?;
        let failed = names.into_iter().filter_map(|ticket_id| {
            let changed = self
                .0
                .number(&ticket_id)
                .ok_or(Refused::Unknown)
                .and_then(&change);
            changed.err().map(|refused| TicketError {
                ticket_id,
                reason: refused.to_string(),
            })
        });
        Ok(failed.collect())
    }
}

fn check_count(count: usize) -> Result<(), OutOfBounds> {
    if count > MAX_IDS {
        Err(OutOfBounds("ticket_ids: want up to 1,000"))
    } else {
        Ok(())
    }
}

fn check_player(player: &str) -> Result<(), OutOfBounds> {
    if (1..=MAX_ID).contains(&player.len()) {
        Ok(())
    } else {
        Err(OutOfBounds("player_id: want 1 to 128 bytes"))
    }
}

fn no_ratings(error: &anyhow::Error) -> Status {
    Status::unavailable(format!("ratings cannot be read: {error}"))
}

fn update_to_proto(desk: &Desk, update: Update) -> WatchAssignmentsResponse {
    let ticket_id = desk.name(update.ticket());
    let update = match update {
        Update::Assigned(_, assignment) => ProtoUpdate::Assigned(Assignment {
            match_id: desk.name(assignment.match_id),
            connection: assignment.connection,
            token: assignment.token,
            profile: assignment.profile,
            rating_spread: assignment.spread,
            waited_ms: u32::try_from(assignment.waited_ms).unwrap_or(u32::MAX),
        }),
        Update::Gone(_, reason) => ProtoUpdate::Gone(Gone {
            reason: reason as i32,
        }),
        Update::Ended(_, reason, placings) => ProtoUpdate::Ended(MatchEnded {
            reason: reason as i32,
            placings: placings
                .into_iter()
                .map(
                    |Placing {
                         player,
                         place,
                         score,
                     }| proto::Placing {
                        player_id: player,
                        place,
                        score,
                    },
                )
                .collect(),
        }),
    };
    WatchAssignmentsResponse {
        ticket_id,
        update: Some(update),
    }
}

impl From<OutOfBounds> for Status {
    fn from(error: OutOfBounds) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::resource_exhausted("too many tickets"),
            Refused::Unknown => {
                Self::not_found("no such ticket or match, or it ended too long ago")
            }
            Refused::Assigned => Self::failed_precondition("the ticket is in a match"),
            Refused::Ended => Self::already_exists("the match was assigned or ended before"),
            Refused::NotItsPlayers => {
                Self::invalid_argument("placings: want each of the match's players at most once")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::book::GoneReason;

    #[test]
    fn reasons_have_the_numbers_of_the_interface() {
        let gone = [
            (GoneReason::Expired, gone::Reason::Expired),
            (GoneReason::Cancelled, gone::Reason::Cancelled),
            (GoneReason::Unknown, gone::Reason::Unknown),
            (GoneReason::Stopping, gone::Reason::Stopping),
        ];
        assert!(
            gone.iter()
                .all(|(ours, theirs)| *ours as i32 == *theirs as i32)
        );
        let ended = [
            (EndReason::Finished, match_ended::Reason::Finished),
            (EndReason::ArenaLost, match_ended::Reason::ArenaLost),
            (EndReason::NotJoined, match_ended::Reason::NotJoined),
            (EndReason::Abandoned, match_ended::Reason::Abandoned),
            (EndReason::Stopped, match_ended::Reason::Stopped),
        ];
        assert!(
            ended
                .iter()
                .all(|(ours, theirs)| *ours as i32 == *theirs as i32)
        );
    }
}
