//! What must hold of a simulation, and what it says.

use results::manifest::Manifest;
use results::verdict::{Claim, Source, Table, Verdict};
use simulate::curves::Method;
use simulate::replay::Contender;

use super::rows::{MethodRow, SimRow as Row};

/// How far a sampled curve may be from the exact one, in the mean over all sizes.
const ERROR_MAX: f64 = 0.01;

/// What is said of a curve that saw no block.
pub(crate) const NO_SAMPLE: &str = "no block was sampled";

/// Blocks from which on a sample is trusted without a word.
const SAMPLE_MIN: u64 = 1000;

/// The rate of which that is asked, and the accesses from which on.
const RATE: f64 = 0.01;
const ACCESSES_MIN: usize = 1_000_000;

/// What the manifest says of the accesses.
struct Accesses {
    all: usize,
    distinct: u32,
    warmup: usize,
}

/// Judges a simulation.
pub(crate) fn judge(rows: &[Row], methods: &[MethodRow], manifest: &Manifest) -> Verdict {
    let accesses = (|| {
        Some(Accesses {
            all: manifest.fact("accesses")?,
            distinct: manifest.fact("distinct_blocks")?,
            warmup: manifest.fact("warmup_accesses")?,
        })
    })();
    let mut verdict = Verdict {
        title: "A block cache on paper".to_owned(),
        claims: Vec::new(),
        findings: manifest.fact("notes").unwrap_or_default(),
        tables: Vec::new(),
    };
    if let Some(accesses) = &accesses {
        verdict.claims.extend(complete(rows, accesses));
    }
    verdict.claims.extend(bounded(rows));
    verdict.claims.extend(lru_is_exact(manifest));
    if let Some(accesses) = &accesses {
        verdict.claims.extend(sample_is_close(methods, accesses));
    }
    verdict.findings.extend(best(rows));
    if let Some(accesses) = &accesses {
        verdict.findings.extend(small_samples(methods, accesses));
    }
    verdict.tables.extend(ratios(rows));
    verdict.tables.extend(memory(rows));
    verdict.tables.extend(errors(methods));
    verdict
}

fn claim(text: &str, holds: bool, measured: String) -> Claim {
    Claim {
        text: text.to_owned(),
        source: Source::Requirement,
        measured,
        outcome: holds.into(),
    }
}

/// The sizes that occur, ascending.
fn sizes(rows: &[Row]) -> Vec<u32> {
    let mut sizes: Vec<u32> = rows.iter().map(|row| row.cache_blocks).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn of<'a>(rows: &'a [Row], policy: &str, blocks: u32) -> Option<&'a Row> {
    let mut rows = rows.iter();
    rows.find(|row| row.policy == policy && row.cache_blocks == blocks)
}

/// Every policy saw every access, and no cache holds what was never asked for.
fn complete(rows: &[Row], accesses: &Accesses) -> Option<Claim> {
    let warmup = accesses.warmup;
    let counted = (accesses.all - warmup.min(accesses.all)) as u64;
    let cold = |row: &Row| warmup > 0 || row.misses() >= u64::from(accesses.distinct);
    let sound = |row: &&Row| row.reads + row.writes == counted && cold(row);
    let good = rows.iter().filter(sound).count();
    (!rows.is_empty()).then(|| {
        claim(
            "Each policy at each size saw every access, and missed each block at least once.",
            good == rows.len(),
            format!(
                "So in {good} of {} pairs, with {counted} accesses to {} different blocks.",
                rows.len(),
                accesses.distinct
            ),
        )
    })
}

/// No policy misses less than the bound.
fn bounded(rows: &[Row]) -> Option<Claim> {
    let bound = |row: &Row| of(rows, Contender::Belady.name(), row.cache_blocks);
    let pairs = rows.iter().filter_map(|row| Some((row, bound(row)?)));
    let pairs: Vec<_> = pairs
        .filter(|(row, bound)| row.policy != bound.policy)
        .collect();
    let closest = pairs
        .iter()
        .min_by(|a, b| excess(a).total_cmp(&excess(b)))?;
    let below = pairs
        .iter()
        .filter(|(row, bound)| row.misses() < bound.misses());
    let below = below.count();
    Some(claim(
        "No policy misses less than one that knows what comes (Belady 1966).",
        below == 0,
        format!(
            "{below} of {} pairs do; {} at {} blocks comes closest, with {:.3} times its misses.",
            pairs.len(),
            closest.0.policy,
            closest.0.cache_blocks,
            excess(closest)
        ),
    ))
}

/// How many times the bound's misses.
fn excess((row, bound): &(&Row, &Row)) -> f64 {
    row.misses() as f64 / (bound.misses() as f64).max(1.0)
}

/// One pass over stack distances says the same as a cache of each size. The run compares
/// them, as of a long curve only some steps are recorded.
fn lru_is_exact(manifest: &Manifest) -> Option<Claim> {
    let sizes: usize = manifest.fact("lru_sizes")?;
    let equal: usize = manifest.fact("lru_sizes_equal")?;
    Some(claim(
        "The LRU cache misses exactly as often as the curve of stack distances says.",
        equal == sizes,
        format!("The counts are equal at {equal} of {sizes} sizes."),
    ))
}

fn sample_is_close(methods: &[MethodRow], accesses: &Accesses) -> Option<Claim> {
    if accesses.all < ACCESSES_MIN {
        return None;
    }
    let name = Method::FixedRate(RATE).to_string();
    let mut methods = methods.iter();
    let error = methods.find(|of| of.method == name)?.mean_absolute_error?;
    Some(claim(
        "SHARDS of 1 % of the blocks is within 0.01 of the exact curve, in the mean over all sizes.",
        error <= ERROR_MAX,
        format!("{error:.4}, of {} accesses.", accesses.all),
    ))
}

/// Who misses least at each size.
fn best(rows: &[Row]) -> Vec<String> {
    let sizes = sizes(rows).into_iter().filter(|blocks| *blocks > 0);
    sizes
        .filter_map(|blocks| {
            let real = rows.iter().filter(|row| {
                row.cache_blocks == blocks && row.policy != Contender::Belady.name()
            });
            let best = real.clone().min_by_key(|row| row.misses())?;
            let worst = real.max_by_key(|row| row.misses())?;
            (best.misses() < worst.misses()).then(|| {
                format!(
                    "With {blocks} blocks {} misses least, {:.2} % of the accesses, and {} most, {:.2} %.",
                    best.policy,
                    100.0 * best.miss_ratio(),
                    worst.policy,
                    100.0 * worst.miss_ratio()
                )
            })
        })
        .collect()
}

/// Which curves are made of too few blocks, or of none.
fn small_samples(methods: &[MethodRow], accesses: &Accesses) -> Vec<String> {
    let more = "a larger RATE of `--mrc shards:RATE`, or `--mrc fixed:BLOCKS`, samples more";
    let all = u64::from(accesses.distinct);
    let of = methods.iter();
    of.filter_map(|of| match of.sampled_blocks? {
        0 => Some(format!(
            "{}: no block was sampled, so it says nothing: {more}.",
            of.method
        )),
        few if few < SAMPLE_MIN && few < all => Some(format!(
            "{}: only {few} of {all} blocks were sampled, so its curve is rough: {more}.",
            of.method
        )),
        _ => None,
    })
    .collect()
}

/// Names of the policies, in order.
fn policies(rows: &[Row]) -> Vec<&str> {
    let mut names: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    names.dedup();
    names
}

/// A table with a row for each policy and a column for each size.
fn by_size(title: &str, rows: &[Row], cell: impl Fn(&Row) -> String) -> Option<Table> {
    let sizes = sizes(rows);
    let head = sizes.iter().map(|blocks| format!("{blocks} blocks"));
    let cells = |policy: &str| {
        let cells = sizes
            .iter()
            .map(|blocks| of(rows, policy, *blocks).map_or(String::new(), &cell));
        [policy.to_owned()].into_iter().chain(cells).collect()
    };
    (!rows.is_empty()).then(|| Table {
        title: title.to_owned(),
        head: ["policy".to_owned()].into_iter().chain(head).collect(),
        rows: policies(rows).into_iter().map(cells).collect(),
    })
}

fn ratios(rows: &[Row]) -> Option<Table> {
    by_size("Accesses that miss (%)", rows, |row| {
        format!("{:.3}", 100.0 * row.miss_ratio())
    })
}

fn memory(rows: &[Row]) -> Option<Table> {
    let real: Vec<Row> = rows
        .iter()
        .filter(|row| row.cache_blocks > 0 && row.policy != Contender::Belady.name())
        .cloned()
        .collect();
    by_size("Memory of the cache for each block (bytes)", &real, |row| {
        format!(
            "{:.1}",
            row.memory_bytes as f64 / f64::from(row.cache_blocks)
        )
    })
}

fn errors(methods: &[MethodRow]) -> Option<Table> {
    let head = [
        "curve",
        "blocks sampled",
        "mean absolute error",
        "time (ms)",
    ];
    let row = |of: &MethodRow| {
        vec![
            of.method.clone(),
            match of.sampled_blocks {
                None => "-".to_owned(),
                Some(0) => NO_SAMPLE.to_owned(),
                Some(blocks) => blocks.to_string(),
            },
            of.mean_absolute_error
                .map_or("-".to_owned(), |e| format!("{e:.5}")),
            format!("{:.1}", of.elapsed_ns as f64 / 1e6),
        ]
    };
    (!methods.is_empty()).then(|| Table {
        title: "Miss-ratio curves of LRU".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: methods.iter().map(row).collect(),
    })
}
