//! The sender is killed at random moments: each page arrives, in order, and none twice but those
//! whose answer the sender did not live to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use weir::alert::log::Change;
use weir::alert::page::{Page, Status};

use crate::node::{Node, fired};
use crate::receiver::{Act, Receiver, Seen};

const ROUNDS: usize = 60;
const ALERTS: u64 = 5;
/// Tells the child what it is.
const ROLE: &str = "WEIR_TEST_ALERT_SENDER";
const STATE: &str = "rule";

/// The `step`-th transition: alerts in turn, each fires and is resolved in turn.
fn transition(step: u64) -> Page {
    let mut page = fired(&format!("A{}", step % ALERTS), 0);
    let round = step / ALERTS;
    page.starts_at_ms = i64::try_from(round / 2 + 1).unwrap();
    page.annotations.insert("step".to_owned(), step.to_string());
    if round % 2 == 1 {
        page.status = Status::Resolved;
    }
    page
}

/// What a rule engine does, reduced to its contract with the log.
#[test]
#[ignore = "the child of the test below"]
fn sender() {
    let Ok(role) = env::var(ROLE) else { return };
    let (dir, config) = role.split_once('|').unwrap();
    let (last, config) = config.split_once('|').unwrap();
    let node = Node::start(config, Path::new(dir));
    let state = node.log.states().pop().map(|(_, state)| state);
    let mut step = state.map_or(0, |state| {
        String::from_utf8(state).unwrap().parse().unwrap()
    });
    while last == "go" {
        step += 1;
        node.log.commit_blocking(Change {
            pages: vec![transition(step - 1)],
            states: vec![(STATE.to_owned(), Some(step.to_string().into_bytes()))],
        });
    }
    while node.waiting() > 0 {
        thread::sleep(Duration::from_millis(5));
    }
    println!("\nsteps={step}");
}

fn child(dir: &Path, config: &str, last: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "kill::sender", "--ignored", "--nocapture"])
        .env(ROLE, format!("{}|{last}|{config}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

fn steps(seen: &[Seen]) -> Vec<u64> {
    let alerts = seen.iter().flat_map(Seen::alerts);
    alerts
        .map(|alert| {
            alert["annotations"]["step"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

#[test]
fn a_sender_that_is_killed_loses_nothing_and_repeats_no_more_than_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let (good, flaky) = (Receiver::start(), Receiver::start());
    let config = format!(
        "[[webhook]]\nname = 'good'\nurl = 'http://{}/'\nbatch = 8\n[[webhook]]\nname = 'flaky'\nurl = 'http://{}/'\n",
        good.address, flaky.address
    );
    let act = |_| match fastrand::u8(0..10) {
        0 => Act::Close,
        1 => Act::Cut(200),
        _ => Act::Say(200, "", ""),
    };
    flaky.then((0..400).map(act));
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut sender = child(dir.path(), &config, "go").spawn().unwrap();
        // Also before it is up, and in the middle of opening the file.
        thread::sleep(Duration::from_millis(fastrand::u64(0..400)));
        sender.kill().unwrap();
        sender.wait().unwrap();
        // What it sent is still being read.
        thread::sleep(Duration::from_millis(30));
        rounds.push(good.seen().len());
    }
    let end = child(dir.path(), &config, "end").output().unwrap();
    let text = String::from_utf8_lossy(&end.stdout);
    let total = text.lines().find_map(|line| line.strip_prefix("steps="));
    let total: u64 = total.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    assert!(total > 2 * ALERTS, "too little happened: {total}");

    let all: BTreeSet<u64> = (0..total).collect();
    let mut repeated = 0;
    for (name, receiver) in [("good", &good), ("flaky", &flaky)] {
        let told = steps(&receiver.seen());
        assert_eq!(told.iter().copied().collect::<BTreeSet<_>>(), all, "{name}");
        let mut first = BTreeMap::new();
        for (at, step) in told.iter().enumerate() {
            first.entry(*step).or_insert(at);
        }
        assert!(first.values().is_sorted(), "{name}: {told:?}");
        repeated += told.len() - first.len();
    }
    // Within one life nothing is told twice; between two, no more than the last request.
    let seen = good.seen();
    let mut start = 0;
    for end in rounds.into_iter().chain([seen.len()]) {
        let now = &seen[start..end];
        assert!(steps(now).is_sorted_by(|a, b| a < b), "{:?}", steps(now));
        if let (Some(before), Some(first)) = (start.checked_sub(1), now.first()) {
            let least = steps(&seen[before..start])[0];
            assert!(steps(std::slice::from_ref(first))[0] >= least);
        }
        start = end;
    }
    eprintln!("{ROUNDS} kills, {total} transitions to 2 receivers, {repeated} told twice");
}
