//! A time budget for `list-4096`, whose every exchange is a durable commit.

use std::time::Duration;

/// What the ablation has used of its budget.
pub(super) struct Ablation {
    /// `None` where times are not measured.
    budget: Option<Duration>,
    spent: Duration,
    /// The last size in blocks, and how long it took.
    last: Option<(u32, Duration)>,
}

impl Ablation {
    pub(super) fn new(budget: Option<Duration>) -> Self {
        Self {
            budget,
            spent: Duration::ZERO,
            last: None,
        }
    }

    pub(super) fn spent(&self) -> Duration {
        self.spent
    }

    /// How long a size will take: the number of exchanges follows that of the blocks, so the
    /// last size's time per exchange is its time per block. Zero before the first size.
    pub(super) fn predicted(&self, blocks: u32) -> Duration {
        let Some((last, took)) = self.last else {
            return Duration::ZERO;
        };
        took.mul_f64(f64::from(blocks) / f64::from(last))
    }

    /// Whether a size fits in what is left of the budget.
    pub(super) fn fits(&self, blocks: u32) -> bool {
        self.budget
            .is_none_or(|budget| self.spent + self.predicted(blocks) <= budget)
    }

    /// A size was measured.
    pub(super) fn record(&mut self, blocks: u32, took: Duration) {
        self.spent += took;
        self.last = Some((blocks, took));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_size_is_measured_if_its_predicted_time_fits() {
        let mut ablation = Ablation::new(Some(secs(10)));
        assert!(ablation.fits(1 << 20), "the first has no prediction");
        ablation.record(100, secs(1));
        ablation.record(200, secs(2));
        assert_eq!(ablation.predicted(700), secs(7));
        assert!(ablation.fits(700), "3 s spent, 7 s predicted");
        assert!(!ablation.fits(701));
    }

    #[test]
    fn the_prediction_follows_the_last_size() {
        let mut ablation = Ablation::new(Some(secs(10)));
        ablation.record(100, secs(1));
        ablation.record(200, secs(4));
        assert_eq!(ablation.predicted(400), secs(8));
        assert_eq!(ablation.spent(), secs(5));
    }

    #[test]
    fn without_a_budget_every_size_fits() {
        let mut ablation = Ablation::new(None);
        ablation.record(1, secs(1000));
        assert!(ablation.fits(u32::MAX));
    }
}
