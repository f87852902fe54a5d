//! Against a model that hands out one block at a time along the hulls.

use proptest::prelude::*;

use super::super::fixtures::{curve, curves, sum};
use super::*;

fn misses(curves: &[Curve], targets: &[u32]) -> f64 {
    let vms = curves.iter().zip(targets);
    vms.map(|(curve, target)| curve.misses(*target)).sum()
}

#[test]
fn blocks_go_to_the_steepest_curve_first() {
    let curves = [
        curve(100.0, &[(10, 0.0)]),
        curve(100.0, &[(20, 40.0), (60, 0.0)]),
    ];
    let spans = [Span {
        floor: 0,
        ceiling: 100,
    }; 2];
    let divided = |blocks| {
        let Descent { targets, slope } = descend(blocks, &curves, &spans);
        (targets, slope)
    };
    assert_eq!(divided(4), (vec![4, 0], 10.0));
    assert_eq!(divided(25), (vec![10, 15], 3.0));
    assert_eq!(divided(40), (vec![10, 30], 1.0));
    // No VM gains from the last 30.
    assert_eq!(divided(100), (vec![10, 60], 0.0));
}

#[test]
fn the_part_below_a_floor_does_not_count() {
    // From 0 the hull is flat up to the cliff; from 90 on it is steep.
    let cliff = curve(100.0, &[(99, 100.0), (100, 0.0)]);
    let curves = [cliff, curve(100.0, &[(50, 0.0)])];
    let spans = [
        Span {
            floor: 90,
            ceiling: 100,
        },
        Span {
            floor: 0,
            ceiling: 100,
        },
    ];
    assert_eq!(descend(110, &curves, &spans).targets, [100, 10]);
}

proptest! {
    #[test]
    fn on_hulls_no_division_by_single_blocks_is_better(
        vms in prop::collection::vec((curves(40, 6), 0..10_u32, 0..60_u32), 1..=5),
        more in 0..120_u32,
    ) {
        let spans: Vec<Span> = vms
            .iter()
            .map(|&(_, floor, extra)| Span { floor, ceiling: floor + extra })
            .collect();
        // The hull of what is left of a curve, as a curve.
        let hulls: Vec<Curve> = vms
            .iter()
            .zip(&spans)
            .map(|((curve, ..), span)| {
                let hull = curve.hull_within(span.floor, span.ceiling);
                Curve::new(curve.accesses(), hull).expect("a hull is a curve")
            })
            .collect();
        let floors: Vec<u32> = spans.iter().map(|span| span.floor).collect();
        let blocks = sum(&floors) as u32 + more;
        let descent = descend(blocks, &hulls, &spans);
        let mut model = floors;
        for _ in 0..more {
            let gain = |vm: usize| hulls[vm].misses(model[vm]) - hulls[vm].misses(model[vm] + 1);
            let may = (0..vms.len()).filter(|&vm| model[vm] < spans[vm].ceiling);
            let Some(best) = may.max_by(|&one, &other| gain(one).total_cmp(&gain(other))) else {
                break;
            };
            model[best] += 1;
        }
        let (found, expected) = (misses(&hulls, &descent.targets), misses(&hulls, &model));
        prop_assert!((found - expected).abs() <= 1e-6 * (1.0 + expected), "{} {}", found, expected);
        prop_assert!(sum(&descent.targets) <= blocks.into());
    }
}
