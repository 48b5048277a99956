//! A rate over time, and when a packet that begins to leave has left. Pure arithmetic on
//! nanoseconds.

use anyhow::{Result, ensure};

const SECOND: u128 = 1_000_000_000;
/// More pieces than an hour of milliseconds are refused.
pub(crate) const MOST_PIECES: usize = 3_600_000;

/// A rate that changes in steps and then starts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pieces: Vec<Piece>,
    /// Times 10⁹: bits per second summed over nanoseconds.
    per_round: u128,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it ends, in nanoseconds since the start of the round.
    pub(crate) until_ns: u64,
    /// Bits per second.
    pub(crate) bps: u64,
}

impl Schedule {
    /// From steps `(length in nanoseconds, bits per second)`; neighbours of one rate are joined.
    pub(crate) fn new(steps: impl IntoIterator<Item = (u64, u64)>) -> Result<Self> {
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut until_ns, mut per_round) = (0_u64, 0_u128);
        for (length, bps) in steps {
            if length == 0 {
                continue;
            }
            let Some(end) = until_ns.checked_add(length) else {
                anyhow::bail!("the trace is longer than 500 years");
            };
            until_ns = end;
            per_round += u128::from(length) * u128::from(bps);
            match pieces.last_mut() {
                Some(last) if last.bps == bps => last.until_ns = until_ns,
                _ => pieces.push(Piece { until_ns, bps }),
            }
            ensure!(
                pieces.len() <= MOST_PIECES,
                "the trace has more than {MOST_PIECES} steps"
            );
        }
        ensure!(per_round > 0, "the trace carries nothing at all");
        Ok(Self { pieces, per_round })
    }

    /// The steps of one round.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Length of one round.
    pub(crate) fn round_ns(&self) -> u64 {
        self.pieces.last().map_or(1, |last| last.until_ns)
    }

    /// Bits per second over a whole round.
    pub(crate) fn mean_bps(&self) -> u64 {
        u64::try_from(self.per_round / u128::from(self.round_ns())).unwrap_or(u64::MAX)
    }

    /// When so many bits that begin to leave at `start_ns` have left. Rounded up.
    pub(crate) fn finish(&self, start_ns: u64, bits: u64) -> u64 {
        let round = u128::from(self.round_ns());
        let mut left = u128::from(bits) * SECOND;
        let mut round_start = u128::from(start_ns) / round * round;
        let mut at = u128::from(start_ns) % round;
        if left > self.per_round {
            // Whole rounds at once. The last bit is walked to below, as a hole may follow it.
            let rounds = (left - 1) / self.per_round;
            round_start += rounds * round;
            left -= rounds * self.per_round;
        }
        let mut index = self
            .pieces
            .partition_point(|piece| u128::from(piece.until_ns) <= at);
        while left > 0 {
            let Some(piece) = self.pieces.get(index) else {
                (round_start, at, index) = (round_start + round, 0, 0);
                continue;
            };
            let rate = u128::from(piece.bps);
            let carries = rate * (u128::from(piece.until_ns) - at);
            if carries >= left {
                at += left.div_ceil(rate);
                break;
            }
            left -= carries;
            at = u128::from(piece.until_ns);
            index += 1;
        }
        u64::try_from(round_start + at).unwrap_or(u64::MAX)
    }
}

/// When bits have left at a steady rate.
pub(crate) fn finish_steady(start_ns: u64, bits: u64, bps: u64) -> u64 {
    let took = (u128::from(bits) * SECOND).div_ceil(u128::from(bps.max(1)));
    start_ns.saturating_add(u64::try_from(took).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    /// Megabits per second at which a bit takes whole nanoseconds, and none.
    const EVEN: [u64; 8] = [0, 1, 2, 4, 5, 8, 10, 20];

    #[test]
    fn a_packet_waits_through_a_hole() {
        let schedule = Schedule::new([(10 * MS, 1_000_000), (90 * MS, 0)]).unwrap();
        // 5000 bits fit behind 5 ms; the next 10 000 need the rest, the hole, and 5 ms more.
        assert_eq!(schedule.finish(0, 5_000), 5 * MS);
        assert_eq!(schedule.finish(5 * MS, 10_000), 105 * MS);
        assert_eq!(schedule.mean_bps(), 100_000);
    }

    #[test]
    fn many_rounds_are_counted_not_walked() {
        let schedule = Schedule::new([(MS, 1000), (MS, 0)]).unwrap();
        // One bit a round.
        assert_eq!(schedule.finish(0, 1_000_000), 1_000_000 * 2 * MS - MS);
    }

    #[test]
    fn a_trace_of_nothing_is_refused() {
        assert!(Schedule::new([(5, 0)]).is_err());
        assert!(Schedule::new([]).is_err());
    }

    proptest! {
        #[test]
        fn cutting_a_packet_in_two_changes_nothing(
            steps in prop::collection::vec((1_u64..50, prop::sample::select(EVEN.as_slice())), 1..20),
            start in 0_u64..2_000, first in 0_u64..5_000, second in 1_u64..5_000,
        ) {
            // Steps of whole milliseconds, and bits of whole nanoseconds, round nowhere. Where bits
            // do not, what the first part rounds up is lost, and may just miss the end of a step.
            let steps = steps.into_iter().map(|(ms, rate)| (ms * MS, rate * 1_000_000));
            let Ok(schedule) = Schedule::new(steps) else { return Ok(()) };
            let whole = schedule.finish(start * MS, first + second);
            let parts = schedule.finish(schedule.finish(start * MS, first), second);
            prop_assert_eq!(parts, whole);
            prop_assert!(whole >= start * MS);
        }

        #[test]
        fn a_trace_of_one_rate_is_that_rate(bps in 1_u64..10_000_000_000, start: u32, bits in 1_u64..1_000_000) {
            let schedule = Schedule::new([(7 * MS, bps), (3 * MS, bps)]).unwrap();
            let (traced, steady) = (schedule.finish(start.into(), bits), finish_steady(start.into(), bits, bps));
            prop_assert!(traced.abs_diff(steady) <= 1, "{traced} {steady}");
        }
    }
}
