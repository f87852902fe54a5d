//! From ticks of a counter to nanoseconds.

/// The rate of a counter, as a multiplier: nanoseconds per tick, times 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale {
    ns_per_tick: u64,
}

impl TimeScale {
    /// The scale of a counter of `hz` ticks per second.
    ///
    /// Rounding the multiplier errs by at most one part in 2^32 / (10^9 / hz):
    /// below 1 ppb for every counter slower than 4 GHz.
    ///
    /// # Panics
    /// When `hz` is 0.
    pub const fn from_hz(hz: u64) -> Self {
        Self {
            ns_per_tick: ((1_000_000_000_u128 << 32) / hz as u128) as u64,
        }
    }

    /// Nanoseconds in so many ticks; grows with them and cannot overflow for
    /// a counter faster than 1 GHz.
    pub const fn ns(self, ticks: u64) -> u64 {
        ((ticks as u128 * self.ns_per_tick as u128) >> 32) as u64
    }
}

/// The rate of a counter that went through `ticks` while a reference of
/// `reference_hz` went through `reference_ticks`; `None` when no time passed.
pub fn measured_hz(ticks: u64, reference_ticks: u64, reference_hz: u64) -> Option<u64> {
    let hz = (u128::from(ticks) * u128::from(reference_hz)).checked_div(reference_ticks.into())?;
    u64::try_from(hz).ok().filter(|hz| *hz > 0)
}

#[cfg(test)]
mod tests {
    use super::{TimeScale, measured_hz};

    #[test]
    fn a_day_of_ticks_is_a_day() {
        for hz in [1_000_000_000, 2_599_998_000, 4_200_000_000] {
            let day_ns = TimeScale::from_hz(hz).ns(hz * 86_400);
            assert!(
                day_ns.abs_diff(86_400_000_000_000) < 86_400 * 2,
                "{hz}: {day_ns}"
            );
        }
    }

    #[test]
    fn later_ticks_are_later_times() {
        let scale = TimeScale::from_hz(2_600_000_000);
        assert!(scale.ns(u64::MAX) > scale.ns(u64::MAX - 3));
        assert_eq!(scale.ns(0), 0);
    }

    #[test]
    fn a_rate_follows_from_a_reference() {
        assert_eq!(
            measured_hz(2_600_000, 1_000_000, 1_000_000_000),
            Some(2_600_000_000)
        );
        assert_eq!(measured_hz(2_600_000, 0, 1_000_000_000), None);
        assert_eq!(measured_hz(0, 1_000, 1_000_000_000), None);
    }
}
