//! Claims of the writepolicy experiment.

use results::quantity;
use results::table::{Table, or_dash, yes};
use results::verdict::{Measured, Verdict};
use vssd_host::emulation::MediaKind;

use super::rows::{WritePolicyCrashRow as Crash, WritePolicyRow, WritePolicySampleRow};

/// Bytes of a block.
pub(crate) const BLOCK: f64 = 4096.0;

/// Policies that acknowledge a write once the origin disk has it.
const THROUGH: [&str; 3] = ["write-through", "write-around", "read-only"];

/// Policies that acknowledge a write once the vSSD has it.
const BACK: [&str; 3] = ["write-back", ORDERED, JOURNALED];

const ORDERED: &str = "ordered";
const JOURNALED: &str = "journaled";

/// Whether an acknowledged write is on the origin disk.
pub(crate) fn is_through(policy: &str) -> bool {
    THROUGH.contains(&policy)
}

fn is_back(policy: &str) -> bool {
    BACK.contains(&policy)
}

/// Judges the rows.
pub(crate) fn judge(
    rows: &[WritePolicyRow],
    samples: &[WritePolicySampleRow],
    crashes: &[Crash],
) -> Verdict {
    Verdict::new("Write policies of a block cache")
        .require(
            "Each of the six policies served a load and had its guest killed during another; both disks were read \
             afterwards.",
            coverage(rows, samples, crashes),
        )
        .require(
            "No access of the load fails, is refused, or returns other data than were last written.",
            failures(rows),
        )
        .require(
            "In front of a disk of 5 ms, the median write waits for the disk with the policies that write to it at \
             once, and does not with the others.",
            latency(rows),
        )
        .require(
            "With the policies that write to the origin disk at once, it is never behind.",
            staleness(rows),
        )
        .require(
            "After a kill every block holds the complete data of one write, or zeros, both on the origin disk and \
             through the next guest's cache.",
            sound(crashes),
        )
        .require(
            "With the policies that write to the origin disk at once, no acknowledged write is missing after a kill, \
             neither on the origin disk alone nor through the next guest's cache.",
            acknowledged(crashes),
        )
        .require(
            "With the others, no write covered by a flush is missing through the next guest's cache, which restores \
             it from the vSSD.",
            flushed(crashes),
        )
        .require(
            "With ordered write-back, the origin disk alone is a prefix of the writes: all up to one of them, and \
             nothing later.",
            prefix(crashes, ORDERED, Crash::ORIGIN),
        )
        .require(
            "With journaled write-back, it is a prefix once the journal has been applied, without the vSSD.",
            prefix(crashes, JOURNALED, Crash::RECOVERED),
        )
        .findings(throughput(rows))
        .findings(BACK.iter().filter_map(|policy| lost_with_vssd(crashes, policy)))
        .tables([loads(rows), losses(crashes)])
}

/// What was found in a place after crashes with some policies.
fn found<'a>(
    crashes: &'a [Crash],
    place: &'a str,
    is_policy: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a Crash> {
    let at = crashes.iter().filter(move |row| row.place == place);
    at.filter(move |row| is_policy(&row.policy))
}

fn coverage(
    rows: &[WritePolicyRow],
    samples: &[WritePolicySampleRow],
    crashes: &[Crash],
) -> Option<Measured> {
    let is_covered = |policy: &&str| {
        let count = |place| found(crashes, place, |of| of == *policy).count();
        let alone = count(Crash::ORIGIN);
        rows.iter()
            .any(|row| row.policy == *policy && row.writes > 0)
            && samples.iter().any(|row| row.policy == *policy)
            && alone > 0
            && count(Crash::WARM) == alone
            && (*policy != JOURNALED || count(Crash::RECOVERED) == alone)
    };
    let covered = THROUGH.into_iter().chain(BACK).filter(is_covered).count();
    let fewest = crashes.iter().map(|row| row.acknowledged).min()?;
    Some(Measured::new(
        covered == THROUGH.len() + BACK.len() && fewest > 0,
        format!("{covered} policies; at least {fewest} acknowledged writes before each kill."),
    ))
}

fn failures(rows: &[WritePolicyRow]) -> Option<Measured> {
    let accesses = rows.iter().map(|row| row.reads + row.writes).sum();
    Measured::none(
        rows.iter().map(|row| row.failed).sum(),
        accesses,
        "accesses",
    )
}

fn latency(rows: &[WritePolicyRow]) -> Option<Measured> {
    let disk_ns = MediaKind::Hdd.times().write_ns;
    let hdd = MediaKind::Hdd.to_string();
    let medians = |is_policy: fn(&str) -> bool| -> Vec<u64> {
        let timed = rows
            .iter()
            .filter(|row| row.writes > 0 && row.medium == hdd);
        let of = timed.filter(|row| is_policy(&row.policy));
        of.map(|row| row.write_p50_ns).collect()
    };
    let (through, back) = (medians(is_through), medians(is_back));
    let (least, most) = (*through.iter().min()?, *back.iter().max()?);
    let is_complete = through.len() == THROUGH.len() && back.len() == BACK.len();
    Some(Measured::new(
        is_complete && least >= disk_ns && most < disk_ns,
        format!(
            "Medians of at least {} ms, and of at most {} ms.",
            quantity::millis(least),
            quantity::millis(most)
        ),
    ))
}

fn staleness(rows: &[WritePolicyRow]) -> Option<Measured> {
    let of = |is_policy: fn(&str) -> bool| rows.iter().filter(move |row| is_policy(&row.policy));
    let blocks = of(is_through).map(|row| row.dirty_max_blocks).max()?;
    let ns = of(is_through).map(|row| row.stale_ns_max).max()?;
    let others = of(is_back)
        .map(|row| row.dirty_max_blocks)
        .max()
        .unwrap_or(0);
    Some(Measured::new(
        blocks == 0 && ns == 0,
        format!(
            "At most {blocks} blocks and {}; with the others up to {}.",
            quantity::time(ns as f64),
            quantity::bytes(f64::from(others) * BLOCK)
        ),
    ))
}

fn sound(crashes: &[Crash]) -> Option<Measured> {
    let unsound = crashes
        .iter()
        .map(|row| u64::from(row.bad_blocks + row.lost_blocks));
    let blocks = crashes.iter().map(|row| u64::from(row.blocks)).sum();
    Measured::none(unsound.sum(), blocks, "blocks are torn or lost")
}

fn acknowledged(crashes: &[Crash]) -> Option<Measured> {
    let rows = || {
        let alone = found(crashes, Crash::ORIGIN, is_through);
        alone.chain(found(crashes, Crash::WARM, is_through))
    };
    let acknowledged = rows().map(|row| row.acknowledged).sum();
    Measured::none(
        rows().map(|row| row.missing).sum(),
        acknowledged,
        "acknowledged writes",
    )
}

fn flushed(crashes: &[Crash]) -> Option<Measured> {
    let rows = || found(crashes, Crash::WARM, is_back);
    let missing: u64 = rows().map(|row| row.missing_flushed).sum();
    let flushed: u64 = rows().map(|row| row.flushed).sum();
    let later: u64 = rows().map(|row| row.acknowledged - row.flushed).sum();
    let later_missing: u64 = rows().map(|row| row.missing - row.missing_flushed).sum();
    let evidence = format!(
        "{missing} of {flushed} flushed writes; and {later_missing} of {later} acknowledged since, which is allowed."
    );
    (flushed > 0).then(|| Measured::new(missing == 0, evidence))
}

fn prefix(crashes: &[Crash], policy: &str, place: &str) -> Option<Measured> {
    let rows = found(crashes, place, |of| of == policy).filter(|row| row.depth == 1);
    let rows: Vec<&Crash> = rows.collect();
    let prefixes = rows.iter().filter(|row| row.is_prefix).count();
    // An origin disk without any of the writes proves nothing.
    let has_writes = rows.iter().any(|row| row.newest > 0);
    // The first few are enough as evidence.
    let newest: Vec<String> = rows
        .iter()
        .take(10)
        .map(|row| row.newest.to_string())
        .collect();
    let more = if rows.len() > newest.len() {
        ", …"
    } else {
        ""
    };
    let evidence = format!(
        "After {prefixes} of {} crashes; the newest write found is number {}{more}.",
        rows.len(),
        newest.join(", ")
    );
    (!rows.is_empty()).then(|| Measured::new(has_writes && prefixes == rows.len(), evidence))
}

fn throughput(rows: &[WritePolicyRow]) -> Option<String> {
    let base = rows.iter().find(|row| row.policy == THROUGH[0])?.rate();
    let others = rows.iter().filter(|row| row.policy != THROUGH[0]);
    let texts: Vec<String> = others
        .map(|row| format!("{} {:.1}x", row.policy, row.rate() / base))
        .collect();
    Some(format!(
        "{} serves {} accesses per second. Relative to that: {}.",
        THROUGH[0],
        quantity::count(base),
        texts.join(", ")
    ))
}

/// What a crash costs if the vSSD is lost as well.
fn lost_with_vssd(crashes: &[Crash], policy: &str) -> Option<String> {
    let rows: Vec<&Crash> = found(crashes, Crash::ORIGIN, |of| of == policy).collect();
    let most = rows.iter().max_by_key(|row| row.missing)?;
    Some(format!(
        "Without the vSSD, {policy} would have lost up to {} of {} acknowledged writes, in {} blocks ({}); the origin \
         disk was a prefix of the writes after {} of {} crashes.",
        most.missing,
        most.acknowledged,
        most.stale_blocks,
        quantity::bytes(f64::from(most.stale_blocks) * BLOCK),
        rows.iter().filter(|row| row.is_prefix).count(),
        rows.len()
    ))
}

fn loads(rows: &[WritePolicyRow]) -> Table {
    let time =
        |requests: u64, ns: u64| or_dash((requests > 0).then_some(ns as f64), quantity::time);
    Table::of(
        "The load by policy",
        rows,
        &[
            ("policy", &|row| row.policy.clone()),
            ("accesses/s", &|row| quantity::count(row.rate())),
            ("writes", &|row| row.writes.to_string()),
            ("write p50", &|row| time(row.writes, row.write_p50_ns)),
            ("write p99", &|row| time(row.writes, row.write_p99_ns)),
            ("read hit p50", &|row| time(row.read_hits, row.hit_p50_ns)),
            ("read miss p50", &|row| {
                time(row.reads.saturating_sub(row.read_hits), row.miss_p50_ns)
            }),
            ("origin behind, max", &|row| {
                quantity::bytes(f64::from(row.dirty_max_blocks) * BLOCK)
            }),
            ("for, max", &|row| quantity::time(row.stale_ns_max as f64)),
            ("written back at the end", &|row| {
                format!("{} blocks", row.written_back_blocks)
            }),
            ("in", &|row| {
                time(row.written_back_blocks, row.write_back_ns)
            }),
        ],
    )
}

fn losses(crashes: &[Crash]) -> Table {
    let restored = |row: &Crash, count: u32| {
        let count = (row.place == Crash::WARM).then_some(count);
        or_dash(count, |count| count.to_string())
    };
    Table::of(
        "What was found after a guest was killed",
        crashes,
        &[
            ("policy", &|row| row.policy.clone()),
            ("crash", &|row| row.crash.to_string()),
            ("place", &|row| row.place.clone()),
            ("acknowledged", &|row| row.acknowledged.to_string()),
            ("flushed", &|row| row.flushed.to_string()),
            ("newest found", &|row| row.newest.to_string()),
            ("missing", &|row| row.missing.to_string()),
            ("of them flushed", &|row| row.missing_flushed.to_string()),
            ("stale blocks", &|row| row.stale_blocks.to_string()),
            ("prefix", &|row| yes(row.is_prefix)),
            ("restored", &|row| restored(row, row.restored)),
            ("of them dirty", &|row| restored(row, row.restored_dirty)),
        ],
    )
}

#[cfg(test)]
mod tests;
