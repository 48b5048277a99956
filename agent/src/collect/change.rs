//! What rare facts changed: the places of the services that they happened to, read by themselves and
//! not with all others.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;
use weir_ebpf::change::Facts;
use weir_ebpf::layout::{Flow, Stats};

use super::sum::Families;
use super::{Collector, Inner};
use crate::kernel::monotonic_ns;
use crate::metrics::change::OF_SOCKETS;
use crate::metrics::{Family, Subject};

/// Walks over the sockets may take this share of the time: one part in so many.
const WALK_SHARE: u64 = 20;

/// Keeps walks for single services from taking more time than they may, however many sockets
/// there are.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    next_ns: u64,
}

impl Throttle {
    /// Notes a walk.
    fn took(&mut self, from_ns: u64, to_ns: u64) {
        self.next_ns = to_ns + to_ns.saturating_sub(from_ns) * WALK_SHARE;
    }

    fn allows(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }
}

impl Collector {
    /// Asks the probes to tell of these rare facts as they happen, and of no others.
    pub fn ask(&self, facts: Facts) {
        if let Err(why) = self.with_kernel(|kernel| kernel.ask(facts)) {
            warn!("immediate rule groups are evaluated on their tick only: {why:#}");
        }
    }

    /// The families that these facts changed, each with the points of the services that the places
    /// belong to. A place that nobody knows yet is passed over: the next snapshot has it.
    ///
    /// What rests on the sockets' own counters is left out while walks over them took too much
    /// time.
    pub fn changed(&self, told: &HashMap<u32, Facts>) -> Vec<Family> {
        let mut inner = self.lock();
        let mut subjects: HashMap<Arc<Subject>, Facts> = HashMap::new();
        for (slot, facts) in told {
            if let Some(subject) = inner.names.known(*slot) {
                let known = subjects.entry(subject).or_default();
                *known = known.and(*facts);
            }
        }
        let mut out = Families::default();
        for (subject, facts) in subjects {
            inner.read_service(&subject, facts, &mut out);
        }
        out.0
    }
}

impl Inner {
    /// Finished connections first, as for a snapshot.
    fn read_service(&mut self, subject: &Arc<Subject>, facts: Facts, out: &mut Families) {
        let places = self.names.places_of(subject);
        let mut sum = Box::new(Stats::ZERO);
        for slot in &places {
            match self.kernel.maps().stats(*slot) {
                Ok(stats) => sum.add(&stats),
                // With a part of them missing, the counters would go back.
                Err(why) => return warn!(slot, %why, "cannot read the kernel map STATS"),
            }
        }
        let open = if facts.shares(OF_SOCKETS) {
            self.walk_places(&places)
        } else {
            None
        };
        self.sums.changed(subject, sum, open.as_ref(), facts, out);
    }

    /// What the open sockets of places add up to, if there is time for it.
    fn walk_places(&mut self, places: &[u32]) -> Option<Flow> {
        let from_ns = monotonic_ns();
        if !self.walks.allows(from_ns) {
            return None;
        }
        let walk = self.kernel.walk_places(places);
        self.walks.took(from_ns, monotonic_ns());
        let walk = walk
            .inspect_err(|why| warn!("open sockets are not counted: {why:#}"))
            .ok()?;
        let mut open = Flow::NONE;
        for slot in places {
            open.add(&self.kernel.maps().live(*slot, walk).flow);
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_take_no_more_than_their_share_of_the_time() {
        let mut throttle = Throttle::default();
        assert!(throttle.allows(0));
        throttle.took(1_000, 3_000);
        assert!(!throttle.allows(3_000 + 2_000 * WALK_SHARE - 1));
        assert!(throttle.allows(3_000 + 2_000 * WALK_SHARE));
    }
}
