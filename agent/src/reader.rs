//! Reads records: new owners get their names; rare facts have the rules evaluated that wait for them.
//!
//! An event only says where to look. What is evaluated is read from the kernel's counters, so a
//! record that is lost or left out costs time, never truth.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use weir_ebpf::change::Facts;

mod pending;

use crate::alert::engine::Rules;
use crate::collect::Collector;
use crate::event::{self, Event};
use crate::kernel::monotonic_ns;
use crate::kernel::ring::{Records, Wakeups};
use pending::Pending;

/// What takes records from the kernel.
pub struct Reader {
    records: Records,
    collector: Arc<Collector>,
    rules: Option<Arc<Rules>>,
    /// What immediate groups wait for.
    asked: Option<watch::Receiver<Facts>>,
    pending: Pending,
}

impl Reader {
    /// Of these records; `rules` are evaluated when rare facts happen.
    pub fn new(records: Records, collector: Arc<Collector>, rules: Option<Arc<Rules>>) -> Self {
        let mut asked = rules.as_ref().map(|rules| rules.asked());
        if let Some(asked) = &mut asked {
            asked.mark_changed();
        }
        Self {
            records,
            collector,
            rules,
            asked,
            pending: Pending::default(),
        }
    }

    /// Reads until `stop`, and what is left then.
    pub async fn run(mut self, stop: CancellationToken) {
        let wakeups = match self.records.wakeups() {
            Ok(wakeups) => wakeups,
            Err(why) => return error!("cannot wait for records: {why}; services may go unnamed"),
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = change(&mut self.asked) => {}
                waited = wakeups.wait() => if let Err(why) = waited {
                    error!("cannot wait for records: {why}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                },
            }
            self.ask();
            self.read(&wakeups, &stop).await;
        }
        self.look();
    }

    /// Asks the probes for the facts that immediate groups wait for, if these have changed.
    fn ask(&mut self) {
        if let Some(asked) = &mut self.asked
            && asked.has_changed().unwrap_or(false)
        {
            self.collector.ask(*asked.borrow_and_update());
        }
    }

    /// Looks again until there is nothing left.
    async fn read(&mut self, wakeups: &Wakeups, stop: &CancellationToken) {
        while self.look() && !stop.is_cancelled() {
            self.ask();
            wakeups.pause().await;
        }
    }

    /// Takes what waits, and reacts to it; says whether a further look is due after a pause.
    pub fn look(&mut self) -> bool {
        let drained = self.drain();
        self.react();
        drained > 0 || self.pending.waits()
    }

    /// Applies what waits; returns how many records that were.
    fn drain(&mut self) -> usize {
        let now = monotonic_ns();
        let mut lag = 0;
        let Self {
            records,
            collector,
            pending,
            ..
        } = self;
        let drained = records.drain(|bytes| match event::decode(bytes) {
            Ok(event) => {
                lag = lag.max(now.saturating_sub(event.at_ns()));
                collector.apply(&event);
                if let Event::Change { slot, fact, .. } = event {
                    pending.tell(slot, fact);
                }
            }
            Err(why) => {
                if collector.counts.malformed.fetch_add(1, Ordering::Relaxed) == 0 {
                    warn!("a kernel record cannot be read: {why}; further ones are only counted");
                }
            }
        });
        if let Some(rules) = &self.rules {
            rules.left_out(pending.take_left_out());
        }
        if drained > 0 {
            collector.counts.lag_ns.store(lag, Ordering::Relaxed);
        }
        drained
    }

    /// Reads what changed and has it evaluated.
    fn react(&mut self) {
        let begun = monotonic_ns();
        let places = self.pending.take(begun);
        let Some(rules) = self.rules.as_ref().filter(|_| !places.is_empty()) else {
            return;
        };
        let changed = self.collector.changed(&places);
        if !changed.families.is_empty() {
            rules.change(&changed.families, self.collector.start_ms());
        }
        self.pending.postpone(changed.later, changed.later_ns);
        self.pending.took(begun, monotonic_ns());
    }
}

/// Waits until other facts are asked for.
async fn change(asked: &mut Option<watch::Receiver<Facts>>) {
    let Some(asked) = asked else {
        return std::future::pending().await;
    };
    if asked.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    // It counts as seen now, and `ask` looks for what is not.
    asked.mark_changed();
}
