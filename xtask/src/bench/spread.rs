//! Median and quartiles: what a figure is, and how far to trust it.

use serde::Serialize;

/// Median and spread of one figure over the rounds of a run; zeros if there was no round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of the rounds were below.
    pub median: f64,
    /// A quarter of the rounds were below.
    pub low: f64,
    /// A quarter of the rounds were above.
    pub high: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// Number of rounds.
    pub rounds: usize,
}

impl Spread {
    /// Of these values, in any order.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        Self {
            median: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.25),
            high: quantile(&sorted, 0.75),
            min: *min,
            max: *max,
            rounds: sorted.len(),
        }
    }
}

/// Of sorted values, interpolated between neighbours.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_does_not_move_the_median() {
        let spread = Spread::of(&[5.0, 1.0, 1000.0, 3.0, 4.0]);
        assert_eq!((spread.median, spread.low, spread.high), (4.0, 3.0, 5.0));
        assert_eq!((spread.min, spread.max, spread.rounds), (1.0, 1000.0, 5));
    }

    #[test]
    fn between_two_values_is_their_middle_and_nothing_is_zero() {
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
