//! Places that told of rare facts, and when they are looked at.
//!
//! A place that told of a fact is silent about it for a while, though the fact may happen again. So
//! each is looked at twice: at once, and when that while is over.

use std::collections::HashMap;

use weir_ebpf::change::{EVERY_NS, Fact, Facts};

/// Reactions to events may take this share of the time: one part in so many. A storm at many places
/// makes pages later, not the agent busy.
const SHARE: u64 = 10;
/// Most places that wait; what is over it is found by the next periodic evaluation.
const MAX_PLACES: usize = 1 << 16;

/// What was told and not looked at yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    told: HashMap<u32, Facts>,
    /// To be looked at once more, not before that time.
    again: HashMap<u32, (Facts, u64)>,
    ready_ns: u64,
    left_out: u64,
}

impl Pending {
    /// A place told of a fact.
    pub(super) fn tell(&mut self, slot: u32, fact: Fact) {
        if self.told.len() < MAX_PLACES || self.told.contains_key(&slot) {
            let facts = self.told.entry(slot).or_default();
            *facts = facts.and(fact.into());
        } else {
            self.left_out += 1;
        }
    }

    /// Facts for which there was no room since this was last asked.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Has places looked at once more, not before a time.
    pub(super) fn postpone(&mut self, places: HashMap<u32, Facts>, from_ns: u64) {
        for (slot, facts) in places {
            let (again, known_ns) = self.again.entry(slot).or_insert((Facts::NONE, 0));
            *again = again.and(facts);
            *known_ns = from_ns.max(*known_ns);
        }
    }

    /// What is to be looked at now.
    pub(super) fn take(&mut self, now_ns: u64) -> HashMap<u32, Facts> {
        if now_ns < self.ready_ns {
            return HashMap::new();
        }
        let mut places = HashMap::new();
        self.again.retain(|slot, (facts, from_ns)| {
            let waits = *from_ns > now_ns;
            if !waits {
                places.insert(*slot, *facts);
            }
            waits
        });
        for (slot, facts) in self.told.drain() {
            let known = places.entry(slot).or_insert(Facts::NONE);
            *known = known.and(facts);
            let (again, from_ns) = self.again.entry(slot).or_insert((Facts::NONE, 0));
            *again = again.and(facts);
            *from_ns = now_ns + EVERY_NS;
        }
        places
    }

    /// Notes how long it took to look and evaluate.
    pub(super) fn took(&mut self, from_ns: u64, to_ns: u64) {
        self.ready_ns = to_ns + to_ns.saturating_sub(from_ns) * (SHARE - 1);
    }

    /// Whether anything is still to be looked at.
    pub(super) fn waits(&self) -> bool {
        !self.told.is_empty() || !self.again.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_is_looked_at_at_once_and_again_when_it_would_tell_again() {
        let mut pending = Pending::default();
        pending.tell(3, Fact::Refused);
        pending.tell(3, Fact::TimedOut);
        let both = [Fact::Refused, Fact::TimedOut].into_iter().collect();
        let expected = HashMap::from([(3, both)]);
        assert_eq!(pending.take(1_000), expected);
        assert!(pending.waits());
        assert!(pending.take(1_000 + EVERY_NS - 1).is_empty());
        assert_eq!(pending.take(1_000 + EVERY_NS), expected);
        assert!(!pending.waits());
    }

    #[test]
    fn reactions_take_no_more_than_their_share() {
        let mut pending = Pending::default();
        pending.took(0, 100);
        pending.tell(1, Fact::Refused);
        assert!(pending.take(100 * SHARE - 1).is_empty());
        assert!(pending.waits());
        assert_eq!(pending.take(100 * SHARE).len(), 1);
    }

    #[test]
    fn what_is_put_off_is_looked_at_when_there_is_time() {
        let mut pending = Pending::default();
        pending.tell(3, Fact::ZeroWindow);
        let places = pending.take(1_000);
        pending.postpone(places.clone(), 2_000 + EVERY_NS);
        assert!(pending.take(1_999 + EVERY_NS).is_empty() && pending.waits());
        assert_eq!(pending.take(2_000 + EVERY_NS), places);
        assert!(!pending.waits());
    }

    #[test]
    fn a_storm_at_more_places_than_there_is_room_for_is_counted() {
        let mut pending = Pending::default();
        for slot in 0..MAX_PLACES as u32 + 7 {
            pending.tell(slot, Fact::Refused);
        }
        assert_eq!((pending.take_left_out(), pending.take_left_out()), (7, 0));
        assert_eq!(pending.take(1).len(), MAX_PLACES);
    }

    proptest! {
        /// The kernel tells of a fact unless it did within `EVERY_NS`; whatever happens, and however
        /// seldom anybody looks, the last look is after the last event.
        #[test]
        fn no_event_is_left_without_a_later_look(
            steps in proptest::collection::vec((0_u64..15_000_000, any::<bool>()), 1..300),
        ) {
            let (mut pending, mut now, mut told_ns) = (Pending::default(), 1, 0);
            let (mut event_ns, mut looked_ns) = (0, 0);
            let mut look = |pending: &mut Pending, now: u64| {
                if !pending.take(now).is_empty() {
                    looked_ns = now;
                }
                looked_ns
            };
            for (gap, is_event) in steps {
                now += gap;
                if !is_event {
                    look(&mut pending, now);
                    continue;
                }
                event_ns = now;
                if weir_ebpf::change::is_due(told_ns, now) {
                    told_ns = now;
                    pending.tell(0, Fact::RetransmitRto);
                }
            }
            while pending.waits() {
                now += EVERY_NS;
                look(&mut pending, now);
            }
            prop_assert!(look(&mut pending, now) >= event_ns);
        }
    }
}
