//! Claims of the overhead experiment.

use std::collections::BTreeMap;

use results::verdict::{Source, Table, Verdict, median, millis};

use super::rows::{OverheadPaceRow, OverheadRow};
use crate::experiments::common::encoding::{OLD, OURS};

/// The point at which encodings are compared: 16 GiB of scattered blocks.
const COMPARED_BYTES: u64 = 16 << 30;

/// How many times faster than `list-4096` ours is to be there.
const REQUIRED_SPEEDUP: f64 = 50.0;

/// How much slower than shrinking growing may be in one median of few
/// repetitions without that being more than this machine's noise.
const NOISE: f64 = 1.25;

/// Medians over the repetitions of one point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Bytes taken and given back.
    pub bytes: u64,
    /// Shrink, nanoseconds.
    pub shrink_ns: f64,
    /// Grow, nanoseconds.
    pub grow_ns: f64,
    /// Of the shrink, work of the device, nanoseconds.
    pub shrink_device_ns: f64,
    /// Of the grow, work of the device, nanoseconds.
    pub grow_device_ns: f64,
    /// SURRENDERs of a shrink.
    pub exchanges: u32,
}

/// The points by encoding and pick, by size.
pub(crate) fn points(rows: &[OverheadPaceRow]) -> BTreeMap<(String, String), Vec<Point>> {
    let mut groups: BTreeMap<(String, String, u32), Vec<&OverheadPaceRow>> = BTreeMap::new();
    for row in rows {
        groups
            .entry((row.encoding.clone(), row.pick.clone(), row.blocks))
            .or_default()
            .push(row);
    }
    let mut points: BTreeMap<(String, String), Vec<Point>> = BTreeMap::new();
    for ((encoding, pick, blocks), rows) in groups {
        let of = |value: fn(&OverheadPaceRow) -> u64| {
            median(rows.iter().map(|row| value(row))).unwrap_or(f64::NAN)
        };
        points.entry((encoding, pick)).or_default().push(Point {
            bytes: u64::from(blocks) * u64::from(rows[0].block_size_bytes),
            shrink_ns: of(|row| row.shrink_ns),
            grow_ns: of(|row| row.grow_ns),
            shrink_device_ns: of(|row| row.shrink_device_ns),
            grow_device_ns: of(|row| row.grow_device_ns),
            exchanges: rows[0].shrink_exchanges,
        });
    }
    points
}

fn at(
    points: &BTreeMap<(String, String), Vec<Point>>,
    encoding: &str,
    bytes: u64,
) -> Option<Point> {
    points
        .get(&(encoding.to_owned(), "scattered".to_owned()))?
        .iter()
        .find(|point| point.bytes == bytes)
        .copied()
}

/// Judges the rows. Twins have no times: then only what moved is judged.
pub(crate) fn judge(rows: &[OverheadRow], paces: &[OverheadPaceRow], timed: bool) -> Verdict {
    let points = points(paces);
    let mut verdict = Verdict {
        title: "Time to shrink and to grow".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![table(&points), exchange_table(rows)],
    };
    if timed {
        growth_claim(&mut verdict, &points);
        grow_claim(&mut verdict, &points);
        speed_claim(&mut verdict, &points);
    } else {
        verdict.findings.push(
            "Times are not judged: guests were twins, whose clock is virtual. Run it with \
             `--transport qemu` for those."
                .to_owned(),
        );
    }
    verdict.claim(
        Source::Requirement,
        "Every resize moves all blocks asked for, and the driver confirms the list that results.",
        !rows.is_empty() && rows.iter().all(|row| row.agreed),
        format!(
            "{} of {} pairs of shrink and grow.",
            rows.iter().filter(|row| row.agreed).count(),
            rows.len()
        ),
    );
    verdict
}

fn growth_claim(verdict: &mut Verdict, points: &BTreeMap<(String, String), Vec<Point>>) {
    let old = points.get(&(OLD.to_owned(), "scattered".to_owned()));
    let ends = old.and_then(|points| points.first().zip(points.last()));
    verdict.claim(
        Source::Defence2017,
        "With the exchange of 2017, the time to shrink grows with the number of blocks.",
        ends.is_some_and(|(first, last)| {
            last.bytes > first.bytes && last.shrink_ns > first.shrink_ns
        }),
        ends.map_or_else(
            || "It was not measured.".to_owned(),
            |(first, last)| {
                format!(
                    "{} ms for {} MiB, {} ms for {} MiB.",
                    millis(first.shrink_ns as u64),
                    first.bytes >> 20,
                    millis(last.shrink_ns as u64),
                    last.bytes >> 20
                )
            },
        ),
    );
}

fn grow_claim(verdict: &mut Verdict, points: &BTreeMap<(String, String), Vec<Point>>) {
    let ours: Vec<&Point> = points
        .iter()
        .filter(|((encoding, _), _)| encoding == OURS)
        .flat_map(|(_, points)| points)
        .collect();
    let shrink: f64 = ours.iter().map(|point| point.shrink_ns).sum();
    let grow: f64 = ours.iter().map(|point| point.grow_ns).sum();
    let worst = ours
        .iter()
        .max_by(|a, b| (a.grow_ns / a.shrink_ns).total_cmp(&(b.grow_ns / b.shrink_ns)));
    verdict.claim(
        Source::Requirement,
        "Growing is no slower than shrinking: in sum over all sizes, and at no size by more than a quarter.",
        worst.is_some_and(|worst| grow <= shrink && worst.grow_ns <= NOISE * worst.shrink_ns),
        worst.map_or_else(
            || "It was not measured.".to_owned(),
            |worst| {
                format!(
                    "Growing took {:.2} times as long in sum, and {:.2} times at worst, at {} MiB.",
                    grow / shrink,
                    worst.grow_ns / worst.shrink_ns,
                    worst.bytes >> 20
                )
            },
        ),
    );
}

fn speed_claim(verdict: &mut Verdict, points: &BTreeMap<(String, String), Vec<Point>>) {
    let pair = at(points, OURS, COMPARED_BYTES).zip(at(points, OLD, COMPARED_BYTES));
    let factors =
        pair.map(|(ours, old)| (old.shrink_ns / ours.shrink_ns, old.grow_ns / ours.grow_ns));
    verdict.claim(
        Source::Requirement,
        "16 GiB of scattered 4 KiB blocks shrinks, and grows back, at least 50 times faster than with list-4096.",
        factors.is_some_and(|(shrink, grow)| shrink.min(grow) >= REQUIRED_SPEEDUP),
        pair.zip(factors).map_or_else(
            || "It was not measured.".to_owned(),
            |((ours, old), (shrink, grow))| {
                format!(
                    "Shrink {} ms against {} ms, {shrink:.0} times faster; grow {} ms against {} ms, \
                     {grow:.0} times faster.",
                    millis(ours.shrink_ns as u64),
                    millis(old.shrink_ns as u64),
                    millis(ours.grow_ns as u64),
                    millis(old.grow_ns as u64)
                )
            },
        ),
    );
}

fn table(points: &BTreeMap<(String, String), Vec<Point>>) -> Table {
    Table {
        title: "Medians".to_owned(),
        head: [
            "encoding",
            "pick",
            "size (MiB)",
            "shrink (ms)",
            "of that device (ms)",
            "grow (ms)",
            "of that device (ms)",
            "exchanges",
            "shrink (GiB/s)",
            "grow (GiB/s)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: points
            .iter()
            .flat_map(|((encoding, pick), points)| {
                points.iter().map(move |point| {
                    let rate = |ns: f64| {
                        format!(
                            "{:.0}",
                            point.bytes as f64 / (1u64 << 30) as f64 / (ns / 1e9)
                        )
                    };
                    vec![
                        encoding.clone(),
                        pick.clone(),
                        (point.bytes >> 20).to_string(),
                        millis(point.shrink_ns as u64),
                        millis(point.shrink_device_ns as u64),
                        millis(point.grow_ns as u64),
                        millis(point.grow_device_ns as u64),
                        point.exchanges.to_string(),
                        rate(point.shrink_ns),
                        rate(point.grow_ns),
                    ]
                })
            })
            .collect(),
    }
}

/// What travelled, of the first repetition of each point.
fn exchange_table(rows: &[OverheadRow]) -> Table {
    Table {
        title: "Exchanges".to_owned(),
        head: [
            "encoding",
            "pick",
            "size (MiB)",
            "exchanges of the shrink",
            "bytes",
            "exchanges of the grow",
            "bytes",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: rows
            .iter()
            .filter(|row| row.repetition == 0)
            .map(|row| {
                let bytes = u64::from(row.blocks) * u64::from(row.block_size_bytes);
                vec![
                    row.encoding.clone(),
                    row.pick.clone(),
                    (bytes >> 20).to_string(),
                    row.shrink_exchanges.to_string(),
                    row.shrink_message_bytes.to_string(),
                    row.grow_exchanges.to_string(),
                    row.grow_message_bytes.to_string(),
                ]
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spoils good rows.
    type Fault = fn(&mut Vec<OverheadRow>, &mut Vec<OverheadPaceRow>);

    fn pace(encoding: &str, gib: u32, shrink_ns: u64, grow_ns: u64) -> OverheadPaceRow {
        OverheadPaceRow {
            encoding: encoding.to_owned(),
            pick: "scattered".to_owned(),
            repetition: 0,
            block_size_bytes: 4096,
            capacity_blocks: 8 << 20,
            blocks: gib << 18,
            shrink_exchanges: 1,
            shrink_ns,
            shrink_device_ns: 1,
            grow_ns,
            grow_device_ns: 1,
        }
    }

    fn good() -> Vec<OverheadPaceRow> {
        vec![
            pace(OURS, 1, 100, 90),
            pace(OLD, 1, 1_000, 1_000),
            pace(OURS, 16, 200, 190),
            pace(OLD, 16, 20_000, 20_000),
        ]
    }

    fn counts(paces: &[OverheadPaceRow]) -> Vec<OverheadRow> {
        let row = |pace: &OverheadPaceRow| OverheadRow {
            encoding: pace.encoding.clone(),
            pick: pace.pick.clone(),
            repetition: pace.repetition,
            block_size_bytes: pace.block_size_bytes,
            capacity_blocks: pace.capacity_blocks,
            blocks: pace.blocks,
            shrink_exchanges: 1,
            shrink_message_bytes: 100,
            grow_exchanges: 1,
            grow_message_bytes: 100,
            agreed: true,
        };
        paces.iter().map(row).collect()
    }

    #[test]
    fn good_and_bad_runs_are_told_apart() {
        let verdict = judge(&counts(&good()), &good(), true);
        assert!(verdict.holds(), "{:?}", verdict.missed());
        assert!(!judge(&[], &[], true).holds());
        let faults: [(&str, Fault); 5] = [
            ("slow growing", |_, paces| paces[2].grow_ns = 300),
            ("too little faster", |_, paces| paces[3].grow_ns = 9_000),
            ("not confirmed", |rows, _| rows[1].agreed = false),
            ("16 GiB missing", |_, paces| paces.truncate(2)),
            ("no times", |_, paces| paces.clear()),
        ];
        for (name, fault) in faults {
            let (mut rows, mut paces) = (counts(&good()), good());
            fault(&mut rows, &mut paces);
            assert!(!judge(&rows, &paces, true).holds(), "{name} went unseen");
        }
    }

    #[test]
    fn of_twins_only_what_moved_is_judged() {
        let mut rows = counts(&good());
        let verdict = judge(&rows, &[], false);
        assert!(verdict.holds());
        assert!(verdict.findings[0].contains("virtual"));
        rows[0].agreed = false;
        assert!(!judge(&rows, &[], false).holds());
        assert!(!judge(&[], &[], false).holds());
    }
}
