//! Time, by the time stamp counter.

use core::arch::x86_64::{__cpuid, _rdtsc};

use guest_kernel::time_scale::{TimeScale, measured_hz};

use crate::interrupts::LocalApic;

/// The rate of QEMU's local APIC timer, under TCG (`APIC_FREQUENCY` through
/// the device's nanosecond clock) as in KVM, which keeps it unless
/// configured otherwise.
const APIC_TIMER_HZ: u64 = 1_000_000_000;

/// Length of the measurement: reading a counter takes up to 30 us where it
/// leaves the guest, of which the bracketing below removes all but a few.
const MEASURED_APIC_TICKS: u32 = 2_000_000;

/// Ticks of the time stamp counter, about a second at least, after which a timer that has not
/// counted is considered dead.
const TIMER_DEAD_TICKS: u64 = 1 << 33;

/// Reads of the two counters; the fastest one is used.
const LOOKS: usize = 4;

/// A timer period that leaves a busy host room below the 10 ms that a rest may
/// take.
const TICK_MS: u64 = 5;

const LEAF_MAX: u32 = 0;
const LEAF_TSC: u32 = 0x15;
const LEAF_HYPERVISOR: u32 = 0x4000_0000;
const LEAF_HYPERVISOR_TSC: u32 = 0x4000_0010;
const HYPERVISOR_BIT: u32 = 1 << 31;

/// A counter beyond this did not start with the machine: a software KVM shows
/// that of the host.
const POWER_ON_PLAUSIBLE_NS: u64 = 60_000_000_000;

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    scale: TimeScale,
    /// The counter at time 0.
    origin: u64,
    /// Ticks of the time stamp counter per second.
    pub hz: u64,
    /// The source of the rate, for the log.
    pub source: &'static str,
}

impl Clock {
    /// Finds the rate of the time stamp counter and starts the periodic timer.
    ///
    /// The counter itself needs no exit to be read and runs at a constant rate under every
    /// accelerator. The rate that CPUID reports is exact, so it is tried first. QEMU reports none
    /// under TCG, and by default none under KVM; then the local APIC's timer is the reference. (The
    /// 8254 and the ACPI timer, the customary ones, are not on every microvm.)
    ///
    /// `entry_tsc` is the counter when the kernel was entered.
    ///
    /// # Panics
    /// When the counters do not run at any plausible rate.
    pub fn start(apic: &LocalApic, entry_tsc: u64) -> Self {
        apic.start_count();
        let (tsc_before, apic_before) = look(apic);
        while apic.counted() < apic_before + MEASURED_APIC_TICKS
            && tsc() - tsc_before < TIMER_DEAD_TICKS
        {
            core::hint::spin_loop();
        }
        let (tsc_after, apic_after) = look(apic);
        let tsc_ticks = tsc_after - tsc_before;
        let apic_ticks = u64::from(apic_after - apic_before);

        let (hz, source) = if let Some(hz) = hz_by_cpuid() {
            (hz, "CPUID")
        } else {
            let hz = measured_hz(tsc_ticks, apic_ticks, APIC_TIMER_HZ);
            (hz.unwrap_or(0), "measured")
        };
        assert!(
            (100_000_000..=20_000_000_000).contains(&hz),
            "a time stamp counter of {hz} Hz ({source}): {tsc_ticks} ticks in {apic_ticks} of the \
             APIC timer"
        );
        let apic_hz = measured_hz(apic_ticks, tsc_ticks, hz).unwrap_or(APIC_TIMER_HZ);
        let tick = apic_hz * TICK_MS / 1000;
        apic.start_ticking(u32::try_from(tick).unwrap_or(u32::MAX));
        let scale = TimeScale::from_hz(hz);
        let since_power_on = scale.ns(entry_tsc) < POWER_ON_PLAUSIBLE_NS;
        Self {
            scale,
            origin: if since_power_on { 0 } else { entry_tsc },
            hz,
            source,
        }
    }

    /// Nanoseconds since [`origin`](Self::origin).
    pub fn now_ns(&self) -> u64 {
        self.scale.ns(tsc().saturating_sub(self.origin))
    }

    /// The meaning of time 0, for the log: QEMU starts the counter at power-on, where the
    /// accelerator allows it.
    pub fn origin(&self) -> &'static str {
        if self.origin == 0 {
            "power-on"
        } else {
            "entry"
        }
    }
}

/// The time stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has the counter, and CR4.TSD is clear.
    unsafe { _rdtsc() }
}

/// Both counters at one moment: the time stamp counter is taken halfway
/// between just before and just after the slow read of the other one.
fn look(apic: &LocalApic) -> (u64, u32) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..LOOKS {
        let before = tsc();
        let counted = apic.counted();
        let width = tsc() - before;
        if width < best.0 {
            best = (width, before + width / 2, counted);
        }
    }
    (best.1, best.2)
}

/// The rate by CPUID: that of the CPU (SDM 3B, 20.7.3) or that of the
/// hypervisor, in kHz.
fn hz_by_cpuid() -> Option<u64> {
    if __cpuid(LEAF_MAX).eax >= LEAF_TSC {
        let leaf = __cpuid(LEAF_TSC);
        let ratio = u64::from(leaf.ecx) * u64::from(leaf.ebx);
        if let Some(hz @ 1..) = ratio.checked_div(leaf.eax.into()) {
            return Some(hz);
        }
    }
    if __cpuid(1).ecx & HYPERVISOR_BIT != 0
        && __cpuid(LEAF_HYPERVISOR).eax >= LEAF_HYPERVISOR_TSC
        && let khz @ 1.. = __cpuid(LEAF_HYPERVISOR_TSC).eax
    {
        return Some(u64::from(khz) * 1000);
    }
    None
}
