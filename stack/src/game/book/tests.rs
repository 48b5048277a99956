//! Tests of the book: single transitions, then random histories against the rules.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::game::matcher::Window;
use crate::game::pool::{Pool, Profile, RATING};

fn book() -> Book {
    Book::new(Tickets {
        max: 1_000,
        ttl_ms: 10_000,
        ended_keep_ms: 5_000,
        ..Tickets::default()
    })
}

fn fields(rating: f64, region: &str) -> SearchFields {
    SearchFields {
        strings: HashMap::from([("region".to_owned(), region.to_owned())]),
        doubles: HashMap::from([(RATING.to_owned(), rating)]),
        ..SearchFields::default()
    }
}

fn profile(players: usize) -> Profile {
    Profile {
        name: "duel".to_owned(),
        players,
        pool: Pool::default(),
        split_by: "region".to_owned(),
        window: Window {
            base: 100.0,
            per_second: 50.0,
            max: 0.0,
        },
    }
}

fn active(book: &mut Book, now_ms: u64, player: &str, rating: f64) -> TicketId {
    let (id, ..) = book
        .create(now_ms, player.to_owned(), fields(rating, "eu"), 0, None)
        .unwrap();
    book.activate(now_ms, id).unwrap();
    id
}

#[test]
fn only_active_tickets_are_matched() {
    let mut book = book();
    let ann = active(&mut book, 0, "ann", 1_500.0);
    let (bob, ..) = book
        .create(0, "bob".to_owned(), fields(1_500.0, "eu"), 0, None)
        .unwrap();
    assert_eq!(book.propose(0, &profile(2), 9), []);
    book.activate(100, bob).unwrap();
    let proposals = book.propose(250, &profile(2), 9);
    assert_eq!(
        proposals[0].members,
        [(ann, "ann".to_owned()), (bob, "bob".to_owned())]
    );
    assert_eq!(proposals[0].waited_ms, [250, 150]);
    assert_eq!(
        book.propose(500, &profile(2), 9),
        [],
        "frozen tickets were matched again"
    );
}

#[test]
fn an_assignment_reaches_both_players_with_their_own_token() {
    let mut book = book();
    let (ann, bob) = (
        active(&mut book, 0, "ann", 1_500.0),
        active(&mut book, 0, "bob", 1_510.0),
    );
    let proposal = book.propose(250, &profile(2), 9).remove(0);
    let mut out = Vec::new();
    let tokens = ["a".to_owned(), "b".to_owned()];
    book.assign(300, proposal.id, "ws://x/", Some(&tokens), &mut out)
        .unwrap();
    let assigned: Vec<_> = out
        .iter()
        .map(|update| match update {
            Update::Assigned(id, assignment) => {
                (*id, assignment.token.as_str(), assignment.waited_ms)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(assigned, [(ann, "a", 300), (bob, "b", 300)]);
    assert_eq!(book.deactivate(310, ann, &mut out), Err(Refused::Assigned));
    assert_eq!(book.look_up(ann), (Some(out[0].clone()), true));
}

#[test]
fn a_proposal_without_a_server_is_released_and_matched_again() {
    let mut book = Book::new(Tickets {
        ttl_ms: 200_000,
        release_timeout_ms: 1_000,
        ..Tickets::default()
    });
    active(&mut book, 0, "ann", 1_500.0);
    active(&mut book, 0, "bob", 1_510.0);
    let first = book.propose(0, &profile(2), 9).remove(0);
    let mut out = Vec::new();
    assert_eq!(
        book.elapse(1_000, &mut out),
        Elapsed {
            released: 1,
            ..Elapsed::default()
        }
    );
    assert_eq!(
        book.assign(1_001, first.id, "late", None, &mut out),
        Err(Refused::Unknown)
    );
    let second = book.propose(1_250, &profile(2), 9).remove(0);
    assert_eq!(second.waited_ms, [1_250, 1_250], "waiting starts anew");
    assert_eq!(out, []);
}

#[test]
fn a_released_ticket_that_is_overdue_expires_instead() {
    let mut book = book();
    let ann = active(&mut book, 0, "ann", 1_500.0);
    let bob = active(&mut book, 0, "bob", 1_500.0);
    let proposal = book.propose(9_000, &profile(2), 9).remove(0);
    book.release(11_000, proposal.id).unwrap();
    assert_eq!(book.propose(11_000, &profile(2), 9), []);
    let mut out = Vec::new();
    assert_eq!(book.elapse(11_000, &mut out).expired, 2);
    assert_eq!(
        out,
        [
            Update::Gone(ann, GoneReason::Expired),
            Update::Gone(bob, GoneReason::Expired)
        ]
    );
}

#[test]
fn the_same_key_gives_the_same_ticket_while_it_lives() {
    let mut book = book();
    let create = |book: &mut Book, now_ms| {
        book.create(
            now_ms,
            "ann".to_owned(),
            fields(0.0, "eu"),
            0,
            Some("k".to_owned()),
        )
        .unwrap()
    };
    let (first, existed, expires_ms) = create(&mut book, 0);
    assert!(!existed);
    assert_eq!(create(&mut book, 500), (first, true, expires_ms));
    book.elapse(10_000, &mut Vec::new());
    let (second, existed, _) = create(&mut book, 10_001);
    assert!(second != first && !existed);
}

#[test]
fn a_full_book_refuses_tickets() {
    let mut book = Book::new(Tickets {
        max: 1,
        ..Tickets::default()
    });
    active(&mut book, 0, "ann", 0.0);
    assert_eq!(
        book.create(0, "bob".to_owned(), fields(0.0, "eu"), 0, None),
        Err(Refused::Full)
    );
}

#[test]
fn absent_players_share_the_last_place_and_strangers_are_refused() {
    let mut book = book();
    for player in ["ann", "bob", "eve"] {
        active(&mut book, 0, player, 1_500.0);
    }
    let id = book.propose(0, &profile(3), 9).remove(0).id;
    let mut out = Vec::new();
    book.assign(0, id, "x", None, &mut out).unwrap();
    let placing = |player: &str, place| Placing {
        player: player.to_owned(),
        place,
        score: 0,
    };
    let stranger = vec![placing("zoe", 1)];
    assert_eq!(
        book.end(1, id, EndReason::Finished, stranger, &mut out),
        Err(Refused::NotItsPlayers)
    );
    let placings = book
        .end(
            1,
            id,
            EndReason::Finished,
            vec![placing("eve", 1)],
            &mut out,
        )
        .unwrap();
    assert_eq!(placings.len(), 3);
    assert!(
        placings
            .iter()
            .all(|placing| placing.place == if placing.player == "eve" { 1 } else { 2 })
    );
    assert_eq!(
        book.end(2, id, EndReason::Finished, Vec::new(), &mut out),
        Err(Refused::Ended)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Create(u16, bool),
    Activate(usize),
    Deactivate(usize),
    Cycle(usize),
    Assign(usize),
    Release(usize),
    End(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u16..3_000, any::<bool>()).prop_map(|(rating, east)| Step::Create(rating, east)),
        4 => (0_usize..60).prop_map(Step::Activate),
        1 => (0_usize..60).prop_map(Step::Deactivate),
        2 => (2_usize..4).prop_map(Step::Cycle),
        2 => (0_usize..20).prop_map(Step::Assign),
        1 => (0_usize..20).prop_map(Step::Release),
        1 => (0_usize..20).prop_map(Step::End),
        2 => (0_u64..4_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn every_history_keeps_the_rules(steps in prop::collection::vec(step(), 0..200)) {
        let mut book = book();
        let (mut now_ms, mut tickets, mut proposals, mut out) = (0, Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Create(rating, east) => {
                    let fields = fields(f64::from(rating), if east { "east" } else { "west" });
                    tickets.push(book.create(now_ms, format!("p{}", tickets.len()), fields, 0, None).unwrap().0);
                }
                Step::Activate(at) => _ = tickets.get(at).map(|id| book.activate(now_ms, *id)),
                Step::Deactivate(at) => _ = tickets.get(at).map(|id| book.deactivate(now_ms, *id, &mut out)),
                Step::Cycle(players) => proposals.extend(book.propose(now_ms, &profile(players), 5)),
                Step::Assign(at) => _ = proposals.get(at).map(|p| book.assign(now_ms, p.id, "x", None, &mut out)),
                Step::Release(at) => _ = proposals.get(at).map(|p| book.release(now_ms, p.id)),
                Step::End(at) => _ = proposals.get(at).map(|p| book.end(now_ms, p.id, EndReason::Finished, Vec::new(), &mut out)),
                Step::Wait(ms) => {
                    now_ms += ms;
                    book.elapse(now_ms, &mut out);
                }
            }
        }
        // At the end of all time every ticket has come to exactly one end, and nothing is left.
        now_ms += 4_000_000;
        for _ in 0..3 {
            book.elapse(now_ms, &mut out);
        }
        let assigned = out.iter().filter(|update| matches!(update, Update::Assigned(..))).map(Update::ticket);
        let gone = out.iter().filter(|update| matches!(update, Update::Gone(..))).map(Update::ticket);
        let ended = out.iter().filter(|update| matches!(update, Update::Ended(..))).map(Update::ticket);
        let assigned: Vec<_> = assigned.collect();
        let finals: Vec<_> = gone.chain(assigned.iter().copied()).collect();
        let all: HashSet<_> = tickets.iter().copied().collect();
        prop_assert_eq!(finals.len(), tickets.len(), "a ticket had no end, or two");
        prop_assert_eq!(finals.into_iter().collect::<HashSet<_>>(), all);
        prop_assert_eq!(ended.collect::<HashSet<_>>(), assigned.into_iter().collect::<HashSet<_>>());
        book.elapse(now_ms + 10_000, &mut out);
        prop_assert!(book.tickets.is_empty() && book.matches.is_empty() && book.keys.is_empty());
        prop_assert!(book.active.is_empty() && book.expiries.is_empty() && book.timeouts.is_empty() && book.ended.is_empty());
    }

    #[test]
    fn with_an_unbounded_window_all_full_groups_are_matched_in_time(ratings in prop::collection::vec(0.0..3_000.0_f64, 2..40)) {
        let mut book = Book::new(Tickets { ttl_ms: 120_000, ..Tickets::default() });
        for (index, rating) in ratings.iter().enumerate() {
            active(&mut book, 0, &index.to_string(), *rating);
        }
        // Ratings are at most 3,000 apart, so after (3,000 - 100) / 50 s every pair is allowed.
        let matched: usize = (0..=58).map(|second| book.propose(second * 1_000, &profile(2), 99).len() * 2).sum();
        prop_assert_eq!(matched, ratings.len() / 2 * 2);
    }
}
