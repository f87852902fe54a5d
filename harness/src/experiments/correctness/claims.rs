//! Claims of the correctness experiment.

use results::quantity::millis;
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict};

use super::rows::{CorrectnessRow, CorrectnessTimingRow, Direction};

/// The rows of a run.
struct Steps<'a> {
    rows: &'a [CorrectnessRow],
    timings: &'a [CorrectnessTimingRow],
}

/// Judges the rows.
pub(crate) fn judge(rows: &[CorrectnessRow], timings: &[CorrectnessTimingRow]) -> Verdict {
    let steps = Steps { rows, timings };
    Verdict::new("Correctness of resizing")
        .defence(
            "The number of blocks that cannot be read equals the number that the host holds.",
            steps.errors(),
        )
        .defence(
            "All other blocks carry what was written to them.",
            steps.contents(),
        )
        .defence(
            "Guest and host have the same list of valid blocks after every step.",
            steps.every(
                |row| row.lists_equal,
                Some(format!("Count and digest equal at all {} steps.", rows.len())),
            ),
        )
        .defence(
            "After all blocks were given back there are no read errors, and returned blocks read as zeros.",
            steps.return_to_full_size(),
        )
        .require(
            "After a rewrite, the whole device carries the new contents.",
            steps.refill(),
        )
        .require(
            "Both the driver and, when the driver passes them on, the device refuse reads of blocks that are not held.",
            steps.refusals(),
        )
        .require_if_measured(
            "Resizes of random sizes while the guest reads and writes lose and corrupt nothing.",
            steps.random(),
        )
        .tables([steps.table()])
}

/// Whether every block that can be read has the right contents.
fn is_intact(row: &CorrectnessRow) -> bool {
    row.corrupt_blocks == 0
        && row.unexpected_blocks == 0
        && row.intact_blocks + row.read_errors == row.capacity_blocks
}

impl<'a> Steps<'a> {
    fn timing(&self, row: &CorrectnessRow) -> Option<&'a CorrectnessTimingRow> {
        self.timings.iter().find(|timing| timing.step == row.step)
    }

    fn zeros(&self, row: &CorrectnessRow) -> u32 {
        self.timing(row).map_or(0, |timing| timing.zero_blocks)
    }

    fn written(&self, row: &CorrectnessRow) -> u32 {
        row.intact_blocks.saturating_sub(self.zeros(row))
    }

    fn part(&self, name: &str) -> impl Iterator<Item = &'a CorrectnessRow> {
        self.rows.iter().filter(move |row| row.part == name)
    }

    /// A claim about every step: `evidence` if it holds at all of them, otherwise the first step at
    /// which it does not.
    fn every(
        &self,
        holds: impl Fn(&CorrectnessRow) -> bool,
        evidence: Option<String>,
    ) -> Option<Measured> {
        let failed: Vec<_> = self.rows.iter().filter(|row| !holds(row)).collect();
        let Some(first) = failed.first() else {
            self.rows.first()?;
            return Some(Measured::new(true, evidence?));
        };
        Some(Measured::new(
            false,
            format!(
                "Not at {} of {} steps; the first is step {}, with {} blocks held by the host, {} read errors, \
                 {} corrupt and {} unexpected.",
                failed.len(),
                self.rows.len(),
                first.step,
                first.balloon_blocks,
                first.read_errors,
                first.corrupt_blocks,
                first.unexpected_blocks
            ),
        ))
    }

    fn errors(&self) -> Option<Measured> {
        let largest = self.rows.iter().map(|row| row.balloon_blocks).max()?;
        let count = self.rows.len();
        self.every(
            |row| {
                row.read_errors == row.balloon_blocks
                    && row.balloon_blocks == row.balloon_wanted_blocks
            },
            (largest > 0).then(|| format!("Equal at all {count} steps, up to {largest} blocks.")),
        )
    }

    fn contents(&self) -> Option<Measured> {
        let read = self.rows.iter().map(|row| u64::from(row.intact_blocks));
        let read: u64 = read.sum();
        let evidence = (read > 0).then(|| format!("{read} blocks read back, 0 corrupt."));
        self.every(is_intact, evidence)
    }

    /// Nothing is written during the walk, so at its end every block that was ever given up reads
    /// as zeros.
    fn return_to_full_size(&self) -> Option<Measured> {
        let given_up = self.part("walk").map(|row| row.balloon_blocks).max()?;
        let last = self.part("walk").last()?;
        let zeros = self.zeros(last);
        let is_full = last.balloon_blocks == 0 && last.direction == Direction::Grow;
        Some(Measured::new(
            is_full && last.read_errors == 0 && zeros > 0 && zeros >= given_up && is_intact(last),
            format!(
                "At the last step of the walk: {} read errors, {} blocks as written, {zeros} zeros (at least \
                 {given_up} were given up), {} with other contents.",
                last.read_errors,
                self.written(last),
                last.corrupt_blocks
            ),
        ))
    }

    fn refill(&self) -> Option<Measured> {
        let row = self.part("refill").next()?;
        let has_no_zeros = self
            .timing(row)
            .is_some_and(|timing| timing.zero_blocks == 0);
        Some(Measured::new(
            row.intact_blocks == row.capacity_blocks && has_no_zeros,
            format!(
                "{} of {} blocks as written.",
                self.written(row),
                row.capacity_blocks
            ),
        ))
    }

    fn refusals(&self) -> Option<Measured> {
        self.rows.first()?;
        let sum = |refused: fn(&CorrectnessRow) -> u32| -> u64 {
            self.rows.iter().map(|row| u64::from(refused(row))).sum()
        };
        let driver = sum(|row| row.refused_by_driver);
        let device = sum(|row| row.refused_by_device);
        Some(Measured::new(
            device > 0 && driver > 0,
            format!("The driver refused {driver} reads, the device {device}."),
        ))
    }

    fn random(&self) -> Option<Measured> {
        self.part("random").next()?;
        let rounds = self.part("random").count();
        let timings = self.part("random").filter_map(|row| self.timing(row));
        let requests: u64 = timings.map(|timing| timing.inflight_requests).sum();
        let errors: u64 = self.part("random").map(|row| row.inflight_errors).sum();
        Some(Measured::new(
            requests > 0 && errors == 0,
            format!(
                "{requests} requests during {rounds} rounds of 3 resizes; {errors} failed or returned wrong data."
            ),
        ))
    }

    fn table(&self) -> Table {
        let resize_ns = |row: &CorrectnessRow| self.timing(row)?.resize_ns;
        let zeros = |timing: &CorrectnessTimingRow| timing.zero_blocks.to_string();
        Table::of(
            "Steps",
            self.rows,
            &[
                ("step", &|row| row.step.to_string()),
                ("part", &|row| row.part.clone()),
                ("pick", &|row| row.pick.clone()),
                ("held by host", &|row| row.balloon_blocks.to_string()),
                ("read errors", &|row| row.read_errors.to_string()),
                ("refused by", &|row| row.enforce.clone()),
                ("intact", &|row| row.intact_blocks.to_string()),
                ("of these zeros", &|row| or_dash(self.timing(row), zeros)),
                ("corrupt", &|row| row.corrupt_blocks.to_string()),
                ("resize (ms)", &|row| or_dash(resize_ns(row), millis)),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes good rows.
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
