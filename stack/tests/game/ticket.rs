//! Tickets over gRPC: what is refused, what expires, and a director of one's own.

use tonic::Code;

use crate::proto::watch_assignments_response::Update;
use crate::proto::{
    ActivateTicketsRequest, CreateAssignmentsRequest, CreateTicketRequest,
    DeactivateTicketsRequest, InvokeMatchmakingFunctionsRequest, Placing, Profile,
    ReportResultRequest, gone, match_ended,
};
use crate::server::Server;

fn named(player: &str) -> CreateTicketRequest {
    CreateTicketRequest {
        player_id: player.to_owned(),
        ..CreateTicketRequest::default()
    }
}

#[tokio::test]
async fn requests_out_of_bounds_are_refused_with_the_field() {
    let mut server = Server::start("").await;
    let error = server.client.create_ticket(named("")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "player_id: want 1 to 128 bytes")
    );
    let many = ActivateTicketsRequest {
        ticket_ids: vec!["x".to_owned(); 1_001],
    };
    assert_eq!(
        server
            .client
            .activate_tickets(many)
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    let huge = ActivateTicketsRequest {
        ticket_ids: vec!["x".repeat(200_000)],
    };
    assert_eq!(
        server
            .client
            .activate_tickets(huge)
            .await
            .unwrap_err()
            .code(),
        Code::OutOfRange
    );
    let unknown = ActivateTicketsRequest {
        ticket_ids: vec!["00000000-1".to_owned()],
    };
    let failed = server
        .client
        .activate_tickets(unknown)
        .await
        .unwrap()
        .into_inner()
        .failed;
    assert_eq!((failed.len(), failed[0].reason.as_str()), (1, "unknown"));
}

#[tokio::test]
async fn tickets_that_expire_or_are_cancelled_tell_their_watchers() {
    let mut server = Server::start("").await;
    let short = CreateTicketRequest {
        ttl_ms: 100,
        ..named("ann")
    };
    let ann = server
        .client
        .create_ticket(short)
        .await
        .unwrap()
        .into_inner()
        .ticket_id;
    let bob = server.ticket("bob").await;
    let (mut ann_watch, mut bob_watch) = (server.watch(&ann).await, server.watch(&bob).await);
    let cancel = DeactivateTicketsRequest {
        ticket_ids: vec![bob],
    };
    server.client.deactivate_tickets(cancel).await.unwrap();
    let reason = |update| match update {
        Some(Update::Gone(gone)) => gone.reason(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(ann_watch.next().await), gone::Reason::Expired);
    assert_eq!(reason(bob_watch.next().await), gone::Reason::Cancelled);
    assert_eq!(bob_watch.next().await, None);
    let mut stranger = server.watch("00000000-9").await;
    assert_eq!(reason(stranger.next().await), gone::Reason::Unknown);
}

#[tokio::test]
async fn the_same_key_gives_the_same_ticket() {
    let mut server = Server::start("").await;
    let request = CreateTicketRequest {
        idempotency_key: "try-1".to_owned(),
        ..named("ann")
    };
    let first = server
        .client
        .create_ticket(request.clone())
        .await
        .unwrap()
        .into_inner();
    let second = server
        .client
        .create_ticket(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.existed, second.existed), (false, true));
    assert_eq!(first.ticket_id, second.ticket_id);
}

#[tokio::test]
async fn a_director_of_ones_own_proposes_assigns_and_reports_once() {
    let mut server = Server::start("").await;
    let mut ids = Vec::new();
    for player in ["ann", "bob"] {
        ids.push(
            server
                .client
                .create_ticket(named(player))
                .await
                .unwrap()
                .into_inner()
                .ticket_id,
        );
    }
    server
        .client
        .activate_tickets(ActivateTicketsRequest {
            ticket_ids: ids.clone(),
        })
        .await
        .unwrap();
    let mut watch = server.watch(&ids[0]).await;
    let profile = Profile {
        name: "mine".to_owned(),
        players: 2,
        window: 1.0,
        ..Profile::default()
    };
    let request = InvokeMatchmakingFunctionsRequest {
        profile: Some(profile),
    };
    let mut proposals = server
        .client
        .invoke_matchmaking_functions(request.clone())
        .await
        .unwrap()
        .into_inner();
    let proposal = proposals.message().await.unwrap().unwrap().r#match.unwrap();
    assert_eq!(proposal.ticket_ids, ids);
    let mut again = server
        .client
        .invoke_matchmaking_functions(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        again.message().await.unwrap(),
        None,
        "frozen tickets were proposed again"
    );
    let match_id = proposal.match_id;
    let assign = CreateAssignmentsRequest {
        match_id: match_id.clone(),
        connection: "udp://192.0.2.1:7".to_owned(),
    };
    server.client.create_assignments(assign).await.unwrap();
    assert_eq!(watch.assigned().await.connection, "udp://192.0.2.1:7");
    let placing = |player: &str, place| Placing {
        player_id: player.to_owned(),
        place,
        score: 0,
    };
    let report = ReportResultRequest {
        match_id,
        placings: vec![placing("bob", 1), placing("ann", 2)],
    };
    server.client.report_result(report.clone()).await.unwrap();
    assert_eq!(
        server
            .client
            .report_result(report)
            .await
            .unwrap_err()
            .code(),
        Code::AlreadyExists
    );
    let Some(Update::Ended(ended)) = watch.next().await else {
        panic!("no end")
    };
    assert_eq!(ended.reason(), match_ended::Reason::Finished);
    let rating = crate::proto::GetRatingRequest {
        player_id: "bob".to_owned(),
    };
    assert!(
        server
            .client
            .get_rating(rating)
            .await
            .unwrap()
            .into_inner()
            .rating
            > 1_500.0
    );
}
