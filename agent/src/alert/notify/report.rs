//! What the log says about a receiver: one line a minute while it fails, one when it works again,
//! and what it refused. All else is in the counts.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::alert::page::Page;

/// Time between two lines about the same.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps what was said last.
pub(super) struct Report {
    /// The receiver and where it is.
    who: String,
    said: [Option<Instant>; 2],
    failing_since: Option<Instant>,
    /// Whether the log has a failure that is not over yet.
    is_said: bool,
}

impl Report {
    pub(super) fn new(who: String) -> Self {
        Self {
            who,
            said: [None; 2],
            failing_since: None,
            is_said: false,
        }
    }

    /// A try failed and will be repeated.
    pub(super) fn fails(&mut self, cause: &str) {
        self.failing_since.get_or_insert_with(Instant::now);
        if self.is_time(0) {
            self.is_said = true;
            warn!(
                "alerts to {}: {cause}; they are kept and sent again",
                self.who
            );
        }
    }

    /// A page was given up: named, since nobody will get it.
    pub(super) fn refuses(&mut self, page: &Page, cause: &str) {
        if self.is_time(1) {
            let state = if page.is_firing() {
                "firing"
            } else {
                "resolved"
            };
            error!(
                "alerts to {}: gave up {:?} ({state}, labels {:?}): {cause}; further ones within a minute are only counted",
                self.who,
                page.name(),
                page.labels
            );
        }
    }

    /// Something is wrong that does not keep pages from being sent.
    pub(super) fn warn(&mut self, cause: &str) {
        if self.is_time(0) {
            warn!("alerts to {}: {cause}", self.who);
        }
    }

    /// A try succeeded.
    pub(super) fn works(&mut self) {
        let since = self.failing_since.take();
        if let Some(since) = since
            && std::mem::take(&mut self.is_said)
        {
            info!(
                "alerts to {} arrive again after {:.1?}",
                self.who,
                since.elapsed()
            );
        }
    }

    fn is_time(&mut self, kind: usize) -> bool {
        let is_time = self.said[kind].is_none_or(|last| last.elapsed() >= INTERVAL);
        if is_time {
            self.said[kind] = Some(Instant::now());
        }
        is_time
    }
}
