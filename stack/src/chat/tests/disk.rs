//! A disk that is full and then is not.

use std::process::Command;
use std::time::Instant;

use serde_json::json;

use super::{Client, PATIENCE, Running, memory};
use crate::chat::Config;
use crate::chat::config::{Fjall, Storage};
use crate::scenario::disk::Disk;

/// Set for the part of a test that runs among mounts of its own.
const INSIDE: &str = "CHAT_TEST_OWN_MOUNTS";

/// Whether to go on: true inside a mount namespace of its own, which this starts the named test
/// in once more. However that ends, the kernel takes its mounts away.
fn among_own_mounts(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIP {test}: needs root to mount");
        return false;
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test}: {status}");
    false
}

/// Says a long text and waits for it, which needs no disk.
fn say(client: &mut Client) {
    client.say(&json!({ "t": "msg", "text": "x".repeat(900), "id": "m" }));
    client.texts(1);
}

/// How many items the log still has.
fn on_disk(running: &Running) -> u64 {
    let (mut after, mut found) = (0, 0);
    loop {
        let (_, page) = running.http("GET", &format!("/rooms/one?from={after}&limit=1000"), "");
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        let count = page["items"].as_array().unwrap().len() as u64;
        if count == 0 {
            break;
        }
        found += count;
        after = page["rev"].as_u64().unwrap();
    }
    found
}

fn health(running: &Running) -> (u16, String) {
    running.http("GET", "/healthz", "")
}

#[test]
fn a_full_disk_costs_what_is_counted_and_names_itself_until_there_is_space() {
    const NAME: &str = "chat::tests::disk::a_full_disk_costs_what_is_counted_and_names_itself_until_there_is_space";
    if !among_own_mounts(NAME) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let disk = Disk::mount(&path, 16).unwrap();
    let config = Config {
        storage: Storage::Fjall,
        fjall: Fjall {
            dir: path.join("log"),
            ..Fjall::default()
        },
        ..memory()
    };
    let mut running = Running::start(config.clone());
    let mut ann = running.client("one", "");
    say(&mut ann);
    running.wait_for("chat_stored_total", 1);
    disk.fill(0).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut said = 1;
    let failures = "chat_storage_failures_total{operation=\"append\"}";
    while running.metric(failures) == 0 {
        assert!(Instant::now() < deadline, "a full disk loses nothing");
        // Everyone still gets everything.
        say(&mut ann);
        said += 1;
    }
    let (code, words) = health(&running);
    assert_eq!(code, 503);
    assert!(words.contains("No space left on device"), "{words}");
    assert!(running.metric("chat_storage_lost_total") > 0);
    disk.empty().unwrap();
    let stored = running.metric("chat_stored_total");
    let deadline = Instant::now() + PATIENCE;
    while running.metric("chat_stored_total") < stored + 5 {
        assert!(Instant::now() < deadline, "nothing is stored again");
        say(&mut ann);
        said += 1;
    }
    assert_eq!(health(&running).0, 200);
    let rev = ann.rev;
    assert_eq!(rev, said);
    running.stop();
    let lost = running.lost;
    let mut running = Running::start(config);
    let mut bob = running.client("one", "");
    assert_eq!(bob.rev, rev);
    // What is missing from the disk is in the books.
    let found = on_disk(&running);
    assert!(
        found > 5 && found + lost >= said,
        "{found} + {lost} of {said}"
    );
    say(&mut bob);
    running.stop();
    drop(disk);
}
