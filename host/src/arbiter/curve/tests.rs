//! Curves by hand, and properties of random ones.

use proptest::prelude::*;

use super::super::fixtures::{curve, curves};
use super::*;

fn refused(accesses: f64, points: &[(u32, f64)]) -> String {
    let points = points.iter();
    let points = points.map(|&(blocks, misses)| Point { blocks, misses });
    Curve::new(accesses, points)
        .expect_err("no curve")
        .to_string()
}

/// Accesses, points, and the sentence that refuses them.
type Case<'a> = (f64, &'a [(u32, f64)], &'a str);

#[test]
fn what_is_no_curve_is_refused_in_a_sentence() {
    let many: Vec<(u32, f64)> = (1..=1025).map(|blocks| (blocks, 1.0)).collect();
    let cases: [Case; 12] = [
        (1.0, &[], "a curve without points: expected 1 to 1024"),
        (1.0, &many, "a curve of 1025 points: expected 1 to 1024"),
        (
            f64::NAN,
            &[(1, 0.0)],
            "a curve of NaN accesses: expected 0 to 9007199254740992",
        ),
        (
            -1.0,
            &[(1, 0.0)],
            "a curve of -1 accesses: expected 0 to 9007199254740992",
        ),
        (
            1e16,
            &[(1, 0.0)],
            "a curve of 10000000000000000 accesses: expected 0 to 9007199254740992",
        ),
        (
            9.0,
            &[(4, f64::NAN)],
            "NaN misses at 4 blocks: expected 0 or more",
        ),
        (
            9.0,
            &[(4, -2.0)],
            "-2 misses at 4 blocks: expected 0 or more",
        ),
        (
            9.0,
            &[(4, 10.0)],
            "10 misses at 4 blocks: more than all 9 accesses",
        ),
        (
            9.0,
            &[(4, f64::INFINITY)],
            "inf misses at 4 blocks: more than all 9 accesses",
        ),
        (
            9.0,
            &[(4, 5.0), (4, 4.0)],
            "a point at 4 blocks behind one at 4: sizes must ascend",
        ),
        (
            9.0,
            &[(0, 5.0), (0, 4.0)],
            "a point at 0 blocks behind one at 0: sizes must ascend",
        ),
        (
            9.0,
            &[(4, 5.0), (8, 6.0)],
            "misses rise from 5 at 4 blocks to 6 at 8: a larger cache never misses more",
        ),
    ];
    for (accesses, points, sentence) in cases {
        assert_eq!(refused(accesses, points), sentence);
    }
    assert!(
        Curve::new(
            9.0,
            many[..1024]
                .iter()
                .map(|&(blocks, misses)| Point { blocks, misses })
        )
        .is_ok()
    );
}

#[test]
fn misses_lie_on_the_polyline() {
    let curve = curve(100.0, &[(10, 60.0), (20, 60.0), (21, 10.0)]);
    let sizes = [
        (0, 100.0),
        (5, 80.0),
        (10, 60.0),
        (15, 60.0),
        (20, 60.0),
        (21, 10.0),
        (u32::MAX, 10.0),
    ];
    for (size, misses) in sizes {
        assert_eq!(curve.misses(size), misses, "{size} blocks");
    }
    assert_eq!(curve.size_for(200.0), Some(0));
    assert_eq!(curve.size_for(80.0), Some(5));
    assert_eq!(curve.size_for(79.0), Some(6));
    assert_eq!(curve.size_for(60.0), Some(10));
    assert_eq!(curve.size_for(59.0), Some(21));
    assert_eq!(curve.size_for(9.0), None);
    assert_eq!(curve.working_set(), 21);
}

#[test]
fn a_working_set_leaves_one_percent() {
    // 20 misses at 80 blocks; 21 of 100 are enough, at 79.
    assert_eq!(curve(100.0, &[(80, 20.0), (200, 20.0)]).working_set(), 79);
    assert_eq!(curve(0.0, &[(80, 0.0)]).working_set(), 0);
}

#[test]
fn a_hull_cuts_off_cliffs() {
    let cliff = curve(100.0, &[(50, 100.0), (51, 10.0), (100, 0.0)]);
    let hull = curve(100.0, &[(51, 10.0), (100, 0.0)]);
    assert_eq!(cliff.hull(), hull);
    // From a size behind the cliff on, it is convex; before it, the rest of the plateau is cut.
    let within = cliff.hull_within(25, 60);
    let blocks: Vec<u32> = within.iter().map(|point| point.blocks).collect();
    assert_eq!(blocks, [25, 51, 60]);
    assert_eq!(cliff.hull_within(7, 7).len(), 1);
}

#[test]
fn an_estimate_goes_through_what_was_measured_and_on_at_half_the_slope() {
    let curve = Curve::estimated(100, 60, 30, 8);
    assert_eq!(curve.misses(0), 100.0);
    assert_eq!(curve.misses(30), 40.0);
    assert_eq!(curve.misses(40), 30.0);
    assert_eq!(curve.size_for(0.0), Some(70));
    // Without hits no size is known to help, without accesses none is needed.
    assert_eq!(Curve::estimated(100, 0, 30, 8).floor(), 100.0);
    assert_eq!(Curve::estimated(0, 0, 30, 8).working_set(), 0);
    assert_eq!(Curve::estimated(100, 0, 0, 8).size_for(0.0), Some(8));
    assert_eq!(Curve::estimated(100, 900, 30, 8).floor(), 0.0);
}

#[test]
fn a_curve_without_accesses_has_no_shape() {
    assert_eq!(curve(0.0, &[(4, 0.0)]).rescaled(5.0), None);
    let half = curve(8.0, &[(4, 2.0)]).rescaled(4.0);
    assert_eq!(half, Some(curve(4.0, &[(4, 1.0)])));
}

proptest! {
    #[test]
    fn misses_never_rise_and_sizes_are_the_least(curve in curves(200, 12), misses in 0.0..12_000.0_f64) {
        for size in 0..=400 {
            prop_assert!(curve.misses(size) >= curve.misses(size + 1));
        }
        let least = (0..=400).find(|&size| curve.misses(size) <= misses);
        prop_assert_eq!(curve.size_for(misses), least);
    }

    #[test]
    fn a_hull_is_convex_and_the_largest_below(curve in curves(200, 12)) {
        let hull = curve.hull();
        let slopes: Vec<f64> = hull.points().windows(2).map(|ends| slope(ends[0], ends[1])).collect();
        prop_assert!(slopes.windows(2).all(|pair| pair[0] > pair[1]));
        for size in 0..=220 {
            prop_assert!(hull.misses(size) <= curve.misses(size) * (1.0 + 1e-12));
        }
        // Its corners are points of the curve: nothing between the two is lower.
        for corner in hull.points() {
            prop_assert_eq!(corner.misses, curve.misses(corner.blocks));
        }
    }

    #[test]
    fn an_estimate_is_a_curve(accesses: u64, hits: u64, held: u32, base: u32) {
        let estimate = Curve::estimated(accesses, hits, held, base);
        let same = Curve::new(estimate.accesses(), estimate.points().iter().copied());
        prop_assert_eq!(same, Ok(estimate));
    }
}
