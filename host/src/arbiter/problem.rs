//! What a policy is to divide, and among whom.

use super::curve::Curve;
use super::fill::{Price, fill};
use super::span::Span;
use super::vm::Vm;

/// A pool and its VMs. The floors always fit into the pool, so that a policy that starts with them
/// and hands out the rest keeps every invariant.
#[derive(Debug)]
pub struct Problem<'a> {
    pub(super) blocks: u32,
    pub(super) vms: &'a [Vm],
    /// Blocks that each VM holds, or would hold by plans that are not carried out.
    pub(super) held: Vec<u32>,
    pub(super) spans: Vec<Span>,
    /// The expected misses of each VM.
    pub(super) curves: Vec<Curve>,
}

impl<'a> Problem<'a> {
    /// A pool of `blocks` blocks for `vms`.
    ///
    /// The floor of a VM is its reservation. Reservations that do not fit (a VM joined that was
    /// not [admitted](super::admit), or the pool lost blocks) are cut in proportion.
    pub fn new(blocks: u32, vms: &'a [Vm]) -> Self {
        let reserved: Vec<u32> = vms.iter().map(|vm| vm.bounds.reservation()).collect();
        let spans: Vec<Span> = reserved
            .iter()
            .map(|&ceiling| Span { floor: 0, ceiling })
            .collect();
        let floors = fill(blocks, &spans, &prices(&reserved));
        let spans = floors.iter().zip(vms).map(|(&floor, vm)| Span {
            floor,
            ceiling: vm.bounds.limit().min(blocks),
        });
        Self {
            blocks,
            vms,
            held: vms.iter().map(|vm| vm.held).collect(),
            spans: spans.collect(),
            curves: vms.iter().map(Vm::curve).collect(),
        }
    }

    /// What each VM may get, in the order of the VMs.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The size nearest to `blocks` that VM `index` may get.
    pub(super) fn clamp(&self, index: usize, blocks: u32) -> u32 {
        let Span { floor, ceiling } = self.spans[index];
        blocks.clamp(floor, ceiling)
    }

    /// The same VMs with other ceilings, none below the floor or above the one of before.
    pub(super) fn spans_up_to(&self, ceilings: &[u32]) -> Vec<Span> {
        let spans = ceilings.iter().enumerate();
        spans
            .map(|(index, &ceiling)| Span {
                floor: self.spans[index].floor,
                ceiling: self.clamp(index, ceiling),
            })
            .collect()
    }

    /// What `targets`, each between floor and ceiling, may be raised to.
    pub(super) fn spans_from(&self, targets: &[u32]) -> Vec<Span> {
        let spans = self.spans.iter().zip(targets);
        spans
            .map(|(span, &floor)| Span {
                floor,
                ceiling: span.ceiling,
            })
            .collect()
    }

    /// The weights of the VMs.
    pub(super) fn weights(&self) -> Vec<Price> {
        let weights = self.vms.iter().map(|vm| vm.bounds.weight().into());
        weights.collect()
    }

    /// The base of each VM, cut where they do not fit.
    pub(super) fn bases(&self) -> Vec<u32> {
        let bases: Vec<u32> = self.vms.iter().map(|vm| vm.base).collect();
        fill(self.blocks, &self.spans_up_to(&bases), &prices(&bases))
    }

    /// `targets`, each raised to the base of its VM, as far as that fits.
    pub(super) fn raised(&self, targets: &[u32], bases: &[u32]) -> Vec<u32> {
        let mut spans = self.spans_from(targets);
        for (span, &base) in spans.iter_mut().zip(bases) {
            span.ceiling = base.clamp(span.floor, span.ceiling);
        }
        fill(self.blocks, &spans, &prices(bases))
    }

    /// Raises targets by the blocks that no VM gains from: first to what a VM holds, as a block
    /// that stays costs nothing, then by weight.
    pub(super) fn hand_out_rest(&self, targets: &mut Vec<u32>) {
        let weights = self.weights();
        let mut spans = self.spans_from(targets);
        for (span, held) in spans.iter_mut().zip(&self.held) {
            span.ceiling = (*held).clamp(span.floor, span.ceiling);
        }
        *targets = fill(self.blocks, &spans, &weights);
        *targets = fill(self.blocks, &self.spans_from(targets), &weights);
    }
}

/// Blocks as prices: what is divided by them is divided in proportion.
fn prices(blocks: &[u32]) -> Vec<Price> {
    blocks.iter().map(|&blocks| blocks.into()).collect()
}
