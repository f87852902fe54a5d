//! Normally distributed block numbers: the reads of the 2017 experiment.

use core::fmt;

use rand::distr::Distribution;
use rand_distr::Normal;

use super::Rng;

/// See [`super::Pattern::Gaussian`].
#[derive(Clone, Debug)]
pub struct Gaussian {
    normal: Normal<f64>,
    capacity: f64,
    rng: Rng,
}

/// Why a Gaussian cannot be drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GaussianError {
    /// A parameter is not a finite number, or the deviation is not positive.
    Parameters,
    /// The mean is more than three deviations outside the device, so most
    /// draws would be drawn again, perhaps for ever.
    OutsideDevice,
}

impl fmt::Display for GaussianError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parameters => "a Gaussian takes a finite mean and a positive deviation",
            Self::OutsideDevice => {
                "the mean lies more than three deviations outside the device: choose it inside"
            }
        })
    }
}

impl Gaussian {
    pub(super) fn new(mean: f64, sd: f64, capacity: u32, rng: Rng) -> Result<Self, GaussianError> {
        if !mean.is_finite() || !sd.is_finite() || sd <= 0.0 {
            return Err(GaussianError::Parameters);
        }
        let capacity = f64::from(capacity);
        // At the mean itself half of all draws are on either side, so within
        // three deviations at least one draw in 741 lands, unless the device
        // is much narrower than a deviation.
        let reach = 3.0 * sd;
        if mean < -reach || mean > capacity + reach || sd > 1000.0 * capacity {
            return Err(GaussianError::OutsideDevice);
        }
        let normal = Normal::new(mean, sd).map_err(|_| GaussianError::Parameters)?;
        Ok(Self {
            normal,
            capacity,
            rng,
        })
    }

    pub(super) fn next_block(&mut self) -> u32 {
        loop {
            let draw: f64 = self.normal.sample(&mut self.rng);
            if (0.0..self.capacity).contains(&draw) {
                return draw as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pattern, PatternError};
    use super::*;

    #[test]
    fn draws_have_the_mean_and_deviation_asked_for() {
        let pattern = Pattern::Gaussian {
            mean: 20_000.0,
            sd: 2_000.0,
        };
        let mut stream = pattern.stream(1 << 18, 3, 0).unwrap();
        let n = 100_000;
        let draws: alloc::vec::Vec<f64> = (0..n).map(|_| f64::from(stream.next_block())).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / f64::from(n);
        // Six standard errors of each.
        assert!((mean - 20_000.0).abs() < 40.0, "mean {mean}");
        assert!((variance / 4e6 - 1.0).abs() < 0.03, "variance {variance}");
    }

    #[test]
    fn hopeless_parameters_are_refused() {
        for (mean, sd) in [
            (f64::NAN, 1.0),
            (0.0, 0.0),
            (0.0, -1.0),
            (0.0, f64::INFINITY),
        ] {
            assert_eq!(
                Pattern::Gaussian { mean, sd }.stream(10, 0, 0).unwrap_err(),
                PatternError::Gaussian(GaussianError::Parameters)
            );
        }
        assert!(
            Pattern::Gaussian { mean: 1e9, sd: 1.0 }
                .stream(10, 0, 0)
                .is_err()
        );
    }
}
