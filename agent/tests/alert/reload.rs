//! Receivers change while the agent runs.

use std::time::Duration;

use weir::alert::config::Alert;
use weir::alert::log::Change;
use weir::alert::paging::Paging;

use crate::node::{fired, resolved};
use crate::receiver::{Act, Receiver};

fn config(state: &std::path::Path, hooks: &[(&str, &Receiver)]) -> Alert {
    let hooks = hooks.iter().map(|(name, receiver)| {
        format!(
            "[[webhook]]\nname = '{name}'\nurl = 'http://{}/'\n",
            receiver.address
        )
    });
    let mut config: Alert = toml::from_str(&hooks.collect::<String>()).unwrap();
    config.state_dir = state.to_owned();
    config
}

/// Waits until `done`, for a minute at most, while the tasks of the agent run.
async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{what}");
}

#[tokio::test]
async fn a_reload_keeps_what_waits_and_tells_a_new_receiver_what_fires() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Receiver::start(), Receiver::start());
    let paging = Paging::start(&config(dir.path(), &[("old", &old)])).unwrap();
    let said = |pages| Change {
        pages,
        states: Vec::new(),
    };
    let (over, lasting) = (fired("Over", 0), fired("Lasting", 0));
    paging.log().commit(said(vec![over.clone(), lasting])).await;
    until("both arrive", || old.taken().len() == 2).await;
    old.then(std::iter::repeat_n(Act::Say(503, "", ""), 3));
    paging.log().commit(said(vec![resolved(&over, 0)])).await;
    until("it fails", || old.seen().len() > 2).await;

    let mut wrong = config(dir.path(), &[("old", &old)]);
    wrong.webhook[0].url = "nowhere".to_owned();
    assert!(paging.reload(&wrong).await.is_err());

    let both = config(dir.path(), &[("old", &old), ("new", &new)]);
    paging.reload(&both).await.unwrap();
    until("what waited arrives", || old.taken().len() == 3).await;
    until("what fires arrives", || !new.taken().is_empty()).await;
    assert_eq!(new.taken(), ["Lasting:firing"]);
    assert_eq!(old.taken().last().unwrap(), "Over:resolved");
    let names = paging.alerts().receivers.receivers();
    assert_eq!(names.len(), 2);
    paging.stop().await;
}
