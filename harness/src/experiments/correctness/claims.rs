//! Claims of the correctness experiment.

use results::verdict::{Source, Table, Verdict, millis};

use super::rows::{CorrectnessRow, CorrectnessTimingRow, Direction};

/// "3 of 14 steps, first at step 2" for the rows that fail a check.
fn failing<'a>(
    rows: &[&'a CorrectnessRow],
    check: impl Fn(&CorrectnessRow) -> bool,
) -> Option<(usize, &'a CorrectnessRow)> {
    let bad: Vec<_> = rows.iter().filter(|row| !check(row)).collect();
    bad.first().map(|first| (bad.len(), **first))
}

fn sentence(rows: &[&CorrectnessRow], fine: &str, bad: Option<(usize, &CorrectnessRow)>) -> String {
    match bad {
        _ if rows.is_empty() => "No step was recorded.".to_owned(),
        None => fine.to_owned(),
        Some((count, first)) => format!(
            "Not at {count} of {} steps; the first is step {}, with {} blocks held by the host, \
             {} read errors, {} corrupt and {} unexpected.",
            rows.len(),
            first.step,
            first.balloon_blocks,
            first.read_errors,
            first.corrupt_blocks,
            first.unexpected_blocks
        ),
    }
}

/// Judges the rows.
pub(crate) fn judge(rows: &[CorrectnessRow], timings: &[CorrectnessTimingRow]) -> Verdict {
    let timing_of = |step: u32| timings.iter().find(|timing| timing.step == step);
    let zeros = |row: &CorrectnessRow| timing_of(row.step).map_or(0, |timing| timing.zero_blocks);
    let mut verdict = Verdict {
        title: "Correctness of resizing".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: vec![table(rows, timings)],
    };
    let all: Vec<&CorrectnessRow> = rows.iter().collect();
    let any = !rows.is_empty();
    let largest = rows.iter().map(|row| row.balloon_blocks).max().unwrap_or(0);
    let balloons = rows.iter().filter(|row| row.balloon_blocks > 0).count();

    let equal = |row: &CorrectnessRow| {
        row.read_errors == row.balloon_blocks && row.balloon_blocks == row.balloon_wanted_blocks
    };
    let bad = failing(&all, equal);
    verdict.claim(
        Source::Defence2017,
        "The number of blocks that cannot be read equals the number that the host holds.",
        any && balloons > 0 && bad.is_none(),
        sentence(
            &all,
            &format!("Equal at all {} steps, up to {largest} blocks.", rows.len()),
            bad,
        ),
    );

    let intact = |row: &CorrectnessRow| {
        row.corrupt_blocks == 0
            && row.unexpected_blocks == 0
            && row.intact_blocks + row.read_errors == row.capacity_blocks
    };
    let bad = failing(&all, intact);
    let read: u64 = rows.iter().map(|row| u64::from(row.intact_blocks)).sum();
    verdict.claim(
        Source::Defence2017,
        "All other blocks carry what was written to them.",
        any && read > 0 && bad.is_none(),
        sentence(&all, &format!("{read} blocks read back, 0 corrupt."), bad),
    );

    let bad = failing(&all, |row| row.lists_equal);
    verdict.claim(
        Source::Defence2017,
        "Guest and host have the same list of valid blocks after every step.",
        any && bad.is_none(),
        sentence(
            &all,
            &format!("Count and digest equal at all {} steps.", rows.len()),
            bad,
        ),
    );

    let walk: Vec<&CorrectnessRow> = rows.iter().filter(|row| row.part == "walk").collect();
    let back = walk.last().filter(|row| {
        row.balloon_blocks == 0 && row.read_errors == 0 && row.direction == Direction::Grow
    });
    // Nothing is written during the walk, so what was ever given up is zeros at its end.
    let given_up = walk.iter().map(|row| row.balloon_blocks).max().unwrap_or(0);
    let came_back = back.is_some_and(|row| zeros(row) > 0 && zeros(row) >= given_up && intact(row));
    verdict.claim(
        Source::Defence2017,
        "After everything was given back there are no read errors, and blocks that came back are zeros.",
        came_back,
        match walk.last() {
            None => "No step was recorded.".to_owned(),
            Some(row) => format!(
                "At the last step of the walk: {} read errors, {} blocks as written, {} zeros (at \
                 least {given_up} were given up), {} anything else.",
                row.read_errors,
                row.intact_blocks - zeros(row).min(row.intact_blocks),
                zeros(row),
                row.corrupt_blocks
            ),
        },
    );

    let refill = rows.iter().find(|row| row.part == "refill");
    verdict.claim(
        Source::Requirement,
        "Written anew, the whole device carries the new contents.",
        refill.is_some_and(|row| {
            row.intact_blocks == row.capacity_blocks
                && timing_of(row.step).is_some_and(|timing| timing.zero_blocks == 0)
        }),
        refill.map_or("It was not tried.".to_owned(), |row| {
            format!(
                "{} of {} blocks as written.",
                row.intact_blocks - zeros(row).min(row.intact_blocks),
                row.capacity_blocks
            )
        }),
    );

    let device: u64 = rows
        .iter()
        .map(|row| u64::from(row.refused_by_device))
        .sum();
    let driver: u64 = rows
        .iter()
        .map(|row| u64::from(row.refused_by_driver))
        .sum();
    verdict.claim(
        Source::Requirement,
        "Both the driver and, when the driver lets them through, the device refuse reads of blocks that are not held.",
        device > 0 && driver > 0,
        format!("The driver refused {driver} reads, the device {device}."),
    );

    let random: Vec<&CorrectnessRow> = rows.iter().filter(|row| row.part == "random").collect();
    if !random.is_empty() {
        let requests: u64 = random
            .iter()
            .filter_map(|row| timing_of(row.step))
            .map(|timing| timing.inflight_requests)
            .sum();
        let errors: u64 = random.iter().map(|row| row.inflight_errors).sum();
        verdict.claim(
            Source::Requirement,
            "Resizes of random sizes while the guest reads and writes lose and corrupt nothing.",
            requests > 0 && errors == 0,
            format!(
                "{requests} requests during {} rounds of 3 resizes, {errors} failed or returned wrong data.",
                random.len()
            ),
        );
    }
    verdict
}

fn table(rows: &[CorrectnessRow], timings: &[CorrectnessTimingRow]) -> Table {
    let timing_of = |step: u32| timings.iter().find(|timing| timing.step == step);
    Table {
        title: "Steps".to_owned(),
        head: [
            "step",
            "part",
            "pick",
            "held by host",
            "read errors",
            "refused by",
            "intact",
            "of these zeros",
            "corrupt",
            "resize (ms)",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: rows
            .iter()
            .map(|row| {
                vec![
                    row.step.to_string(),
                    row.part.clone(),
                    row.pick.clone(),
                    row.balloon_blocks.to_string(),
                    row.read_errors.to_string(),
                    row.enforce.clone(),
                    row.intact_blocks.to_string(),
                    timing_of(row.step)
                        .map_or("?".to_owned(), |timing| timing.zero_blocks.to_string()),
                    row.corrupt_blocks.to_string(),
                    timing_of(row.step)
                        .and_then(|timing| timing.resize_ns)
                        .map_or("-".to_owned(), millis),
                ]
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spoils good rows.
    type Fault = fn(&mut Vec<CorrectnessRow>, &mut Vec<CorrectnessTimingRow>);

    fn row(step: u32, part: &str, direction: Direction, balloon: u32) -> CorrectnessRow {
        let by_device = if step % 2 == 1 { balloon } else { 0 };
        CorrectnessRow {
            step,
            part: part.to_owned(),
            pick: "random".to_owned(),
            direction,
            capacity_blocks: 100,
            balloon_wanted_blocks: balloon,
            balloon_blocks: balloon,
            digest: String::new(),
            enforce: "driver".to_owned(),
            read_errors: balloon,
            refused_by_driver: balloon - by_device,
            refused_by_device: by_device,
            intact_blocks: 100 - balloon,
            corrupt_blocks: 0,
            unexpected_blocks: 0,
            lists_equal: true,
            inflight_errors: 0,
        }
    }

    fn good() -> Vec<CorrectnessRow> {
        vec![
            row(0, "walk", Direction::Shrink, 0),
            row(1, "walk", Direction::Shrink, 40),
            row(2, "walk", Direction::Shrink, 60),
            row(3, "walk", Direction::Grow, 0),
            row(4, "refill", Direction::Shrink, 0),
            row(5, "random", Direction::Shrink, 10),
        ]
    }

    fn good_timing() -> Vec<CorrectnessTimingRow> {
        (0..6)
            .map(|step| CorrectnessTimingRow {
                step,
                zero_blocks: if step == 3 { 60 } else { 0 },
                inflight_requests: if step == 5 { 5 } else { 0 },
                resize_ns: Some(1),
                verify_ns: None,
            })
            .collect()
    }

    #[test]
    fn a_good_run_holds() {
        let verdict = judge(&good(), &good_timing());
        assert!(verdict.holds(), "{:?}", verdict.missed());
    }

    #[test]
    fn nothing_measured_holds_nothing() {
        assert!(judge(&[], &[]).claims.iter().all(|claim| !claim.holds()));
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let faults: [(&str, Fault); 11] = [
            ("some old data came back", |_, timings| {
                timings[3].zero_blocks -= 1;
            }),
            ("the walk did not end", |rows, _| drop(rows.remove(3))),
            ("an error too many", |rows, _| rows[1].read_errors += 1),
            ("a corrupt block", |rows, _| rows[2].corrupt_blocks = 1),
            ("lists apart", |rows, _| rows[1].lists_equal = false),
            ("old data came back", |_, timings| {
                timings[3].zero_blocks = 0
            }),
            ("a lost refill", |rows, _| rows[4].intact_blocks -= 1),
            ("a refill of zeros", |_, timings| timings[4].zero_blocks = 1),
            ("an error in flight", |rows, _| rows[5].inflight_errors = 1),
            ("nothing in flight", |_, timings| {
                timings[5].inflight_requests = 0
            }),
            ("the host took less", |rows, _| rows[1].balloon_blocks -= 1),
        ];
        for (name, fault) in faults {
            let (mut rows, mut timings) = (good(), good_timing());
            fault(&mut rows, &mut timings);
            assert!(!judge(&rows, &timings).holds(), "{name} went unseen");
        }
    }
}
