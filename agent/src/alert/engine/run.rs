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
    /// Evaluates rules until `stop`. `seen` is how their files were before they were first read.
    pub async fn run(self: Arc<Self>, seen: Files, stop: CancellationToken) {
        let mut look_at = Instant::now() + LOOK_EVERY;
        let mut last = seen.clone();
        self.note(seen);
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
                if is_look { rules.look(last) } else { last }
            });
            match work.await {
                Ok(back) => last = back,
                Err(why) => {
                    // It panicked, which the hook has told.
                    error!("rules were not evaluated: {why}");
                    last = Files::default();
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if is_look {
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }

    /// Reads the rule files again if they are others than when they were read, and the same as at
    /// the `last` look. Gives back what there is.
    fn look(&self, last: Files) -> Files {
        let now = Files::look(&self.config());
        if now == last && self.are_others(&now) {
            self.reload_files();
        }
        now
    }
}
