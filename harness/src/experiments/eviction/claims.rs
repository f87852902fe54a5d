//! Claims of the eviction experiment: the two pickers of 2017, block by block.

use results::quantity::{millis, percent};
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict};
use workloads::{GuestPick, HostPick};

use super::picker::Picker;
use super::rows::{EvictionRow, EvictionTimingRow, PickerRow};

/// Largest distance between the hypervisor's miss ratio and the share of blocks it took. The
/// standard deviation over seeds is 0.3 percentage points (expected 0.27, measured 0.31 over 29
/// seeds), nearly all of it from which of the hot blocks are taken: this is six of them.
const UNIFORM_TOLERANCE: f64 = 0.02;

/// The guest's misses must be below this part of the hypervisor's.
const REQUIRED_RATIO: f64 = 0.1;

/// Bar of "nearly no read misses": one read in fifty.
const NEARLY_NONE: f64 = 0.02;

fn ratio(row: &EvictionRow) -> f64 {
    row.misses as f64 / row.reads as f64
}

/// Judges the rows.
pub(crate) fn judge(
    rows: &[EvictionRow],
    timings: &[EvictionTimingRow],
    pickers: &[PickerRow],
) -> Verdict {
    let find = |side: &str| {
        rows.iter()
            .find(|row| row.managed_by == side && row.reads > 0 && row.hits + row.misses > 0)
    };
    let (guest, hypervisor) = (find("guest"), find("hypervisor"));
    let pair = guest.zip(hypervisor);
    Verdict::new("Which side picks the blocks to give up")
        .defence(
            "When the hypervisor picks at random, the share of reads that miss is the share of blocks it took.",
            hypervisor.map(uniform),
        )
        .defence(
            "When the guest picks by its use of the blocks, nearly no read misses.",
            guest.map(|row| {
                let missed = percent(row.misses, row.reads);
                let evidence = format!("{} of {} reads missed, {missed}.", row.misses, row.reads);
                Measured::new(ratio(row) <= NEARLY_NONE, evidence)
            }),
        )
        .require(
            "Guest-managed misses are under a tenth of hypervisor-managed misses, on the same reads.",
            pair.map(|(guest, hypervisor)| compared(guest, hypervisor)),
        )
        .require(
            "Every read is a hit with the right contents or a miss of a block that is not held.",
            pair.map(|_| every_read(rows)),
        )
        .require_if_measured(
            "Where the comparison of pickers repeats these two halves, on twins that move no data, it has the same \
             counts.",
            pair.and_then(|(guest, hypervisor)| repeated(guest, hypervisor, pickers)),
        )
        .tables([counts(rows, timings)])
}

fn uniform(row: &EvictionRow) -> Measured {
    let taken = row.capacity_blocks - row.held_blocks;
    let taken = f64::from(taken) / f64::from(row.capacity_blocks);
    Measured::new(
        (ratio(row) - taken).abs() <= UNIFORM_TOLERANCE,
        format!(
            "It took {:.1} % of the blocks, and {} of {} reads missed.",
            100.0 * taken,
            percent(row.misses, row.reads),
            row.reads
        ),
    )
}

fn compared(guest: &EvictionRow, hypervisor: &EvictionRow) -> Measured {
    let (ours, theirs) = (guest.misses as f64, hypervisor.misses as f64);
    Measured::new(
        guest.reads == hypervisor.reads && ours < REQUIRED_RATIO * theirs,
        format!(
            "{ours} against {theirs} misses, a ratio of {:.4}.",
            ours / theirs
        ),
    )
}

fn every_read(rows: &[EvictionRow]) -> Measured {
    let reads: u64 = rows.iter().map(|row| row.reads).sum();
    let errors: u64 = rows.iter().map(|row| row.errors).sum();
    let is_counted = |row: &EvictionRow| row.hits + row.misses == row.reads;
    Measured::new(
        errors == 0 && rows.iter().all(is_counted),
        format!("{reads} reads, {errors} with an error."),
    )
}

/// The first seed of the comparison is the one whose data were moved and checked, so equal counts
/// there confirm the twins. `None` if the comparison does not have these two pickers.
fn repeated(
    guest: &EvictionRow,
    hypervisor: &EvictionRow,
    pickers: &[PickerRow],
) -> Option<Measured> {
    let first = pickers.iter().map(|row| row.seed).min()?;
    let is_equal = |row: &EvictionRow, picker: Picker| {
        let mut twins = pickers.iter();
        let twin = twins.find(|twin| twin.picker == picker && twin.seed == first)?;
        Some((twin.hits, twin.misses) == (row.hits, row.misses))
    };
    let halves = [
        is_equal(guest, Picker::Guest(GuestPick::Sample))?,
        is_equal(hypervisor, Picker::Host(HostPick::Uniform))?,
    ];
    Measured::every(halves, "halves have the same hits and misses", |equal| {
        *equal
    })
}

fn counts(rows: &[EvictionRow], timings: &[EvictionTimingRow]) -> Table {
    let timing = |row: &EvictionRow| {
        timings
            .iter()
            .find(|timing| timing.managed_by == row.managed_by)
    };
    let rate = |row: &EvictionRow, timing: &EvictionTimingRow| {
        format!(
            "{:.0}",
            row.reads as f64 / (timing.read_guest_ns as f64 / 1e9)
        )
    };
    Table::of(
        "Hits and misses",
        rows,
        &[
            ("picked by", &|row| row.managed_by.clone()),
            ("blocks held", &|row| row.held_blocks.to_string()),
            ("surrendered", &|row| row.surrendered_blocks.to_string()),
            ("revoked", &|row| row.revoked_blocks.to_string()),
            ("reads", &|row| row.reads.to_string()),
            ("hits", &|row| row.hits.to_string()),
            ("misses", &|row| row.misses.to_string()),
            ("misses (%)", &|row| format!("{:.3}", 100.0 * ratio(row))),
            ("shrink (ms)", &|row| {
                or_dash(timing(row), |timing| millis(timing.shrink_ns))
            }),
            ("reads per second", &|row| {
                or_dash(timing(row), |timing| rate(row, timing))
            }),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(who: &str, misses: u64) -> EvictionRow {
        EvictionRow {
            managed_by: who.to_owned(),
            capacity_blocks: 1000,
            held_blocks: 750,
            surrendered_blocks: 250,
            revoked_blocks: 0,
            sample_draws: 10,
            reads: 10_000,
            hits: 10_000 - misses,
            misses,
            errors: 0,
        }
    }

    #[test]
    fn good_and_bad_runs_are_told_apart() {
        assert!(judge(&[row("guest", 100), row("hypervisor", 2_500)], &[], &[]).holds());
        assert!(!judge(&[row("guest", 300), row("hypervisor", 2_500)], &[], &[]).holds());
        assert!(!judge(&[row("guest", 100), row("hypervisor", 2_000)], &[], &[]).holds());
        assert!(!judge(&[row("guest", 100)], &[], &[]).holds());
        assert!(!judge(&[], &[], &[]).holds());
        let mut wrong = row("guest", 100);
        wrong.errors = 1;
        assert!(!judge(&[wrong, row("hypervisor", 2_500)], &[], &[]).holds());
    }

    #[test]
    fn twins_with_other_counts_are_seen() {
        let rows = [row("guest", 100), row("hypervisor", 2_500)];
        let picker = |picker, misses| PickerRow {
            seed: 1,
            picker,
            capacity_blocks: 1000,
            held_blocks: 750,
            reads: 10_000,
            hits: 10_000 - misses,
            misses,
        };
        let of = |guest, hypervisor| {
            [
                picker(Picker::Guest(GuestPick::Sample), guest),
                picker(Picker::Host(HostPick::Uniform), hypervisor),
            ]
        };
        assert!(judge(&rows, &[], &of(100, 2_500)).holds());
        assert!(!judge(&rows, &[], &of(101, 2_500)).holds());
        assert!(!judge(&rows, &[], &of(100, 2_501)).holds());
        assert!(judge(&rows, &[], &of(100, 2_500)[..1]).holds());
    }
}
