//! Rates made from a seed: a chain that walks up and down a ladder of rates and stays at each for
//! an exponential time, with holes in it. Stands for radio links without anyone's recording.

use anyhow::{Result, ensure};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng as _;
use serde::{Deserialize, Serialize};

use super::super::fate::unit;
use super::super::schedule::Schedule;

/// No step is shorter: 50 ms is what schedulers of radio cells and players can tell apart.
const SHORTEST_S: f64 = 0.05;
const LONGEST_S: u32 = 24 * 3600;
/// Parts the stream from those of packet fates with the same seed.
const STREAM: u128 = 0x7261_7465;

/// What the chain is made of.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Synthetic {
    /// Same seed, same trace.
    pub(crate) seed: u64,
    /// Length of a round.
    pub(crate) seconds: u32,
    /// The ladder, in order; the walk starts in its middle and goes one up or down at a time.
    pub(crate) rates_bps: Vec<u64>,
    /// Mean stay at a rate.
    pub(crate) stay_s: f64,
    /// Mean time between holes; 0: none.
    #[serde(default)]
    pub(crate) outage_every_s: f64,
    /// Mean length of a hole.
    #[serde(default)]
    pub(crate) outage_s: f64,
}

impl Synthetic {
    /// Walks the chain.
    pub(crate) fn make(&self) -> Result<Schedule> {
        self.check()?;
        let mut draws = Pcg64::new(u128::from(self.seed), STREAM);
        let mut draw = || unit(draws.next_u64());
        let end = f64::from(self.seconds);
        let mut at = 0.0;
        let mut place = self.rates_bps.len() / 2;
        let mut hole = if self.outage_every_s > 0.0 {
            exponential(draw(), self.outage_every_s)
        } else {
            f64::MAX
        };
        let mut steps = Vec::new();
        while at < end {
            let stay = exponential(draw(), self.stay_s);
            let up = draw() < 0.5;
            let until = (at + stay).min(end);
            if hole < until {
                let before = (hole - at).max(0.0);
                let dark = exponential(draw(), self.outage_s);
                steps.push((before, self.rates_bps[place]));
                steps.push((dark, 0));
                at += before + dark;
                hole = at + exponential(draw(), self.outage_every_s);
            } else {
                steps.push((until - at, self.rates_bps[place]));
                at = until;
            }
            place = step(place, up, self.rates_bps.len());
        }
        Schedule::new(
            steps
                .into_iter()
                .map(|(seconds, bps)| ((seconds * 1e9) as u64, bps)),
        )
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.rates_bps.is_empty() && self.rates_bps.len() <= 64,
            "rates_bps must have 1 to 64 rates"
        );
        ensure!(
            (1..=LONGEST_S).contains(&self.seconds),
            "seconds must be 1 to {LONGEST_S}"
        );
        ensure!(
            (SHORTEST_S..=3600.0).contains(&self.stay_s),
            "stay_s must be {SHORTEST_S} to 3600"
        );
        let holes = self.outage_every_s == 0.0
            || ((1.0..=86_400.0).contains(&self.outage_every_s)
                && (SHORTEST_S..=600.0).contains(&self.outage_s));
        ensure!(
            holes,
            "outage_every_s must be 0 or 1 to 86400 and outage_s {SHORTEST_S} to 600"
        );
        Ok(())
    }
}

/// Exponential by inversion, never shorter than a step.
fn exponential(draw: f64, mean: f64) -> f64 {
    (-mean * (1.0 - draw).ln()).max(SHORTEST_S)
}

fn step(place: usize, up: bool, count: usize) -> usize {
    let moved = if up { place + 1 } else { place.wrapping_sub(1) };
    // At an end of the ladder the walk turns back.
    if moved < count {
        moved
    } else if up {
        count.saturating_sub(2)
    } else {
        1.min(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(seed: u64) -> Synthetic {
        Synthetic {
            seed,
            seconds: 300,
            rates_bps: vec![500_000, 1_000_000, 3_000_000, 8_000_000],
            stay_s: 2.0,
            outage_every_s: 30.0,
            outage_s: 1.0,
        }
    }

    #[test]
    fn holes_and_every_rate_occur() {
        let schedule = walk(5).make().unwrap();
        for bps in [0, 500_000, 1_000_000, 3_000_000, 8_000_000] {
            assert!(
                schedule.pieces().iter().any(|piece| piece.bps == bps),
                "{bps}"
            );
        }
        // Each step is cut to whole nanoseconds.
        assert!(
            schedule.round_ns() >= 299_999_000_000,
            "{}",
            schedule.round_ns()
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (bad, name) in [
            (
                Synthetic {
                    rates_bps: vec![],
                    ..walk(1)
                },
                "rates_bps",
            ),
            (
                Synthetic {
                    stay_s: 0.0,
                    ..walk(1)
                },
                "stay_s",
            ),
            (
                Synthetic {
                    seconds: 0,
                    ..walk(1)
                },
                "seconds",
            ),
            (
                Synthetic {
                    outage_s: f64::NAN,
                    ..walk(1)
                },
                "outage",
            ),
        ] {
            assert!(format!("{:#}", bad.make().unwrap_err()).contains(name));
        }
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_trace(seed: u64) {
            let (one, two, other) = (walk(seed).make().unwrap(), walk(seed).make().unwrap(), walk(!seed).make().unwrap());
            prop_assert_eq!(&one, &two);
            prop_assert_ne!(one, other);
        }

        #[test]
        fn the_walk_stays_on_the_ladder(place in 0_usize..8, up: bool, count in 1_usize..8) {
            prop_assume!(place < count);
            let next = step(place, up, count);
            prop_assert!(next < count && (count == 1 || next.abs_diff(place) == 1));
        }
    }
}
