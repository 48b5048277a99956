//! What rare facts changed: the places of the services that they happened to, read by themselves and
//! not with all others.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;
use weir_ebpf::change::{Fact, Facts};
use weir_ebpf::layout::{Flow, Stats};

use super::sum::Families;
use super::{Collector, Inner};
use crate::kernel::{Attached, monotonic_ns};
use crate::metrics::change::{CHANGES, Change, OF_SOCKETS};
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

/// What facts changed.
#[derive(Default)]
pub struct Changed {
    /// Families, each with the points of the services that are concerned.
    pub families: Vec<Family>,
    /// Places and facts that are to be looked at once more: walks took too much time lately.
    pub later: HashMap<u32, Facts>,
    /// When that may be, nanoseconds of the monotonic clock.
    pub later_ns: u64,
}

impl Collector {
    /// Asks the probes to tell of these rare facts as they happen, and of no others. Says which of
    /// them no probe can tell of, once until that changes.
    pub fn ask(&self, facts: Facts) {
        let mut inner = self.lock();
        if let Err(why) = inner.kernel.ask(facts) {
            warn!("immediate rule groups are evaluated on their interval only: {why:#}");
        }
        let untold = untold(facts, inner.kernel.attached());
        if untold != inner.untold && untold != Facts::NONE {
            warn!(
                changes = names(untold).join(", "),
                "the probes that would tell of these as they happen are not attached: groups that wait for them are evaluated on their interval"
            );
        }
        inner.untold = untold;
    }

    /// The families that these facts changed, each with the points of the services that the places
    /// belong to. A place that nobody knows yet is passed over: the next snapshot has it.
    pub fn changed(&self, told: &HashMap<u32, Facts>) -> Changed {
        let mut inner = self.lock();
        let mut subjects: HashMap<Arc<Subject>, Facts> = HashMap::new();
        for (slot, facts) in told {
            if let Some(subject) = inner.names.known(*slot) {
                let known = subjects.entry(subject).or_default();
                *known = known.and(*facts);
            }
        }
        let (families, walked) = inner.read_services(subjects);
        let mut later = HashMap::new();
        if !walked {
            let of_sockets = told
                .iter()
                .map(|(slot, facts)| (*slot, facts.both(OF_SOCKETS)));
            later.extend(of_sockets.filter(|(_, facts)| *facts != Facts::NONE));
        }
        Changed {
            families,
            later,
            later_ns: inner.walks.next_ns,
        }
    }
}

/// Facts of which none of the probes tells that run.
fn untold(facts: Facts, attached: &[Attached]) -> Facts {
    let runs = |name: &&str| {
        let mut all = attached.iter();
        all.any(|probe| probe.probe == *name && probe.rung.is_some() && !probe.shed)
    };
    let all = Fact::ALL.into_iter().filter(|fact| facts.has(*fact));
    all.filter(|fact| !probes_of(*fact).iter().any(&runs))
        .collect()
}

/// Probes that tell of a fact.
fn probes_of(fact: Fact) -> &'static [&'static str] {
    match fact {
        Fact::RetransmitRto | Fact::RetransmitFast | Fact::RetransmitTlp | Fact::RetransmitSyn => {
            &["tcp_retransmit"]
        }
        Fact::RetransmitSynack => &["tcp_synack"],
        Fact::Needless => &["tcp_congestion"],
        Fact::ZeroWindow => &["tcp_ack", "tcp_send"],
        Fact::Refused | Fact::TimedOut | Fact::Reset | Fact::Unreachable | Fact::Aborted => {
            &["tcp_state"]
        }
    }
}

/// The series that facts change.
fn names(facts: Facts) -> Vec<String> {
    let rows = CHANGES.iter().filter(|row| facts.has(row.fact));
    let mut names: Vec<_> = rows.map(Change::to_string).collect();
    names.dedup();
    names
}

impl Inner {
    /// Finished connections first, as for a snapshot. Says whether the open ones were looked at
    /// where they had to be.
    fn read_services(&mut self, subjects: HashMap<Arc<Subject>, Facts>) -> (Vec<Family>, bool) {
        let mut read = Vec::with_capacity(subjects.len());
        let mut to_walk = Vec::new();
        for (subject, facts) in subjects {
            let places = self.names.places_of(&subject);
            let Some(sum) = self.sum_up(&places) else {
                continue;
            };
            if facts.shares(OF_SOCKETS) {
                to_walk.extend(&places);
            }
            read.push((subject, facts, places, sum));
        }
        let walk = match to_walk.is_empty() {
            true => None,
            false => self.walk_places(&to_walk),
        };
        let mut out = Families::default();
        for (subject, facts, places, sum) in read {
            let walk = walk.filter(|_| facts.shares(OF_SOCKETS));
            let open = walk.map(|walk| self.open(&places, walk));
            self.sums
                .changed(&subject, sum, open.as_ref(), facts, &mut out);
        }
        (out.0, to_walk.is_empty() || walk.is_some())
    }

    /// What places have counted; none if a part cannot be read: without it, the counters would go
    /// back.
    fn sum_up(&mut self, places: &[u32]) -> Option<Box<Stats>> {
        let mut sum: Option<Box<Stats>> = None;
        for slot in places {
            match self.kernel.maps().stats(*slot) {
                Ok(stats) => match &mut sum {
                    Some(sum) => sum.add(&stats),
                    None => sum = Some(stats),
                },
                Err(why) => {
                    warn!(slot, %why, "cannot read the kernel map STATS");
                    return None;
                }
            }
        }
        Some(sum.unwrap_or_else(|| Box::new(Stats::ZERO)))
    }

    /// Sums up the open sockets of places, if there is time for it; gives the number of the walk.
    fn walk_places(&mut self, places: &[u32]) -> Option<u64> {
        let from_ns = monotonic_ns();
        if !self.walks.allows(from_ns) {
            return None;
        }
        let walk = self.kernel.walk_places(places);
        self.walks.took(from_ns, monotonic_ns());
        walk.inspect_err(|why| warn!("open sockets are not counted: {why:#}"))
            .ok()
    }

    /// What the open sockets of places add up to.
    fn open(&mut self, places: &[u32], walk: u64) -> Flow {
        let mut open = Flow::NONE;
        for slot in places {
            open.add(&self.kernel.maps().live(*slot, walk).flow);
        }
        open
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

    fn attached(probe: &'static str, rung: Option<&'static str>, shed: bool) -> Attached {
        Attached {
            probe,
            fact: "",
            rung,
            programs: Vec::new(),
            blind: "",
            failed: Vec::new(),
            shed,
        }
    }

    #[test]
    fn facts_whose_probes_do_not_run_are_untold() {
        let all: Facts = Fact::ALL.into_iter().collect();
        let probes = [
            attached("tcp_state", Some("btf"), false),
            attached("tcp_retransmit", Some("raw"), false),
            attached("tcp_synack", Some("raw"), false),
            attached("tcp_send", Some("kprobe"), false),
            attached("tcp_ack", Some("raw"), true),
            attached("tcp_congestion", None, false),
        ];
        assert_eq!(untold(all, &probes), Fact::Needless.into());
        assert_eq!(
            names(Fact::Needless.into()),
            ["weir_tcp_retransmits_spurious_total"]
        );
        assert_eq!(untold(Fact::Refused.into(), &probes), Facts::NONE);
        assert_eq!(untold(all, &[]), all);
    }

    #[test]
    fn every_probe_that_is_said_to_tell_of_a_fact_is_one() {
        for name in Fact::ALL.into_iter().flat_map(probes_of) {
            assert!(crate::kernel::probes::find(name).is_some(), "{name}");
        }
    }
}
