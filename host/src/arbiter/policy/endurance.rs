//! `endurance`: only what a VM reads again decides its size, and caches are advised to keep off the SSD
//! what is not read again.
//!
//! - The useful reuse distance and the write policy of ECI-Cache (Ahmadian, Mutlu and Asadi,
//!   "ECI-Cache: A high-endurance and cost-efficient I/O caching scheme for virtualized platforms",
//!   SIGMETRICS 2018): a block that is written again and again occupies a cache and wears the SSD,
//!   and saves no read. So VMs that mostly write are advised to
//!   [bypass writes](Advice::bypass_writes).
//! - A read that misses writes to the SSD too, as its block is brought in. That is worth it if the
//!   block is read again before it goes. Where more reads miss than hit, a block that is brought in is
//!   read again less than once on average, and the VM is advised to
//!   [admit reused blocks only](Advice::admit_reused), as LARC does (Huang et al., "Improving
//!   flash-based disk cache with Lazy Adaptive Replacement", MSST 2013).
//!
//! A VM gets the working set of its reads; the rest stays free. When these do not fit, blocks go to
//! where they save the most misses of reads.
//!
//! Without a curve of reads, the curve of all requests stands in for it, scaled to the reads.

use vssd::advice::Advice;

use super::{Plan, Policy, PolicyName, Reason};
use crate::arbiter::curve::Curve;
use crate::arbiter::descent::descend;
use crate::arbiter::problem::Problem;
use crate::arbiter::vm::Vm;

/// The part of the accesses above which writes are better not cached, the threshold of ECI-Cache.
pub const BYPASS_WRITE_RATIO: f64 = 0.5;

/// The part of the reads that miss above which a block is read again less than once before it goes.
pub const REUSED_MISS_RATIO: f64 = 0.5;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Endurance;

impl Policy for Endurance {
    fn name(&self) -> PolicyName {
        PolicyName::Endurance
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let curves = problem.vms.iter().zip(&problem.curves);
        let curves: Vec<Curve> = curves.map(|(vm, all)| reads(vm, all)).collect();
        let useful: Vec<u32> = curves.iter().map(Curve::working_set).collect();
        let spans = problem.spans_up_to(&useful);
        let total: u64 = spans.iter().map(|span| u64::from(span.ceiling)).sum();
        let targets = if total <= u64::from(problem.blocks) {
            spans.iter().map(|span| span.ceiling).collect()
        } else {
            descend(problem.blocks, &curves, &spans).targets
        };
        let reasons = useful.into_iter().map(Reason::UsefulReuse).collect();
        let vms = problem.vms.iter().zip(&curves).zip(&targets);
        let advice = vms.map(|((vm, curve), &target)| Advice {
            bypass_writes: vm.demand.write_ratio() > BYPASS_WRITE_RATIO,
            admit_reused: curve.misses(target) > REUSED_MISS_RATIO * curve.accesses(),
        });
        Plan {
            advice: advice.collect(),
            ..Plan::exact(targets, problem, reasons)
        }
    }
}

/// The misses of reads, of a VM with the curve `all`. In what a guest reports as its curve of reads,
/// writes are accesses that miss at any size.
fn reads(vm: &Vm, all: &Curve) -> Curve {
    let writes = all.accesses() * vm.demand.write_ratio();
    let reported = vm.demand.reads.as_ref();
    reported
        .and_then(|curve| curve.rescaled(all.accesses()))
        .map(|curve| curve.without_misses(writes))
        .or_else(|| all.rescaled(all.accesses() - writes))
        .unwrap_or_else(|| all.clone())
}
