//! The schedules of load, by name.

use strum::VariantNames;
use workloads::pick::invalid;

/// What VMs do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames,
)]
#[strum(
    serialize_all = "kebab-case",
    parse_err_ty = String,
    parse_err_fn = unknown
)]
pub(crate) enum Schedule {
    /// Working sets of different sizes and shapes, one of which no cache serves.
    Mixed,
    /// The weights of SymFlex (2021): 1:2:3, 2:2:3, 2:2:1, and then one VM departs.
    Weights,
    /// One half of the VMs works while the other is idle, and then the other way round.
    DayNight,
    /// The same by turns of a few periods: faster than caches warm.
    Shifts,
    /// Desktops that boot, some in each period, and then do little.
    BootStorm,
    /// One VM scans a large disk at four times the rate of the others.
    Bully,
    /// VMs arrive and depart.
    Arrivals,
    /// The loads of `mixed`; some VMs are promised a hit ratio.
    Goals,
    /// Many VMs of all kinds and weights that work by turns, arrive and depart.
    Crowd,
    /// Half of the VMs mostly write.
    Writers,
    /// Each VM replays a recorded trace.
    Traces,
    /// Each VM makes accesses like those of a VM of a population.
    Population,
}

fn unknown(text: &str) -> String {
    invalid(text, Schedule::VARIANTS.iter())
}

/// Desktops in a boot storm (Koller et al., "Centaur", ICAC 2015).
pub(super) const DESKTOPS: u32 = 28;

impl Schedule {
    /// VMs that are there at a time, of so many where the schedule does not say, and so many traces.
    pub(super) fn vms(self, vms: u32, traces: u32) -> u32 {
        match self {
            Self::Weights => 3,
            Self::BootStorm => DESKTOPS,
            Self::Traces => traces,
            _ => vms,
        }
    }

    /// Whether guests under QEMU can run it: all VMs are there all the time.
    pub(super) fn runs_under_qemu(self) -> bool {
        matches!(
            self,
            Self::Mixed | Self::DayNight | Self::Shifts | Self::Bully | Self::Goals
        )
    }

    /// Whether the sizes of its VMs can be drawn: there are few enough.
    pub(super) fn is_drawn(self) -> bool {
        !matches!(self, Self::Crowd | Self::Population)
    }

    /// Whether VMs arrive after the first period, or depart before the last.
    pub(super) fn changes_vms(self) -> bool {
        matches!(self, Self::Weights | Self::Arrivals | Self::Crowd)
    }
}
