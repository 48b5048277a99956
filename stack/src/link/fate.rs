//! The fates of packets: lost or not, how much earlier or later than usual. Packet `n` of a
//! direction always gets the `n`th draws of that direction's stream, whatever the clock says, so
//! the same seed and the same impairment give the same fates.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng as _;
use serde::{Deserialize, Serialize};

use super::impairment::Impairment;

/// Which way over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// From the link's `from` to its `to`.
    Forward,
    /// The other way.
    Backward,
}

/// What becomes of one packet, apart from queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fate {
    /// Its place in its direction, from 0.
    pub(crate) number: u64,
    /// Dropped on the way.
    pub(crate) lost: bool,
    /// Added to the delay; nanoseconds, may be negative.
    pub(crate) jitter_ns: i64,
    /// Held back while others pass.
    pub(crate) late: bool,
}

/// The stream of one direction.
pub(crate) struct Fates {
    draws: Pcg64,
    number: u64,
    bad: bool,
}

impl Fates {
    /// PCG's two parameters are the seed and the direction, so the directions share nothing.
    pub(crate) fn new(seed: u64, direction: Direction) -> Self {
        Self {
            draws: Pcg64::new(u128::from(seed), direction as u128),
            number: 0,
            bad: false,
        }
    }

    /// The next packet's. Takes four draws whatever the impairment is, so a change of it moves no
    /// later packet to other draws.
    pub(crate) fn next(&mut self, impairment: &Impairment) -> Fate {
        let [state, loss, jitter, late] = std::array::from_fn(|_| unit(self.draws.next_u64()));
        let mut kept = 1.0 - impairment.loss;
        if let Some(burst) = impairment.gilbert_elliott {
            let turn = if self.bad {
                burst.recover
            } else {
                burst.worsen
            };
            self.bad ^= state < turn;
            kept *= 1.0
                - if self.bad {
                    burst.bad_loss
                } else {
                    burst.good_loss
                };
        } else {
            self.bad = false;
        }
        let number = self.number;
        self.number += 1;
        Fate {
            number,
            lost: loss < 1.0 - kept,
            jitter_ns: ((jitter * 2.0 - 1.0) * impairment.jitter_ms * 1e6) as i64,
            late: late < impairment.reorder,
        }
    }
}

/// Evenly from 0 up to, but not, 1: the 53 bits that a double holds.
pub(crate) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::impairment::GilbertElliott;

    fn fates(seed: u64, direction: Direction, impairment: &Impairment, count: usize) -> Vec<Fate> {
        let mut stream = Fates::new(seed, direction);
        (0..count).map(|_| stream.next(impairment)).collect()
    }

    fn share(fates: &[Fate], of: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|fate| of(fate)).count() as f64 / fates.len() as f64
    }

    #[test]
    fn losses_and_late_packets_come_in_the_share_asked_for() {
        let impairment = Impairment {
            loss: 0.02,
            reorder: 0.1,
            jitter_ms: 5.0,
            ..Impairment::default()
        };
        let fates = fates(1, Direction::Forward, &impairment, 100_000);
        // Five standard deviations of the binomial count: 0.0022 and 0.0047.
        assert!((share(&fates, |fate| fate.lost) - 0.02).abs() < 0.0022);
        assert!((share(&fates, |fate| fate.late) - 0.1).abs() < 0.0047);
        assert!(fates.iter().all(|fate| fate.jitter_ns.abs() <= 5_000_000));
        assert!((share(&fates, |fate| fate.jitter_ns > 0) - 0.5).abs() < 0.008);
    }

    #[test]
    fn bursts_have_the_mean_length_and_share_of_the_two_state_chain() {
        let burst = GilbertElliott {
            worsen: 0.01,
            recover: 0.25,
            good_loss: 0.0,
            bad_loss: 1.0,
        };
        let impairment = Impairment {
            gilbert_elliott: Some(burst),
            ..Impairment::default()
        };
        let fates = fates(3, Direction::Backward, &impairment, 400_000);
        let lost = share(&fates, |fate| fate.lost);
        let bursts = fates
            .windows(2)
            .filter(|pair| !pair[0].lost && pair[1].lost)
            .count();
        let length = lost * fates.len() as f64 / bursts as f64;
        // Stationary share p / (p + r), mean stay 1 / r.
        assert!((lost - 0.01 / 0.26).abs() < 0.004, "{lost}");
        assert!((length - 4.0).abs() < 0.3, "{length}");
    }

    #[test]
    fn a_change_of_impairment_leaves_later_packets_their_draws() {
        let before = Impairment {
            loss: 0.5,
            ..Impairment::default()
        };
        let steady = fates(9, Direction::Forward, &before, 200);
        let mut stream = Fates::new(9, Direction::Forward);
        let changed: Vec<Fate> = (0..200)
            .map(|number| {
                let calm = Impairment::default();
                stream.next(if (50..100).contains(&number) {
                    &calm
                } else {
                    &before
                })
            })
            .collect();
        assert_eq!(steady[..50], changed[..50]);
        assert!(changed[50..100].iter().all(|fate| !fate.lost));
        assert_eq!(steady[100..], changed[100..]);
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_fates_and_directions_differ(seed: u64, loss in 0.2..0.8) {
            let impairment = Impairment { loss, jitter_ms: 3.0, ..Impairment::default() };
            let forward = fates(seed, Direction::Forward, &impairment, 256);
            prop_assert_eq!(&forward, &fates(seed, Direction::Forward, &impairment, 256));
            prop_assert_ne!(forward, fates(seed, Direction::Backward, &impairment, 256));
        }
    }
}
