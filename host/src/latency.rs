//! How long requests took to serve, and how long they had to wait for a resize.
//!
//! What a request costs is its *service time*, from when it was taken from its queue until it was
//! given back; it is kept for each [`Operation`], of requests that succeeded. What a resize can
//! cost a request is a wait for the lock of the pool: the longest such wait is the *longest stall*.
//! Both are kept for each [`Activity`], so that they can be compared.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use vssd::device::Device;

/// Significant digits that are kept: a value is known to 1 in 128.
const SIGNIFICANT_DIGITS: u8 = 2;

/// The longest time that is recorded, nanoseconds: 68 seconds. Longer ones
/// count as that long.
const MAX_NS: u64 = (1 << 36) - 1;

/// Times in nanoseconds, counted.
pub type Histogram = hdrhistogram::Histogram<u64>;

/// What a device was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Activity {
    /// No resize was under way.
    Quiet,
    /// It was shrinking.
    Shrink,
    /// It was growing.
    Grow,
}

impl Activity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quiet, Self::Shrink, Self::Grow];

    /// What `device` is doing.
    pub fn of(device: &Device) -> Self {
        match device.resize_under_way() {
            None => Self::Quiet,
            Some(resize) if resize.request.target < resize.from => Self::Shrink,
            Some(_) => Self::Grow,
        }
    }

    /// Its name.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Operation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A discard or write-zeroes.
    Zero,
    /// A flush.
    Flush,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Zero, Self::Flush];

    /// Its name.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// The lowest time of a bucket, nanoseconds, and how many were counted there.
pub type Bucket = (u64, u64);

/// A histogram in which nothing was counted.
pub fn histogram() -> Histogram {
    Histogram::new_with_bounds(1, MAX_NS, SIGNIFICANT_DIGITS).expect("the bounds are sound")
}

/// Counts more in a histogram; the buckets may come from anywhere.
pub fn add(histogram: &mut Histogram, buckets: &[Bucket]) {
    // The crate treats a count of 0 as a recorded value.
    for &(value_ns, count) in buckets.iter().filter(|(_, count)| *count > 0) {
        histogram.saturating_record_n(value_ns, count);
    }
}

/// The buckets of a histogram in which something was counted, in ascending order.
pub fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    histogram
        .iter_recorded()
        .map(|step| {
            let lowest = histogram.lowest_equivalent(step.value_iterated_to());
            (lowest, step.count_at_value())
        })
        .collect()
}

/// What was measured during one activity.
#[derive(Clone, Debug)]
pub struct Measured {
    service: [Histogram; Operation::ALL.len()],
    /// The longest time for which a request waited for the pool's state,
    /// nanoseconds.
    pub longest_stall_ns: u64,
}

impl Measured {
    /// Service times of requests of one operation.
    pub fn service(&self, operation: Operation) -> &Histogram {
        &self.service[operation as usize]
    }
}

/// All that was measured since the last reset.
#[derive(Clone, Debug)]
pub struct Latency([Measured; Activity::ALL.len()]);

impl Default for Latency {
    fn default() -> Self {
        Self(Activity::ALL.map(|_| Measured {
            service: Operation::ALL.map(|_| histogram()),
            longest_stall_ns: 0,
        }))
    }
}

impl Latency {
    /// What was measured during an activity.
    pub fn during(&self, activity: Activity) -> &Measured {
        &self.0[activity as usize]
    }

    /// Records the service time of a request.
    pub fn served(&mut self, during: Activity, operation: Operation, service_ns: u64) {
        self.0[during as usize].service[operation as usize].saturating_record(service_ns);
    }

    /// Records a wait of requests.
    pub fn stalled(&mut self, during: Activity, stall_ns: u64) {
        let longest = &mut self.0[during as usize].longest_stall_ns;
        *longest = stall_ns.max(*longest);
    }

    /// Resets everything.
    pub fn reset(&mut self) {
        for measured in &mut self.0 {
            measured.service.iter_mut().for_each(Histogram::reset);
            measured.longest_stall_ns = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn buckets_make_the_same_histogram_again() {
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut first = histogram();
            for _ in 0..1000 {
                let bits = rng.random_range(0..40);
                first.saturating_record(rng.random_range(0..=1u64 << bits));
            }
            let mut again = histogram();
            add(&mut again, &buckets(&first));
            assert_eq!(again, first, "seed {seed}");
        }
    }

    #[test]
    fn buckets_from_elsewhere_are_bounded() {
        let mut histogram = histogram();
        add(&mut histogram, &[(u64::MAX, u64::MAX), (0, u64::MAX)]);
        assert_eq!(histogram.max(), MAX_NS);
    }

    #[test]
    fn an_empty_bucket_is_no_value() {
        let mut histogram = histogram();
        add(&mut histogram, &[(3, 1), (7, 0)]);
        assert_eq!((histogram.max(), histogram.len()), (3, 1));
    }

    #[test]
    fn activities_and_operations_are_kept_apart() {
        let counts = |latency: &Latency| {
            Activity::ALL.map(|activity| {
                let measured = latency.during(activity);
                let requests = Operation::ALL.map(|of| measured.service(of).len());
                (requests, measured.longest_stall_ns)
            })
        };
        let mut latency = Latency::default();
        latency.served(Activity::Shrink, Operation::Write, 500);
        latency.served(Activity::Quiet, Operation::Write, 700);
        latency.served(Activity::Quiet, Operation::Flush, 900);
        latency.stalled(Activity::Grow, 9);
        latency.stalled(Activity::Grow, 3);
        let seen = [([0, 1, 0, 1], 0), ([0, 1, 0, 0], 0), ([0; 4], 9)];
        assert_eq!(counts(&latency), seen);
        latency.reset();
        assert_eq!(counts(&latency), [([0; 4], 0); 3]);
    }
}
