use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::alert::page::Status;
use crate::alert::page::tests::page;

const ALL: Form = Form {
    pages: 1_000,
    one_name: false,
};
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    age_ms: 3_600_000,
};

fn open(dir: &TempDir) -> Log {
    Log::open(dir.path(), LIMITS, Arc::default())
}

fn fired(name: &str) -> Page {
    page(name, "web", Status::Firing)
}

fn resolved(name: &str) -> Page {
    let mut page = page(name, "web", Status::Resolved);
    page.at_ms += 60_000;
    page.ends_at_ms = page.at_ms;
    page
}

fn pages(pages: impl IntoIterator<Item = Page>) -> Change {
    Change {
        pages: pages.into_iter().collect(),
        states: Vec::new(),
    }
}

fn names(batch: &Batch) -> Vec<(String, Status)> {
    let pages = batch.pages.iter();
    pages
        .map(|page| (page.name().to_owned(), page.status))
        .collect()
}

fn receivers(log: &Log, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    log.0.state().register(&names);
    log.0.write();
}

fn settle(log: &Log, receiver: &str, upto: u64) {
    log.0.state().settle(receiver, upto);
    log.0.write();
}

#[test]
fn what_was_not_settled_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    receivers(&log, &["a", "b"]);
    log.commit_blocking(pages([fired("A"), fired("B")]));
    log.commit_blocking(Change {
        pages: vec![resolved("A")],
        states: vec![("rule".to_owned(), Some(b"state".to_vec()))],
    });
    let first = log.next("a", ALL).unwrap();
    assert_eq!(
        names(&first),
        [
            ("A".to_owned(), Status::Firing),
            ("B".to_owned(), Status::Firing)
        ]
    );
    settle(&log, "a", first.upto);
    drop(log);

    let log = open(&dir);
    receivers(&log, &["a", "b"]);
    let next = log.next("a", ALL).unwrap();
    assert_eq!(names(&next), [("A".to_owned(), Status::Resolved)]);
    settle(&log, "a", next.upto);
    assert!(log.next("a", ALL).is_none());
    assert_eq!(log.next("b", ALL).unwrap().pages.len(), 2);
    assert_eq!(log.states(), [("rule".to_owned(), b"state".to_vec())]);
    assert_eq!(log.firing().len(), 1);
}

#[test]
fn a_firing_page_said_again_is_kept_but_no_transition() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    receivers(&log, &["a"]);
    let mut again = fired("A");
    again
        .annotations
        .insert("cause".to_owned(), "pid 7".to_owned());
    log.commit_blocking(pages([fired("A")]));
    log.commit_blocking(pages([again.clone()]));
    assert_eq!(log.counts().transitions.load(Ordering::Relaxed), 1);
    assert_eq!(log.next("a", ALL).unwrap().pages, [fired("A")]);
    drop(log);
    assert_eq!(open(&dir).firing(), [again]);
}

#[test]
fn a_new_receiver_gets_what_fires_and_nothing_older() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    receivers(&log, &["a"]);
    log.commit_blocking(pages([fired("A"), fired("B"), resolved("A")]));
    receivers(&log, &["a", "late"]);
    assert_eq!(
        names(&log.next("late", ALL).unwrap()),
        [("B".to_owned(), Status::Firing)]
    );
    assert_eq!(log.next("a", ALL).unwrap().pages.len(), 2);
}

#[test]
fn what_a_removed_receiver_lacked_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    receivers(&log, &["a", "b"]);
    log.commit_blocking(pages([fired("A")]));
    settle(&log, "a", 1);
    assert_eq!(log.counts().waiting.load(Ordering::Relaxed), 1);
    receivers(&log, &["a"]);
    assert_eq!(log.counts().waiting.load(Ordering::Relaxed), 0);
}

#[test]
fn a_batch_has_each_alert_once_and_one_name_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    receivers(&log, &["a"]);
    log.commit_blocking(pages([fired("A"), fired("B"), resolved("A")]));
    assert_eq!(log.next("a", ALL).unwrap().upto, 2);
    let by_name = Form {
        pages: 9,
        one_name: true,
    };
    assert_eq!(log.next("a", by_name).unwrap().upto, 1);
    let small = Form {
        pages: 1,
        one_name: false,
    };
    assert_eq!(log.next("a", small).unwrap().upto, 1);
}

#[test]
fn what_fires_is_repeated_while_it_stands_and_what_was_resolved_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    log.commit_blocking(pages([fired("A"), fired("B"), resolved("B")]));
    let repeated = |now| log.repeat(now).len();
    assert_eq!(repeated(1_100_000), 2);
    let mut later = fired("A");
    later.ends_at_ms = 5_000_000;
    log.refresh([later, fired("unknown"), fired("B")]);
    assert_eq!(repeated(1_900_000), 2);
    assert_eq!(repeated(1_060_000 + 900_000), 1);
    assert_eq!(repeated(5_000_000), 0);
}

fn many(log: &Log, range: std::ops::Range<usize>, make: impl Fn(&str) -> Page) {
    log.commit_blocking(pages(range.map(|n| make(&format!("A{n}")))));
}

#[test]
fn a_full_log_gives_up_whole_episodes_first_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        bytes: 40 << 10,
        ..LIMITS
    };
    let log = Log::open(dir.path(), limits, Arc::default());
    receivers(&log, &["a"]);
    log.commit_blocking(pages([fired("first")]));
    many(&log, 0..40, fired);
    many(&log, 0..40, resolved);
    many(&log, 40..60, fired);
    let dropped = log.counts().dropped_full.load(Ordering::Relaxed);
    assert!(dropped > 0 && dropped.is_multiple_of(2), "{dropped}");
    assert!(log.counts().bytes.load(Ordering::Relaxed) <= 40 << 10);
    let mut left = Vec::new();
    while let Some(batch) = log.next("a", ALL) {
        left.extend(names(&batch));
        settle(&log, "a", batch.upto);
    }
    assert_eq!(left.len() as u64 + dropped, 101);
    assert_eq!(left[0].0, "first");
    let both = |name: &str| left.iter().filter(|(other, _)| other == name).count();
    assert!((0..40).all(|n| both(&format!("A{n}")) != 1), "{left:?}");
}

#[test]
fn what_is_too_old_is_given_up_unless_it_is_being_sent() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    receivers(&log, &["a", "b"]);
    log.commit_blocking(pages([fired("A")]));
    log.next("a", ALL).unwrap();
    let late = 1_000_000 + LIMITS.age_ms + 1;
    assert_eq!(log.0.state().expire(late), Losses::default());
    settle(&log, "a", 1);
    let losses = log.0.state().expire(late);
    assert_eq!((losses.old, losses.full), (1, 0));
    let told = losses.told().unwrap();
    assert!(
        told.contains("\"A\", firing") && told.contains("for b"),
        "{told}"
    );
    assert!(log.next("b", ALL).is_none());
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let state = |bytes| Change {
        pages: Vec::new(),
        states: vec![("rule".to_owned(), Some(vec![7; bytes]))],
    };
    log.commit_blocking(state(10));
    log.commit_blocking(state(2 << 20));
    assert_eq!(log.counts().states_refused.load(Ordering::Relaxed), 1);
    assert!(log.states().is_empty());
    drop(log);
    assert!(open(&dir).states().is_empty());
}

#[test]
fn a_file_that_is_not_ours_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("alerts.redb"), b"not a database").unwrap();
    let log = open(&dir);
    assert_eq!(log.counts().corrupt.load(Ordering::Relaxed), 1);
    assert_eq!(log.counts().durable.load(Ordering::Relaxed), 1);
    let aside = fs::read(dir.path().join("alerts.redb.unreadable")).unwrap();
    assert_eq!(aside, b"not a database");
    receivers(&log, &["a"]);
    log.commit_blocking(pages([fired("A")]));
    drop(log);
    assert_eq!(open(&dir).firing().len(), 1);
}

#[test]
fn without_a_place_to_write_the_log_goes_on_in_memory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = Log::open(&file.path().join("below"), LIMITS, Arc::default());
    receivers(&log, &["a"]);
    log.commit_blocking(pages([fired("A")]));
    assert_eq!(log.counts().durable.load(Ordering::Relaxed), 0);
    assert!(log.counts().write_failures.load(Ordering::Relaxed) > 0);
    assert_eq!(log.next("a", ALL).unwrap().pages.len(), 1);
}

#[test]
fn a_second_agent_does_not_take_the_first_ones_file() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir);
    let second = open(&dir);
    assert_eq!(second.counts().durable.load(Ordering::Relaxed), 0);
    assert_eq!(second.counts().corrupt.load(Ordering::Relaxed), 0);
    assert_eq!(first.counts().durable.load(Ordering::Relaxed), 1);
    assert!(dir.path().join("alerts.redb").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever happens to the file: no panic gets out, and the log works.
    #[test]
    fn a_damaged_file_stops_nothing(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        receivers(&log, &["a"]);
        many(&log, 0..30, fired);
        drop(log);
        let file = dir.path().join("alerts.redb");
        let mut bytes = fs::read(&file).unwrap();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&file, bytes).unwrap();
        let log = open(&dir);
        prop_assert_eq!(log.counts().durable.load(Ordering::Relaxed), 1);
        receivers(&log, &["a"]);
        log.commit_blocking(pages([fired("after")]));
        drop(log);
        prop_assert!(open(&dir).firing().iter().any(|page| page.name() == "after"));
    }

    /// Any order of sending, dropping and restarting: in order, nothing unsettled lost.
    #[test]
    fn each_receiver_gets_all_in_order(steps in proptest::collection::vec(0..5_u8, 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir);
        receivers(&log, &["a", "b"]);
        let (mut said, mut got) = (0_i64, [Vec::new(), Vec::new()]);
        let mut take = |log: &Log, who: usize| {
            let name = ["a", "b"][who];
            if let Some(batch) = log.next(name, Form { pages: 3, one_name: false }) {
                got[who].extend(batch.pages.iter().map(|page| page.starts_at_ms));
                settle(log, name, batch.upto);
                return true;
            }
            false
        };
        for step in steps {
            match step {
                0 | 1 => {
                    said += 1;
                    let mut page = fired(&format!("A{}", said % 4));
                    page.starts_at_ms = said;
                    log.commit_blocking(pages([page]));
                }
                2 => drop(take(&log, 0)),
                3 => drop(take(&log, 1)),
                _ => {
                    drop(log);
                    log = open(&dir);
                    receivers(&log, &["a", "b"]);
                }
            }
        }
        while take(&log, 0) || take(&log, 1) {}
        let all: Vec<_> = (1..=said).collect();
        prop_assert_eq!(&got[0], &all);
        prop_assert_eq!(&got[1], &all);
        prop_assert_eq!(log.counts().waiting.load(Ordering::Relaxed), 0);
    }
}
