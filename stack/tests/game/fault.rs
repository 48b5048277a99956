//! Arenas that die or hang, and a server that stops or is killed.

use rustix::process::{Signal, kill_process};

use crate::player::{ENDED, Heard, Player};
use crate::proto::match_ended;
use crate::proto::watch_assignments_response::Update;
use crate::server::{SOON, Server, eventually, is_gone};

const HEALTH: &str =
    "[game.arenas.health]\ninitial_delay_ms = 0\nperiod_ms = 500\nfailure_threshold = 4\n";

#[tokio::test]
async fn a_crash_ends_the_match_tells_its_players_and_the_arena_is_replaced() {
    let mut server = Server::start("").await;
    let [(mut watch, ann), _] = server.pair().await;
    let mut player = Player::join(&ann).await;
    let pid = server.arena_pid().await;
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(player.hear_end().await, Heard::Cut);
    let Some(Update::Ended(ended)) = watch.next().await else {
        panic!("no end")
    };
    assert_eq!(
        (ended.reason(), ended.placings),
        (match_ended::Reason::ArenaLost, vec![])
    );
    assert_eq!(
        server
            .metric("game_matches_ended_total{reason=\"ArenaLost\"}")
            .await,
        Some(1.0)
    );
    assert_eq!(
        server
            .metric("game_arena_exits_total{reason=\"Crashed\"}")
            .await,
        Some(1.0)
    );
    let [(_, again), _] = server.pair().await;
    Player::join(&again).await.snapshot().await;
    assert_ne!(server.arena_pid().await, pid);
}

#[tokio::test]
async fn a_hung_arena_is_found_by_its_missing_beats_and_killed() {
    let mut server = Server::start(HEALTH).await;
    let [(mut watch, _), _] = server.pair().await;
    let pid = server.arena_pid().await;
    kill_process(pid, Signal::STOP).unwrap();
    let Some(Update::Ended(ended)) = watch.next().await else {
        panic!("no end")
    };
    assert_eq!(ended.reason(), match_ended::Reason::ArenaLost);
    assert!(is_gone(pid));
    assert_eq!(
        server
            .metric("game_arena_exits_total{reason=\"Unhealthy\"}")
            .await,
        Some(1.0)
    );
}

#[tokio::test]
async fn a_match_that_a_hung_arena_never_opens_goes_to_the_next_one() {
    let slow = HEALTH.replace("failure_threshold = 4", "failure_threshold = 8");
    let mut server = Server::start(&format!("open_timeout_ms = 300\n{slow}")).await;
    let pid = server.arena_pid().await;
    kill_process(pid, Signal::STOP).unwrap();
    let [(_, ann), _] = server.pair().await;
    Player::join(&ann).await.snapshot().await;
    assert_ne!(server.arena_pid().await, pid);
    assert!(server.metric("game_proposals_released_total").await >= Some(1.0));
    assert!(server.metric("game_allocations_dangling_total").await >= Some(1.0));
}

#[tokio::test]
async fn a_stop_ends_matches_watches_and_arenas() {
    let mut server = Server::start("").await;
    let [(mut watch, ann), _] = server.pair().await;
    let mut player = Player::join(&ann).await;
    let pid = server.arena_pid().await;
    server.signal(Signal::TERM);
    let Heard::Message(ended) = player.hear_end().await else {
        panic!("no Ended")
    };
    assert_eq!(ended[..2], [ENDED, match_ended::Reason::Stopped as u8]);
    assert_eq!(player.hear().await, Heard::Closed(4000));
    assert!(watch.next().await.is_some());
    let status = tokio::time::timeout(SOON, server.child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(is_gone(pid));
}

#[tokio::test]
async fn arenas_do_not_outlive_a_killed_server() {
    let server = Server::start("").await;
    let pid = server.arena_pid().await;
    server.signal(Signal::KILL);
    eventually("the arena ends by itself", async || is_gone(pid)).await;
}
