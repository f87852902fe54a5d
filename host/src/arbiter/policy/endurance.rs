//! `endurance`: only what a VM reads again decides its size, and VMs that mostly write get a
//! read-only cache: the useful reuse distance and the write policy of ECI-Cache (Ahmadian, Mutlu
//! and Asadi, "ECI-Cache: A high-endurance and cost-efficient I/O caching scheme for virtualized
//! platforms", SIGMETRICS 2018).
//!
//! A block that is written again and again occupies a cache and wears the SSD, and saves no read.
//! A VM gets the working set of its reads; the rest stays free. When these do not fit, blocks go to
//! where they save the most misses of reads.
//!
//! Without a curve of reads, the curve of all requests stands in for it, scaled to the reads.

use super::{Plan, Policy, PolicyName, Reason, WriteAdvice};
use crate::arbiter::curve::Curve;
use crate::arbiter::descent::descend;
use crate::arbiter::problem::Problem;
use crate::arbiter::vm::Vm;

/// The part of the accesses from which writes are better not cached, the threshold of ECI-Cache.
pub const BYPASS_WRITE_RATIO: f64 = 0.5;

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
        let advice = problem.vms.iter().map(|vm| {
            if vm.demand.write_ratio() > BYPASS_WRITE_RATIO {
                WriteAdvice::Bypass
            } else {
                WriteAdvice::Cache
            }
        });
        Plan {
            advice: advice.collect(),
            ..Plan::exact(targets, problem, reasons)
        }
    }
}

/// The misses of reads, of a VM with the curve `all`.
fn reads(vm: &Vm, all: &Curve) -> Curve {
    let reads = all.accesses() * (1.0 - vm.demand.write_ratio());
    let reported = vm.demand.reads.as_ref();
    reported
        .and_then(|curve| curve.rescaled(reads.min(curve.accesses())))
        .or_else(|| all.rescaled(reads))
        .unwrap_or_else(|| all.clone())
}
