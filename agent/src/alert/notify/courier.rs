//! One receiver's task: takes batches from the log, sends them in order, settles them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::alertmanager::Alertmanager;
use super::command::Command;
use super::report::Report;
use super::verdict::Verdict;
use super::webhook::Webhook;
use super::{Receiver, now_ms};
use crate::alert::log::{Form, Log};
use crate::alert::page::Page;
use crate::client::pause::Pause;

/// Where pages go.
pub(super) enum Target {
    Alertmanager(Alertmanager),
    Webhook(Webhook),
    Command(Command),
}

/// A receiver and what it takes to reach it.
pub(super) struct Courier {
    name: String,
    target: Target,
    form: Form,
    /// Time after which what fires is sent again; for those that forget.
    repeat: Option<Duration>,
    log: Log,
    counts: Arc<Receiver>,
    report: Report,
    /// Failures in a row.
    failures: u32,
}

impl Courier {
    /// `place` is where the receiver is, for messages.
    pub(super) fn new(
        name: String,
        place: &str,
        target: Target,
        form: Form,
        repeat: Option<Duration>,
        log: Log,
    ) -> Self {
        Self {
            counts: Arc::new(Receiver::new(&name)),
            report: Report::new(format!("{name} at {place}")),
            name,
            target,
            form,
            repeat,
            log,
            failures: 0,
        }
    }

    /// What the log calls it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn counts(&self) -> Arc<Receiver> {
        Arc::clone(&self.counts)
    }

    /// Delivers until `stop`; then what waits is sent while that works at the first try.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut changed = self.log.watch();
        // Agents that are started together should not repeat together.
        let first = |repeat: Duration| Instant::now() + repeat.mul_f64(fastrand::f64());
        let mut repeat_at = self.repeat.map(first);
        loop {
            changed.borrow_and_update();
            if let Some(batch) = self.log.next(&self.name, self.form) {
                if !self.deliver(batch.pages, &stop).await {
                    return;
                }
                self.log.settle(&self.name, batch.upto).await;
                continue;
            }
            let repeat = async {
                match repeat_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = changed.changed() => {}
                () = repeat => {
                    self.remind().await;
                    repeat_at = self.repeat.map(|repeat| Instant::now() + repeat);
                }
            }
        }
    }

    /// Sends until all are taken or refused; false if the agent stops before that.
    async fn deliver(&mut self, pages: Vec<Page>, stop: &CancellationToken) -> bool {
        let mut parts = vec![pages];
        while let Some(mut pages) = parts.pop() {
            match self.attempt(&pages, true).await {
                Verdict::Delivered => self.count_delivered(&pages),
                // Which of them is at fault is found by halves; the others are taken.
                Verdict::Refused { .. } if pages.len() > 1 => {
                    parts.push(pages.split_off(pages.len() / 2));
                    parts.push(pages);
                }
                Verdict::Refused { cause } => {
                    Receiver::add(&self.counts.refused, pages.len());
                    if let Some(page) = pages.first() {
                        self.report.refuses(page, &cause);
                    }
                }
                Verdict::Retry { after, .. } => {
                    if stop.is_cancelled() {
                        return false;
                    }
                    parts.push(pages);
                    let pause = Pause::new(self.failures, after, fastrand::f64());
                    if stop.run_until_cancelled(pause.wait(stop)).await.is_none() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Sends what fires, and what was resolved a short while ago, once more.
    async fn remind(&mut self) {
        let all = self.log.repeat(now_ms());
        for pages in all.chunks(self.form.pages) {
            match self.attempt(pages, false).await {
                Verdict::Delivered => Receiver::add(&self.counts.repeated, pages.len()),
                // Said already; the next time is soon enough.
                Verdict::Retry { .. } => return,
                Verdict::Refused { .. } => {}
            }
        }
    }

    /// One try. `is_first`: a page that comes late stands as long as one that comes in time.
    async fn attempt(&mut self, pages: &[Page], is_first: bool) -> Verdict {
        let (verdict, warning) = match &mut self.target {
            Target::Alertmanager(target) => target.send(pages, is_first.then(now_ms)).await,
            Target::Webhook(target) => target.send(pages).await,
            Target::Command(target) => (target.run(pages).await, None),
        };
        if let Some(warning) = warning {
            self.report.warn(&warning);
        }
        let is_failing = matches!(verdict, Verdict::Retry { .. });
        self.counts.is_failing.store(is_failing, Ordering::Relaxed);
        match &verdict {
            Verdict::Delivered => {
                Receiver::add(&self.counts.sent, 1);
                self.report.works();
            }
            Verdict::Retry { cause, .. } => {
                Receiver::add(&self.counts.failed, 1);
                self.report.fails(cause);
            }
            Verdict::Refused { .. } => Receiver::add(&self.counts.failed, 1),
        }
        self.failures = match is_failing {
            true => self.failures.saturating_add(1),
            false => 0,
        };
        verdict
    }

    fn count_delivered(&self, pages: &[Page]) {
        Receiver::add(&self.counts.delivered, pages.len());
        let now = now_ms();
        let delay_ms: u64 = pages
            .iter()
            .map(|page| u64::try_from(now.saturating_sub(page.at_ms)).unwrap_or(0))
            .fold(0, u64::saturating_add);
        let delay_ns = delay_ms.saturating_mul(1_000_000);
        self.counts.delay_ns.fetch_add(delay_ns, Ordering::Relaxed);
    }
}
