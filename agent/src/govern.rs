//! Keeps Weir within its overhead budget: measures what the kernel programs take, and sheds
//! optional probes in the order of the probe table while that is too much.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::collect::Collector;
use crate::config::Overhead;
use crate::kernel::Attached;
use crate::kernel::probes::{PROBES, Probe};

/// How often the cost is measured.
const EVERY: Duration = Duration::from_secs(30);
/// How soon again after a probe was shed, so that a burst does not cost for minutes.
const SOON: Duration = Duration::from_secs(3);
/// How long. The kernel's statistics cost two clock readings a run, so they are on for this only.
const WINDOW: Duration = Duration::from_millis(300);
/// A shed probe comes back after this many measurements below half of the budget.
const CALM: u32 = 10;

/// Remembers what is shed.
#[derive(Debug, Default)]
pub struct Governor {
    shed: Vec<&'static str>,
    calm: u32,
}

/// What to do after a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Shed,
    Restore,
}

impl Governor {
    /// Measures once and acts; probes that are `required` stay. Returns how long to wait before the
    /// next time.
    pub async fn step(
        &mut self,
        collector: &Collector,
        budget: &Overhead,
        required: &[String],
    ) -> Duration {
        let Some((share, rss)) = measure(collector).await else {
            return EVERY;
        };
        collector
            .counts
            .overhead_ppm
            .store((share * 1e6) as u64, Ordering::Relaxed);
        let shed = self.shed.len();
        match self.judge(share, rss, budget) {
            Verdict::Keep => {}
            Verdict::Shed => self.shed_one(collector, share, rss, required),
            Verdict::Restore => self.restore_one(collector),
        }
        let wait = if self.shed.len() > shed { SOON } else { EVERY };
        collector
            .counts
            .shed
            .store(self.shed.len() as u64, Ordering::Relaxed);
        wait
    }

    /// A limit of 0 is none.
    fn judge(&mut self, share: f64, rss: u64, budget: &Overhead) -> Verdict {
        let cpu = budget.cpu_percent / 100.0;
        let over = (cpu > 0.0 && share > cpu) || (budget.rss_bytes > 0 && rss > budget.rss_bytes);
        let is_calm = !over && (cpu == 0.0 || share < cpu / 2.0);
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if over {
            return Verdict::Shed;
        }
        if self.calm >= CALM && !self.shed.is_empty() {
            self.calm = 0;
            return Verdict::Restore;
        }
        Verdict::Keep
    }

    fn shed_one(&mut self, collector: &Collector, share: f64, rss: u64, required: &[String]) {
        let running = collector.with_kernel(|kernel| running(kernel.attached()));
        let Some(probe) = next_to_shed(&running, required) else {
            return;
        };
        let done = collector.with_kernel(|kernel| kernel.detach(probe));
        match done {
            Ok(()) => warn!(probe, share, rss, "over the overhead budget: probe is off"),
            Err(why) => return debug!(probe, "cannot be shed: {why:#}"),
        }
        self.shed.push(probe);
    }

    fn restore_one(&mut self, collector: &Collector) {
        let Some(probe) = self.shed.pop() else { return };
        match collector.with_kernel(|kernel| kernel.attach_again(probe)) {
            Ok(()) => info!(probe, "within the overhead budget again: probe is on"),
            Err(why) => {
                warn!(probe, "cannot attach again: {why:#}");
                self.shed.push(probe);
            }
        }
    }
}

fn running(attached: &[Attached]) -> Vec<&'static str> {
    attached
        .iter()
        .filter(|probe| probe.rung.is_some() && !probe.shed)
        .map(|probe| probe.probe)
        .collect()
}

/// The next probe in the table's order that may go.
fn next_to_shed(running: &[&str], required: &[String]) -> Option<&'static str> {
    let may_go = |probe: &&Probe| {
        probe.shed > 0
            && running.contains(&probe.name)
            && required.iter().all(|name| name != probe.name)
    };
    let candidates = PROBES.iter().filter(may_go);
    candidates
        .min_by_key(|probe| probe.shed)
        .map(|probe| probe.name)
}

/// Share of one core in kernel programs, and resident bytes. `None` where the kernel keeps no
/// statistics (before 5.8).
async fn measure(collector: &Collector) -> Option<(f64, u64)> {
    let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime)
        .inspect_err(|why| debug!("no statistics of kernel programs: {why}"))
        .ok()?;
    let begun = Instant::now();
    let (before, _) = collector.cost();
    tokio::time::sleep(WINDOW).await;
    let (after, rss) = collector.cost();
    drop(statistics);
    let elapsed = begun.elapsed().as_nanos() as f64;
    Some((after.saturating_sub(before) as f64 / elapsed, rss))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Overhead = Overhead {
        cpu_percent: 2.0,
        rss_bytes: 1000,
    };

    #[test]
    fn too_much_sheds_and_lasting_calm_restores() {
        let mut governor = Governor::default();
        assert_eq!(governor.judge(0.019, 999, &BUDGET), Verdict::Keep);
        assert_eq!(governor.judge(0.021, 999, &BUDGET), Verdict::Shed);
        assert_eq!(governor.judge(0.001, 1001, &BUDGET), Verdict::Shed);
        governor.shed.push("sched_delay");
        for _ in 1..CALM {
            assert_eq!(governor.judge(0.009, 0, &BUDGET), Verdict::Keep);
        }
        assert_eq!(governor.judge(0.009, 0, &BUDGET), Verdict::Restore);
    }

    #[test]
    fn between_half_and_all_of_the_budget_nothing_changes() {
        let mut governor = Governor {
            shed: vec!["sched_delay"],
            calm: 0,
        };
        for _ in 0..3 * CALM {
            assert_eq!(governor.judge(0.015, 0, &BUDGET), Verdict::Keep);
        }
    }

    #[test]
    fn no_limit_sheds_nothing() {
        let none = Overhead {
            cpu_percent: 0.0,
            rss_bytes: 0,
        };
        assert_eq!(
            Governor::default().judge(0.99, u64::MAX, &none),
            Verdict::Keep
        );
    }

    #[test]
    fn probes_go_in_the_order_of_the_table_and_the_last_ones_stay() {
        let all: Vec<_> = PROBES.iter().map(|probe| probe.name).collect();
        assert_eq!(next_to_shed(&all, &[]), Some("sched_delay"));
        let required = ["sched_delay".to_owned()];
        assert_eq!(next_to_shed(&all, &required), Some("tcp_send"));
        assert_eq!(
            next_to_shed(&["tcp_state", "tcp_ack"], &[]),
            Some("tcp_ack")
        );
        assert_eq!(next_to_shed(&["tcp_state"], &[]), None);
    }
}
