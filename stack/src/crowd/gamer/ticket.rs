//! From a wish to play to a seat in an arena: matchmaking over gRPC.

use std::collections::HashMap;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::super::net::{explain_cause, failure};
use super::super::player::Failure;
use super::Plan;
use crate::game::proto::matchmaker_client::MatchmakerClient;
use crate::game::proto::watch_assignments_response::Update;
use crate::game::proto::{
    ActivateTicketsRequest, Assignment, CreateTicketRequest, SearchFields, WatchAssignmentsRequest,
};
use crate::truth::Reason;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

type Failed = (&'static str, Failure);

/// Waits for a match; none if the ticket ended without one. The error says at which call.
pub(super) async fn find_match(plan: &Plan, name: &str) -> Result<Option<Assignment>, Failed> {
    let mut client = connect(plan).await?;
    let search_fields = SearchFields {
        string_args: HashMap::from([
            ("mode".to_owned(), plan.gaming.mode.clone()),
            ("region".to_owned(), plan.gaming.region.clone()),
        ]),
        ..SearchFields::default()
    };
    let ticket = CreateTicketRequest {
        player_id: name.to_owned(),
        search_fields: Some(search_fields),
        ..CreateTicketRequest::default()
    };
    let created = client
        .create_ticket(ticket)
        .await
        .map_err(|status| ("CreateTicket", refused(&status)))?;
    let ids = vec![created.into_inner().ticket_id];
    let activated = client
        .activate_tickets(ActivateTicketsRequest {
            ticket_ids: ids.clone(),
        })
        .await
        .map_err(|status| ("ActivateTickets", refused(&status)))?;
    if let Some(failed) = activated.into_inner().failed.first() {
        return Err((
            "ActivateTickets",
            failure(Reason::Status, failed.reason.clone()),
        ));
    }
    let watch = WatchAssignmentsRequest {
        ticket_ids: ids,
        until_match_ends: false,
    };
    let watched = client
        .watch_assignments(watch)
        .await
        .map_err(|status| ("WatchAssignments", refused(&status)))?;
    let mut updates = watched.into_inner();
    while let Some(update) = updates
        .message()
        .await
        .map_err(|status| ("WatchAssignments", refused(&status)))?
    {
        match update.update {
            Some(Update::Assigned(assignment)) => return Ok(Some(assignment)),
            Some(Update::Gone(_) | Update::Ended(_)) => return Ok(None),
            None => {}
        }
    }
    Ok(None)
}

async fn connect(plan: &Plan) -> Result<MatchmakerClient<Channel>, Failed> {
    let failed = |error: tonic::transport::Error| {
        let detail = error.to_string();
        ("connect", explain_cause(&error, detail))
    };
    let endpoint = Endpoint::from_shared(plan.url.to_string())
        .map_err(failed)?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true);
    Ok(MatchmakerClient::new(
        endpoint.connect().await.map_err(failed)?,
    ))
}

fn refused(status: &tonic::Status) -> Failure {
    let reason = match status.code() {
        tonic::Code::DeadlineExceeded => Reason::Timeout,
        tonic::Code::Unavailable => Reason::Closed,
        _ => Reason::Status,
    };
    failure(reason, status.to_string())
}
