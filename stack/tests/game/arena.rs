//! Matches as players live them, and players as arenas should not have them.

use std::net::SocketAddr;

use futures_util::SinkExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::player::{ENDED, Heard, Player, hello, input};
use crate::proto::watch_assignments_response::Update;
use crate::proto::{Assignment, GetRatingRequest, match_ended};
use crate::server::{Server, eventually};

#[tokio::test]
async fn two_players_are_matched_play_to_the_end_and_are_rated() {
    let mut server = Server::start("[game.arenas.room]\nmatch_ms = 1500\n").await;
    let [(mut ann_watch, ann), (_, bob)] = server.pair().await;
    assert_eq!(
        (&ann.match_id, &ann.connection),
        (&bob.match_id, &bob.connection)
    );
    assert_ne!(ann.token, bob.token);
    let (mut ann, mut bob) = (Player::join(&ann).await, Player::join(&bob).await);
    let (mut last, mut base) = (0, 0);
    for seq in 1..=20 {
        let (tick, on) = ann.snapshot().await;
        assert!(tick > last, "tick {tick} after {last}");
        (last, base) = (tick, base.max(on));
        ann.send(&input(tick, seq, 100)).await;
    }
    assert!(
        base > 0,
        "every snapshot is whole in spite of acknowledgements"
    );
    let Heard::Message(ended) = ann.hear_end().await else {
        panic!("no Ended")
    };
    assert_eq!(ended[..3], [ENDED, match_ended::Reason::Finished as u8, 2]);
    assert_eq!(ann.hear().await, Heard::Closed(4000));
    assert_eq!(bob.hear_end().await, Heard::Message(ended));
    let Some(Update::Ended(ended)) = ann_watch.next().await else {
        panic!("the watch heard no end")
    };
    assert_eq!(
        (ended.reason(), ended.placings.len()),
        (match_ended::Reason::Finished, 2)
    );
    assert_eq!(ann_watch.next().await, None);
    let rating = server
        .client
        .get_rating(GetRatingRequest {
            player_id: "ann".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(rating.matches, 1);
    assert!(rating.deviation < 350.0);
}

#[tokio::test]
async fn a_match_that_nobody_joins_is_given_back() {
    let mut server = Server::start("[game.arenas.room]\njoin_timeout_ms = 300\n").await;
    let [(mut watch, assignment), _] = server.pair().await;
    let Some(Update::Ended(ended)) = watch.next().await else {
        panic!("no end")
    };
    assert_eq!(ended.reason(), match_ended::Reason::NotJoined);
    eventually("the room is free", async || {
        server.arenas().await[0]["matches"] == 0
    })
    .await;
    let mut late = Player::connect(&assignment.connection).await;
    late.send(&hello(&assignment.token)).await;
    assert_eq!(late.hear().await, Heard::Closed(4001));
}

#[tokio::test]
async fn hostile_players_are_told_why_counted_and_harm_nobody() {
    let mut server = Server::start("[game.arenas.room]\nhello_timeout_ms = 300\n").await;
    let [(_, ann), (_, bob)] = server.pair().await;
    let mut good = Player::join(&ann).await;
    let cases: [(&str, Vec<u8>, u16); 5] = [
        ("BadToken", hello("nobody"), 4001),
        ("Malformed", vec![0xff, 1, 2, 3], 4002),
        ("Malformed", input(0, 1, 0), 4002),
        ("TooBig", vec![0x01; 4_096], 1009),
        ("NoHello", Vec::new(), 4003),
    ];
    for (reason, bytes, code) in &cases {
        let mut player = Player::connect(&ann.connection).await;
        if !bytes.is_empty() {
            player.send(bytes).await;
        }
        assert_eq!(player.hear().await, Heard::Closed(*code), "{reason}");
    }
    let mut talker = Player::connect(&ann.connection).await;
    talker.0.send(Message::text("hello?")).await.unwrap();
    assert_eq!(talker.hear().await, Heard::Closed(4002));
    for (reason, count) in [
        ("BadToken", 1.0),
        ("Malformed", 3.0),
        ("TooBig", 1.0),
        ("NoHello", 1.0),
    ] {
        let name = format!("arena_partings_total{{reason=\"{reason}\"}}");
        assert_eq!(server.arena_metric(&name).await, Some(count), "{reason}");
    }
    flood(&bob).await;
    assert_eq!(
        server
            .arena_metric("arena_partings_total{reason=\"TooFast\"}")
            .await,
        Some(1.0)
    );
    assert_eq!(plain_request(&ann).await, "HTTP/1.1 400");
    let (before, _) = good.snapshot().await;
    assert!(good.snapshot().await.0 > before);
}

async fn flood(assignment: &Assignment) {
    let mut player = Player::join(assignment).await;
    for seq in 1..1_000 {
        // The arena may have closed before all is sent.
        if player
            .0
            .feed(Message::Binary(input(0, seq, 0).into()))
            .await
            .is_err()
        {
            break;
        }
    }
    _ = player.0.flush().await;
    assert!(matches!(
        player.hear_end().await,
        Heard::Closed(4005) | Heard::Cut
    ));
}

async fn plain_request(assignment: &Assignment) -> String {
    let address = assignment
        .connection
        .trim_start_matches("ws://")
        .trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: arena\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[tokio::test]
async fn a_player_that_does_not_read_misses_ticks_and_gets_the_newest_afterwards() {
    let mut server =
        Server::start("[game.arenas.room]\ntick_hz = 60\nidle_timeout_ms = 60000\n").await;
    let [(_, ann), (_, bob)] = server.pair().await;
    let mut quick = Player::join(&ann).await;
    let address: SocketAddr = bob
        .connection
        .trim_start_matches("ws://")
        .trim_end_matches('/')
        .parse()
        .unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut slow = Player::on(socket.connect(address).await.unwrap(), &bob.connection).await;
    slow.send(&hello(&bob.token)).await;
    slow.hear().await; // welcome
    let (mut last, mut gap) = (slow.snapshot().await.0, 0);
    // How much kernels hold differs, so the pause grows until it is enough.
    for pause in [240, 480, 960] {
        let until = last + pause;
        let mut now = 0;
        while now < until {
            now = quick.snapshot().await.0;
            quick
                .send(&input(now, now, if now % 60 < 30 { 100 } else { -100 }))
                .await;
        }
        while last < now {
            let (tick, _) = slow.snapshot().await;
            gap = gap.max(tick - last);
            last = tick;
        }
        if gap > 50 {
            break;
        }
    }
    assert!(
        gap > 50,
        "what the kernel held was followed by tick after tick: {gap}"
    );
    assert!(server.arena_metric("arena_snapshots_skipped_total").await >= Some(50.0));
}

#[tokio::test]
async fn a_token_that_comes_again_takes_over_and_leaving_is_for_good() {
    let mut server = Server::start("").await;
    let [(_, ann), _] = server.pair().await;
    let mut first = Player::join(&ann).await;
    let mut second = Player::join(&ann).await;
    assert_eq!(first.hear_end().await, Heard::Closed(4004));
    second.snapshot().await;
    second.send(&[0x03]).await;
    assert_eq!(second.hear_end().await, Heard::Closed(1000));
    let mut third = Player::connect(&ann.connection).await;
    third.send(&hello(&ann.token)).await;
    assert_eq!(third.hear().await, Heard::Closed(4001));
}

#[tokio::test]
async fn a_player_that_falls_silent_is_timed_out() {
    let mut server = Server::start("[game.arenas.room]\nidle_timeout_ms = 300\n").await;
    let [(_, ann), _] = server.pair().await;
    let mut player = Player::join(&ann).await;
    assert_eq!(player.hear_end().await, Heard::Closed(4003));
}
