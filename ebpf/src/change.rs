//! Rare facts that the probes tell of as they happen, if the agent asked for them, and how often.

use crate::tcp::{Outcome, Retransmit};

/// A place tells of a fact at most once in this time: what happens in between is in its counters.
pub const EVERY_NS: u64 = 10_000_000;

/// A rare fact. All else (sends, ACKs, connections that work) is frequent and only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fact {
    /// Segments were sent again after a timeout.
    RetransmitRto,
    /// Segments were sent again in fast recovery.
    RetransmitFast,
    /// A tail loss probe sent a segment again.
    RetransmitTlp,
    /// A connection request was sent again.
    RetransmitSyn,
    /// An answer to a connection request was sent again.
    RetransmitSynack,
    /// A loss episode ended in which segments were sent again needlessly.
    Needless,
    /// The peer's window began to hold data back.
    ZeroWindow,
    /// A connection failed: `Outcome::Refused`.
    Refused,
    /// A connection failed: `Outcome::TimedOut`.
    TimedOut,
    /// A connection failed: `Outcome::Reset`.
    Reset,
    /// A connection failed: `Outcome::Unreachable`.
    Unreachable,
    /// A connection failed: `Outcome::Aborted`.
    Aborted,
}

/// Number of facts.
pub const FACTS: usize = 12;

impl Fact {
    /// All of them, by their numbers.
    pub const ALL: [Self; FACTS] = [
        Self::RetransmitRto,
        Self::RetransmitFast,
        Self::RetransmitTlp,
        Self::RetransmitSyn,
        Self::RetransmitSynack,
        Self::Needless,
        Self::ZeroWindow,
        Self::Refused,
        Self::TimedOut,
        Self::Reset,
        Self::Unreachable,
        Self::Aborted,
    ];

    /// That segments of a kind were sent again.
    #[inline(always)]
    pub fn of_retransmit(kind: Retransmit) -> Self {
        match kind {
            Retransmit::Rto => Self::RetransmitRto,
            Retransmit::Fast => Self::RetransmitFast,
            Retransmit::Tlp => Self::RetransmitTlp,
            Retransmit::Syn => Self::RetransmitSyn,
            Retransmit::Synack => Self::RetransmitSynack,
        }
    }

    /// That a connection became this; `None` for what is no failure.
    #[inline(always)]
    pub fn of_outcome(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Opened | Outcome::Closed => None,
            Outcome::Refused => Some(Self::Refused),
            Outcome::TimedOut => Some(Self::TimedOut),
            Outcome::Reset => Some(Self::Reset),
            Outcome::Unreachable => Some(Self::Unreachable),
            Outcome::Aborted => Some(Self::Aborted),
        }
    }
}

/// A set of facts, as the agent asks for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Facts(pub u64);

impl Facts {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether a fact is one of them.
    #[inline(always)]
    pub fn has(self, fact: Fact) -> bool {
        self.0 >> fact as u32 & 1 != 0
    }

    /// Whether both have a fact in common.
    pub fn shares(self, others: Self) -> bool {
        self.both(others) != Self::NONE
    }

    /// Those that are in both.
    #[must_use]
    pub fn both(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Those of either.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl From<Fact> for Facts {
    fn from(fact: Fact) -> Self {
        Self(1 << fact as u32)
    }
}

impl FromIterator<Fact> for Facts {
    fn from_iter<I: IntoIterator<Item = Fact>>(facts: I) -> Self {
        facts
            .into_iter()
            .fold(Self::NONE, |all, fact| all.and(fact.into()))
    }
}

/// Whether a place that told of a fact last at `last_ns`, 0 for never, tells of it again. Clocks of
/// two CPUs may differ a little, so that the last time seems to lie ahead.
#[inline(always)]
pub fn is_due(last_ns: u64, now_ns: u64) -> bool {
    last_ns == 0 || now_ns.saturating_sub(last_ns) >= EVERY_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn facts_are_numbered_in_their_order_and_each_is_asked_for_by_its_own_bit() {
        for (number, fact) in Fact::ALL.into_iter().enumerate() {
            assert_eq!(fact as usize, number);
            let asked = Facts::from(fact);
            let has = Fact::ALL.into_iter().filter(|other| asked.has(*other));
            assert!(has.eq([fact]));
        }
        assert_eq!(Fact::ALL.into_iter().collect::<Facts>().0, (1 << FACTS) - 1);
    }

    #[test]
    fn only_failures_of_connections_are_rare() {
        assert_eq!(Fact::of_outcome(Outcome::Opened), None);
        assert_eq!(Fact::of_outcome(Outcome::Closed), None);
        assert_eq!(Fact::of_outcome(Outcome::Reset), Some(Fact::Reset));
    }

    #[test]
    fn the_first_time_is_told_at_once() {
        assert!(is_due(0, 1));
        assert!(!is_due(1, EVERY_NS));
        assert!(is_due(1, EVERY_NS + 1));
        assert!(!is_due(100, 99), "another CPU told of it just now");
    }

    proptest! {
        #[test]
        fn a_storm_is_told_of_once_in_each_interval(
            gaps in proptest::collection::vec(0_u64..3_000_000, 1..2000),
        ) {
            let (mut now, mut last, mut told) = (5, 0, 0_u64);
            let begin = now;
            for gap in gaps {
                now += gap;
                if is_due(last, now) {
                    last = now;
                    told += 1;
                }
                prop_assert!(now - last < EVERY_NS, "told of it long ago");
            }
            prop_assert!(told <= (now - begin) / EVERY_NS + 1);
        }
    }
}
