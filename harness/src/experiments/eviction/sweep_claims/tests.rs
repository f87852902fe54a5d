//! Verdicts of example rows.

use workloads::{GuestPick, HostPick};

use super::*;

/// Points of `sd` by `share` at which the guest's picks save so many of a thousand reads.
fn table(points: &[(&str, &str, &[i64])]) -> SweepTable {
    let mut rows = Vec::new();
    for (point, (sd, share, savings)) in points.iter().enumerate() {
        for (seed, saving) in savings.iter().enumerate() {
            for (picker, misses) in [
                (Picker::Guest(GuestPick::Sample), 500 - saving),
                (Picker::Host(HostPick::Uniform), 500),
            ] {
                rows.push(SweepRow {
                    point: point as u32,
                    values: vec![(*sd).to_owned(), (*share).to_owned()],
                    seed: seed as u64,
                    picker,
                    reads: 1000,
                    hits: (1000 - misses) as u64,
                    misses: misses as u64,
                });
            }
        }
    }
    SweepTable {
        axes: vec!["sd".to_owned(), "shrink_percent".to_owned()],
        rows,
    }
}

#[test]
fn the_line_where_it_stops_paying_is_found() {
    let table = table(&[
        ("100", "5", &[200, 210, 205]),
        ("200", "5", &[30, 31, 29]),
        ("400", "5", &[0, 1, -1]),
        ("100", "50", &[300, 301, 299]),
        ("200", "50", &[200, 201, 199]),
        ("400", "50", &[100, 101, 99]),
        // More on average, but not significantly.
        ("100", "95", &[90, -60, 10]),
        ("200", "95", &[0, 0, 0]),
        ("400", "95", &[-50, -51, -49]),
    ]);
    let landscape = Landscape::of(&table).unwrap();
    assert_eq!(landscape.values[0], ["100", "200", "400"]);
    let line = |share: &str| {
        let points: Vec<_> = ["100", "200", "400"]
            .map(|sd| landscape.at(&[sd, share]))
            .to_vec();
        crossover(&landscape.values[0], &points)
    };
    let Crossover::Between {
        from,
        to,
        about: Some(about),
        stops: true,
    } = line("5")
    else {
        panic!("{:?}", line("5"));
    };
    assert_eq!((from.as_str(), to.as_str()), ("200", "400"));
    // From 3 points to 0, 1 point is two thirds of the way, in ratio.
    assert!(
        (about - 200.0 * 2f64.powf(2.0 / 3.0)).abs() < 1.0,
        "{about}"
    );
    assert_eq!(line("50"), Crossover::PaysEverywhere);
    assert_eq!(line("95"), Crossover::PaysNowhere);
    let verdict = judge("Spread", &table, 0, 0);
    assert!(verdict.holds());
    assert!(
        verdict.findings[0].starts_with("At 5 of 9 points"),
        "{:?}",
        verdict.findings
    );
    assert!(verdict.findings[0].contains("at 1 it has more"));
    assert!(verdict.tables[0].rows[0][1].contains("between 200 and 400, at about 317"));
}

#[test]
fn what_is_missing_or_does_not_add_up_is_seen() {
    let mut table = table(&[("1", "1", &[10])]);
    assert!(judge("", &table, 0, 0).holds());
    assert!(!judge("", &table, 1, 0).holds());
    assert!(!judge("", &table, 0, 1).holds());
    table.rows[0].hits += 1;
    assert!(!judge("", &table, 0, 0).holds());
    assert!(!judge("", &SweepTable::default(), 0, 0).holds());
    // One seed has no interval.
    assert!(!Landscape::of(&table).unwrap().points[0].pays());
}

#[test]
fn texts_are_categories_and_axes_know_their_kind() {
    assert!(is_geometric(&[1024.0, 2050.0, 4100.0, 8190.0]));
    assert!(!is_geometric(&[5.0, 10.0, 15.0, 20.0]));
    assert!(!is_geometric(&[0.0, 1.0, 2.0]));
    assert_eq!(three_digits(5432.1), "5430");
    assert_eq!(three_digits(0.01234), "0.0123");
    assert_eq!(three_digits(12.345), "12.3");
}
