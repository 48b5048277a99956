//! Exponentially weighted mean with a half-life in units of weight, corrected for its start at
//! zero, as in hls.js and Shaka.

#[derive(Clone, Debug)]
pub(super) struct Ewma {
    decay: f64,
    estimate: f64,
    weight: f64,
}

impl Ewma {
    pub(super) fn new(half_life: f64) -> Self {
        Self {
            decay: 0.5_f64.powf(1.0 / half_life),
            estimate: 0.0,
            weight: 0.0,
        }
    }

    pub(super) fn add(&mut self, weight: f64, value: f64) {
        let kept = self.decay.powf(weight);
        self.estimate = value * (1.0 - kept) + kept * self.estimate;
        self.weight += weight;
    }

    /// None before anything of weight was added.
    pub(super) fn mean(&self) -> Option<f64> {
        let share = 1.0 - self.decay.powf(self.weight);
        (self.weight >= 1e-3 && share > 0.0).then(|| self.estimate / share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_value_is_its_own_mean_from_the_first_sample_on() {
        let mut ewma = Ewma::new(3.0);
        assert_eq!(ewma.mean(), None);
        ewma.add(0.5, 40.0);
        assert!((ewma.mean().unwrap() - 40.0).abs() < 1e-9);
    }

    #[test]
    fn after_one_half_life_old_and_new_weigh_alike() {
        let mut ewma = Ewma::new(3.0);
        ewma.add(300.0, 0.0);
        ewma.add(3.0, 100.0);
        assert!((ewma.mean().unwrap() - 50.0).abs() < 1e-6);
    }
}
