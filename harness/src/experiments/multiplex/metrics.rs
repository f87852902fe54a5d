//! What is computed of the VMs of a period.

use super::vm::Period;

/// A VM and its period.
pub(super) struct Share {
    pub(super) weight: u32,
    pub(super) period: Period,
}

/// The mean over the active VMs of the difference between the part of the pool that each held and that
/// of its weight, relative to the latter. 0 of none.
pub(super) fn share_error(pool_blocks: u32, vms: &[Share]) -> f64 {
    let active = || vms.iter().filter(|of| of.period.accesses > 0);
    let weights: u32 = active().map(|of| of.weight).sum();
    let errors = active().map(|of| {
        let due = f64::from(pool_blocks) * f64::from(of.weight) / f64::from(weights);
        (f64::from(of.period.held) - due).abs() / due
    });
    errors.sum::<f64>() / active().count().max(1) as f64
}

/// Jain's index of the hit ratios of the active VMs (Jain, Chiu and Hawe, DEC-TR-301, 1984): 1 if all
/// have the same, 1/n if one has all hits. 1 of none.
pub(super) fn jain(vms: &[Share]) -> f64 {
    let active = vms.iter().filter(|of| of.period.accesses > 0);
    let ratios: Vec<f64> = active
        .map(|of| of.period.hits as f64 / of.period.accesses as f64)
        .collect();
    let sum: f64 = ratios.iter().sum();
    let squares: f64 = ratios.iter().map(|ratio| ratio * ratio).sum();
    if squares > 0.0 {
        sum * sum / (ratios.len() as f64 * squares)
    } else {
        1.0
    }
}

/// The part of the pool that can have been of use: of each VM as many blocks as it held and accessed.
pub(super) fn used(pool_blocks: u32, vms: &[Share]) -> f64 {
    let used = vms.iter().map(|of| of.period.held.min(of.period.distinct));
    f64::from(used.sum::<u32>()) / f64::from(pool_blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(weight: u32, held: u32, hits: u64) -> Share {
        let period = Period {
            accesses: 100,
            hits,
            distinct: 50,
            held,
            ..Period::default()
        };
        Share { weight, period }
    }

    #[test]
    fn shares_are_relative_to_weights_of_active_vms() {
        let mut vms = vec![share(1, 25, 0), share(3, 75, 0)];
        assert_eq!(share_error(100, &vms), 0.0);
        vms[0].period.held = 20;
        vms[1].period.held = 60;
        assert!((share_error(100, &vms) - 0.2).abs() < 1e-12);
        vms[0].period.accesses = 0;
        assert!((share_error(100, &vms) - 0.4).abs() < 1e-12);
        assert_eq!(share_error(100, &[]), 0.0);
    }

    #[test]
    fn jain_is_one_for_equal_hit_ratios() {
        let of = |hits: &[u64]| {
            let vms: Vec<Share> = hits.iter().map(|hits| share(1, 10, *hits)).collect();
            jain(&vms)
        };
        assert!((of(&[40, 40, 40]) - 1.0).abs() < 1e-12);
        assert!((of(&[40, 0, 0, 0]) - 0.25).abs() < 1e-12);
        assert_eq!(of(&[0, 0]), 1.0);
    }

    #[test]
    fn blocks_that_are_held_and_accessed_are_used() {
        let vms = [share(1, 20, 0), share(1, 60, 0)];
        assert!((used(100, &vms) - 0.7).abs() < 1e-12);
    }
}
