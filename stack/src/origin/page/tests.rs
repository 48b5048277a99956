//! Events as players might post them, and as they might not.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use tower::ServiceExt as _;

use super::*;
use crate::daemon::Table;
use crate::origin::session::Limits;

/// Sessions that are kept here at most.
const SESSIONS: usize = 8;

fn page() -> Page {
    let players = Players::register(&mut Table::default());
    let limits = Limits {
        sessions: SESSIONS,
        silence_ms: 60_000,
    };
    Page {
        streams: Streams::default(),
        sessions: Sessions::new(limits, players.clone()),
        players,
        clock: Clock::start(),
        player: PathBuf::new(),
    }
}

/// The code that a body is answered with.
fn post_to(page: &Page, body: Vec<u8>) -> u16 {
    let request = Request::post("/cmcd").body(Body::from(body)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let answer = runtime.block_on(router(page.clone()).oneshot(request));
    answer.unwrap().status().as_u16()
}

/// What a session is told as JSON: numbers that JSON has no word for would be `null`.
fn told(page: &Page) -> String {
    serde_json::to_string(&page.sessions.list(MOST_LISTED)).unwrap()
}

#[test]
fn bodies_beyond_their_bounds_are_refused() {
    let page = page();
    let line = "sid=\"a\",v=2\n";
    assert_eq!(post_to(&page, line.repeat(MOST_SETS).into_bytes()), 204);
    assert_eq!(post_to(&page, line.repeat(MOST_SETS + 1).into_bytes()), 413);
    assert_eq!(post_to(&page, vec![b'a'; MOST_BYTES + 1]), 413);
    assert_eq!(post_to(&page, vec![0xff]), 400);
}

/// A line of events: keys that are known, values that mostly are none of theirs.
fn line() -> impl Strategy<Value = String> {
    let key = "(sid|cid|bl|bs|br|mtp|msd|ltc|dfa|bsa|bsda|sta|ec|ts|v|e|[a-z]{1,3})";
    let value = "(-?[0-9]{1,16}(\\.[0-9]{1,4})?|\\?[01]|\"[ -~]{0,8}\"|[a-z]{1,2}|\\([0-9a-z; .=-]{0,16}\\)|:[A-Za-z0-9+/=]{0,8}:|@[0-9]{1,16}|%\"[ -~]{0,6}\")";
    let pair = (key, value).prop_map(|(key, value)| format!("{key}={value}"));
    (0..10_u32, prop::collection::vec(pair, 0..12)).prop_map(|(sid, pairs)| {
        let sid = format!("sid=\"{sid}\",v=2,");
        sid + &pairs.join(",")
    })
}

proptest! {
    #[test]
    fn any_body_is_answered_and_what_is_kept_is_bounded(bodies in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(line(), 0..20).prop_map(|lines| lines.join("\n").into_bytes()),
    ], 1..12)) {
        let page = page();
        for body in bodies {
            let text = String::from_utf8_lossy(&body).into_owned();
            let code = post_to(&page, body);
            prop_assert!([204, 400].contains(&code), "{code}: {text}");
        }
        let sessions = page.sessions.list(MOST_LISTED);
        prop_assert!(sessions.len() <= SESSIONS);
        for session in &sessions {
            prop_assert!(session.stalled_ms.is_finite() && session.stalled_ms >= 0.0);
            prop_assert!(session.played_ms.is_finite() && session.played_ms >= 0.0);
            prop_assert!(session.sid.chars().count() <= 128);
        }
        prop_assert!(told(&page).len() <= SESSIONS * 2048);
    }
}
