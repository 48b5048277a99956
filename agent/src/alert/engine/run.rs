//! The task that ticks, writes, and looks after the rule files.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Rules;
use super::load::Files;

/// How often rule files are looked at. Two looks must agree before a change counts: a file that is
/// being written is not read.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The longest sleep: a wall clock that is set is noticed after that.
const LONGEST: Duration = Duration::from_secs(5);
/// What there is after a failure.
const PAUSE: Duration = Duration::from_secs(1);

impl Rules {
    /// Evaluates rules until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut look_at = Instant::now() + LOOK_EVERY;
        let mut watched = Watched::default();
        while !stop.is_cancelled() {
            let wait = Instant::now() + self.wait().min(LONGEST);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = sleep_until(wait.min(look_at)) => {}
            }
            let rules = Arc::clone(&self);
            let is_look = Instant::now() >= look_at;
            let work = tokio::task::spawn_blocking(move || {
                rules.tick();
                if is_look {
                    watched.look(&rules);
                }
                watched
            });
            match work.await {
                Ok(back) => watched = back,
                Err(why) => {
                    // It panicked, which the hook has told.
                    error!("rules were not evaluated: {why}");
                    watched = Watched::default();
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if is_look {
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }
}

/// Rule files as they were when they were last read, and at the last look.
#[derive(Default)]
struct Watched {
    read: Option<Files>,
    last: Files,
}

impl Watched {
    fn look(&mut self, rules: &Rules) {
        let now = Files::look(&rules.config());
        let is_still = std::mem::replace(&mut self.last, now) == self.last;
        match &self.read {
            None => self.read = Some(self.last.clone()),
            Some(read) if *read != self.last && is_still => {
                self.read = Some(self.last.clone());
                rules.reload_files();
            }
            Some(_) => {}
        }
    }
}
