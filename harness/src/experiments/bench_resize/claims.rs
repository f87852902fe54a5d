//! What it shows: the measurements held against the bars.

use results::verdict::{Claim, Source, Table, Verdict, median};

use super::rows::{BLOCKS, DisturbedRow, MOVED, MemoryRow, ResizeRow};
use crate::experiments::common::ratio::Ratio;

/// Device work of 16 GiB of scattered blocks with its durable commit, at most.
const SCATTERED_NS: f64 = 25e6;
/// Device work of 16 GiB in one piece, at most.
const CONTIGUOUS_NS: f64 = 1e6;
/// From the command to both lists agreed, at most.
const AGREED_NS: f64 = 100e6;
/// Bytes of the backend's memory for each block, at most.
const BYTES_PER_BLOCK: f64 = 6.0;
/// Growth of a process over all resizes that is none: what an allocator moves about.
const GROWTH: f64 = 1.02;
/// How many times the p99 of requests may be during a resize.
const P99: f64 = 1.5;
/// Requests during one resize at least, so that there is anything like a p99 of them.
const P99_OF: u64 = 50;

/// What others reach, GiB/s: taking, giving back, and who says so.
const OTHERS: [(&str, f64, f64); 3] = [
    ("virtio-balloon", 0.95, 2.3),
    ("virtio-mem", 34.5, 102.0),
    ("HyperAlloc", 345.0, 8522.0),
];

/// Medians of the resizes with one pick.
struct Medians {
    shrink_ns: f64,
    shrink_device_ns: f64,
    grow_ns: f64,
    grow_device_ns: f64,
}

fn medians(rows: &[ResizeRow], pick: &str) -> Medians {
    let of = |value: fn(&ResizeRow) -> u64| {
        let rows = rows.iter().filter(|row| row.pick == pick);
        median(rows.map(value)).unwrap_or(f64::NAN)
    };
    Medians {
        shrink_ns: of(|row| row.shrink_ns),
        shrink_device_ns: of(|row| row.shrink_device_ns),
        grow_ns: of(|row| row.grow_ns),
        grow_device_ns: of(|row| row.grow_device_ns),
    }
}

fn claim(verdict: &mut Verdict, text: &str, holds: bool, measured: String) {
    verdict.claims.push(Claim {
        text: text.to_owned(),
        source: Source::Requirement,
        measured,
        holds,
    });
}

/// Holds what was measured against the bars.
pub(crate) fn judge(
    rows: &[ResizeRow],
    memory: &[MemoryRow],
    disturbed: &[DisturbedRow],
) -> Verdict {
    let mut verdict = Verdict {
        title: "Moving 16 GiB of blocks".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: Vec::new(),
    };
    resize_claims(&mut verdict, rows);
    memory
        .iter()
        .for_each(|memory| memory_claims(&mut verdict, memory));
    disturbance_claim(&mut verdict, disturbed);
    verdict
}

fn disturbance_claim(verdict: &mut Verdict, disturbed: &[DisturbedRow]) {
    let of =
        |value: fn(&DisturbedRow) -> u64| median(disturbed.iter().map(value)).unwrap_or(f64::NAN);
    let Some(ratio) = Ratio::of_pairs(disturbed.iter().map(DisturbedRow::ratio).collect()) else {
        return;
    };
    let enough = |row: &DisturbedRow| row.during_requests >= P99_OF;
    claim(
        verdict,
        "While the hypervisor takes 16 GiB, the p99 of requests to the rest is at most 1.5 times \
         that without.",
        ratio.median <= P99 && disturbed.iter().all(enough),
        format!(
            "{ratio}: {:.0} µs of {:.0} requests during one \
             of {:.1} ms, {:.0} µs without (medians over {} resizes).",
            of(|row| row.during_p99_ns) / 1e3,
            of(|row| row.during_requests),
            of(|row| row.resize_ns) / 1e6,
            of(|row| row.quiet_p99_ns) / 1e3,
            disturbed.len(),
        ),
    );
}

fn resize_claims(verdict: &mut Verdict, rows: &[ResizeRow]) {
    let (scattered, highest) = (medians(rows, "scattered"), medians(rows, "highest"));
    let millis = |ns: f64| format!("{:.2} ms", ns / 1e6);
    for (text, bar, of) in [
        (
            "16 GiB of scattered blocks are taken, and given back, in at most 25 ms of device work each, \
             the durable commit included.",
            SCATTERED_NS,
            &scattered,
        ),
        (
            "16 GiB in one piece are taken, and given back, in at most 1 ms of device work each, the \
             durable commit included.",
            CONTIGUOUS_NS,
            &highest,
        ),
    ] {
        claim(
            verdict,
            text,
            of.shrink_device_ns <= bar && of.grow_device_ns <= bar,
            format!(
                "{} and {}.",
                millis(of.shrink_device_ns),
                millis(of.grow_device_ns)
            ),
        );
    }
    claim(
        verdict,
        "From the command to both lists agreed it takes at most 100 ms, scattered or not.",
        [&scattered, &highest]
            .iter()
            .all(|of| of.shrink_ns <= AGREED_NS && of.grow_ns <= AGREED_NS),
        format!(
            "Scattered {} and {}, in one piece {} and {}.",
            millis(scattered.shrink_ns),
            millis(scattered.grow_ns),
            millis(highest.shrink_ns),
            millis(highest.grow_ns)
        ),
    );
    let speed = |ns: f64| {
        format!(
            "{:.0}",
            f64::from(MOVED) * 4096.0 / f64::from(1 << 30) / (ns / 1e9)
        )
    };
    let mut table = vec![
        vec![
            "vSSD, scattered blocks".to_owned(),
            speed(scattered.shrink_ns),
            speed(scattered.grow_ns),
            "measured here, to both lists agreed".to_owned(),
        ],
        vec![
            "vSSD, in one piece".to_owned(),
            speed(highest.shrink_ns),
            speed(highest.grow_ns),
            "measured here, to both lists agreed".to_owned(),
        ],
    ];
    table.extend(OTHERS.map(|(who, taken, given)| {
        vec![
            who.to_owned(),
            taken.to_string(),
            given.to_string(),
            "cited: memory instead of storage, on other hardware (HyperAlloc, EuroSys 2025)"
                .to_owned(),
        ]
    }));
    let head = ["", "taken (GiB/s)", "given back (GiB/s)", "source"];
    verdict.tables.push(Table {
        title: "Beside what moves memory between VMs".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: table,
    });
}

fn memory_claims(verdict: &mut Verdict, memory: &MemoryRow) {
    let per_block = |bytes: u64| (bytes as f64 - memory.small as f64) / f64::from(BLOCKS);
    let (fresh, written) = (per_block(memory.large), per_block(memory.written));
    claim(
        verdict,
        "The backend has at most 6 bytes of memory for each 4 KiB block.",
        fresh <= BYTES_PER_BLOCK && written <= BYTES_PER_BLOCK,
        format!(
            "{fresh:.2} bytes for each block of a vSSD of 32 GiB, {written:.2} after {} scattered \
             writes.",
            memory.written_blocks
        ),
    );
    let mebi = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let grown = |few: u64, many: u64| many as f64 > GROWTH * few as f64;
    claim(
        verdict,
        "Resizes leave nothing behind in memory.",
        !grown(memory.few_resizes, memory.many_resizes)
            && !grown(memory.few_journaled, memory.many_journaled)
            && memory.commits > 0,
        format!(
            "After the first tenth of them {:.1} MiB, after all {:.1} MiB, of a process with a guest \
             and its device; {:.1} and {:.1} MiB of a backend after {} commits to its file, whose \
             journal was written anew {} times.",
            mebi(memory.few_resizes),
            mebi(memory.many_resizes),
            mebi(memory.few_journaled),
            mebi(memory.many_journaled),
            memory.commits,
            memory.compactions,
        ),
    );
}
