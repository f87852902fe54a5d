//! Against a model that hands out one block at a time.

use proptest::prelude::*;

use super::super::fixtures::sum;
use super::*;

/// Hands out blocks one by one, each to the VM that is at the lowest level with it.
fn one_by_one(blocks: u32, spans: &[Span], prices: &[Price]) -> Vec<u32> {
    let mut held: Vec<u32> = spans.iter().map(|span| span.floor).collect();
    for _ in sum(&held)..blocks.into() {
        let may =
            (0..held.len()).filter(|&vm| held[vm] < spans[vm].ceiling && prices[vm].weight > 0.0);
        let level = |vm: usize| prices[vm].level(held[vm] + 1);
        let lowest = may.min_by(|&one, &other| level(one).total_cmp(&level(other)));
        let Some(vm) = lowest else { break };
        held[vm] += 1;
    }
    held
}

fn spans(bounds: &[(u32, u32)]) -> Vec<Span> {
    let spans = bounds.iter();
    spans
        .map(|&(floor, ceiling)| Span { floor, ceiling })
        .collect()
}

fn weights(weights: &[u32]) -> Vec<Price> {
    weights.iter().map(|&weight| weight.into()).collect()
}

#[test]
fn floors_and_ceilings_hold_and_the_rest_is_in_proportion() {
    let free = spans(&[(0, 1000), (0, 1000), (0, 1000)]);
    assert_eq!(fill(700, &free, &weights(&[1, 2, 4])), [100, 200, 400]);
    // The first is held up by its floor, the last down by its ceiling: 250 for the second.
    let bound = spans(&[(150, 1000), (0, 1000), (0, 300)]);
    assert_eq!(fill(700, &bound, &weights(&[1, 2, 4])), [150, 250, 300]);
    // More than all may have stays.
    assert_eq!(
        fill(700, &spans(&[(0, 5), (1, 7)]), &weights(&[1, 1])),
        [5, 7]
    );
    // Odd blocks go to whom they are the smallest part of, then to the first.
    assert_eq!(fill(8, &free, &weights(&[1, 1, 1])), [3, 3, 2]);
    assert_eq!(fill(0, &free, &weights(&[1, 1, 1])), [0, 0, 0]);
    assert_eq!(fill(9, &[], &[]), [0; 0]);
}

#[test]
fn idle_blocks_cost_more() {
    let free = spans(&[(0, 1000), (0, 1000)]);
    let price = |active| Price {
        weight: 1.0,
        active,
        idle_factor: 4.0,
    };
    // At a level of 340 the first has 100 in use and 60 idle ones, which count as 240.
    assert_eq!(fill(500, &free, &[price(100.0), price(1000.0)]), [160, 340]);
}

#[test]
fn huge_pools_and_weights_are_filled_to_the_last_block() {
    let free = spans(&[(0, u32::MAX), (7, u32::MAX), (0, u32::MAX)]);
    let filled = fill(u32::MAX, &free, &weights(&[1, 10_000, 3]));
    assert_eq!(sum(&filled), u64::from(u32::MAX));
    let price = |weight: f64, active: f64| Price {
        weight,
        active,
        idle_factor: 4.0,
    };
    let filled = fill(
        u32::MAX,
        &free,
        &[price(1e19, 0.0), price(1e-3, 5.0), price(1.0, 1e12)],
    );
    assert_eq!(sum(&filled), u64::from(u32::MAX));
}

fn problems() -> impl Strategy<Value = (u32, Vec<Span>, Vec<Price>)> {
    let price = (
        0..=5_u32,
        prop_oneof![Just(f64::INFINITY), 0.0..40.0_f64],
        1.0..5.0_f64,
    );
    let vm = (0..=20_u32, 0..=60_u32, price);
    (0..=200_u32, prop::collection::vec(vm, 1..=6)).prop_map(|(more, vms)| {
        let spans: Vec<Span> = vms
            .iter()
            .map(|&(floor, extra, _)| Span {
                floor,
                ceiling: floor + extra,
            })
            .collect();
        let prices = vms
            .iter()
            .map(|&(_, _, (weight, active, idle_factor))| Price {
                weight: weight.into(),
                active,
                idle_factor,
            });
        let floors: u32 = spans.iter().map(|span| span.floor).sum();
        (floors + more, spans, prices.collect())
    })
}

proptest! {
    #[test]
    fn filling_is_handing_out_one_by_one((blocks, spans, prices) in problems()) {
        prop_assert_eq!(fill(blocks, &spans, &prices), one_by_one(blocks, &spans, &prices));
    }

    #[test]
    fn the_greatest_is_exact(most in 0.0..1e300_f64, bound in 0.0..1e300_f64) {
        prop_assert_eq!(greatest(most, |value| value <= bound), most.min(bound));
    }
}
