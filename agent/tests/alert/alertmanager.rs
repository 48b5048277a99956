//! What a real Alertmanager makes of pages.

use std::fs;
use std::path::Path;

use crate::node::{Node, fired, resolved};
use crate::receiver::{Receiver, until};
use crate::upstream::{Alertmanager, PROGRAM, free_port};

fn config(port: u16) -> String {
    format!("repeat_seconds = 1.0\n[[alertmanager]]\nurls = ['http://127.0.0.1:{port}']\n")
}

#[test]
fn alertmanager_takes_pages_and_passes_them_on() {
    let (dir, hook, port) = (tempfile::tempdir().unwrap(), Receiver::start(), free_port());
    let Some(alertmanager) = Alertmanager::start(dir.path(), port, &hook) else {
        return;
    };
    let node = Node::start(&config(port), &dir.path().join("state"));
    let page = fired("Stall", 0);
    // Alertmanager 0.25 takes no such name, but keeps the others of the request.
    let mut bad = fired("Bad", 0);
    bad.labels.insert("not-a-name".to_owned(), "x".to_owned());
    node.commit(vec![fired("Other", 0), bad, page.clone()]);
    until(
        "it is active",
        || alertmanager.active("Stall").is_some(),
        String::new,
    );
    assert_eq!(
        alertmanager.active("Stall"),
        Some(page.fingerprint().to_string())
    );
    assert!(alertmanager.active("Other").is_some());
    until(
        "the bad one is given up",
        || node.refused(0) == 1,
        String::new,
    );
    hook.until("Alertmanager pages", |hook| {
        hook.taken().contains(&"Stall:firing".to_owned())
    });
    node.commit(vec![resolved(&page, 0)]);
    hook.until("Alertmanager tells the end", |hook| {
        hook.taken().contains(&"Stall:resolved".to_owned())
    });
    until(
        "it is gone",
        || alertmanager.active("Stall").is_none(),
        String::new,
    );
}

#[test]
fn an_alertmanager_that_was_down_hears_what_happened_and_one_that_forgot_is_reminded() {
    let (dir, hook, port) = (tempfile::tempdir().unwrap(), Receiver::start(), free_port());
    if !Path::new(PROGRAM).exists() {
        eprintln!("SKIP {PROGRAM} is missing (Debian: prometheus-alertmanager)");
        return;
    }
    let node = Node::start(&config(port), &dir.path().join("state"));
    let (over, lasting) = (fired("Over", 600_000), fired("Lasting", 500_000));
    node.commit(vec![over.clone(), lasting.clone()]);
    node.commit(vec![resolved(&over, 300_000)]);
    // The rules go on saying that it fires, as they would.
    let mut still = lasting;
    still.ends_at_ms = crate::node::now_ms() + 240_000;
    node.log.refresh([still]);
    until("it cannot be reached", || node.failed(0) > 0, String::new);
    {
        let alertmanager = Alertmanager::start(dir.path(), port, &hook).unwrap();
        until("all is sent", || node.waiting() == 0, String::new);
        until(
            "it lasts",
            || alertmanager.active("Lasting").is_some(),
            String::new,
        );
        until(
            "it is over",
            || alertmanager.active("Over").is_none(),
            String::new,
        );
        hook.until("Alertmanager pages", |hook| {
            hook.taken().contains(&"Lasting:firing".to_owned())
        });
        eprintln!("told by Alertmanager: {:?}", hook.taken());
    }
    fs::remove_dir_all(dir.path().join("am")).unwrap();
    let forgetful = Alertmanager::start(dir.path(), port, &hook).unwrap();
    until(
        "it is reminded",
        || forgetful.active("Lasting").is_some(),
        String::new,
    );
}
