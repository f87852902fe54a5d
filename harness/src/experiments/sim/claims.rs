//! Claims of the sim experiment.

use results::manifest::Manifest;
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict, distinct};
use simulate::curves::Method;
use simulate::replay::Contender;

use super::rows::{MethodRow, SimRow as Row};

/// Bar for the mean absolute error of a sampled curve.
const ERROR_MAX: f64 = 0.01;

/// Text for a curve without a sampled block.
pub(crate) const NO_SAMPLE: &str = "no block was sampled";

/// Sampled blocks below which a finding warns of the error.
const SAMPLE_MIN: u64 = 1000;

/// The sampling rate that is judged, and the fewest accesses for that.
const RATE: f64 = 0.01;
const ACCESSES_MIN: usize = 1_000_000;

/// Facts of the manifest about the accesses.
struct Accesses {
    all: usize,
    distinct: u32,
    warmup: usize,
}

impl Accesses {
    fn of(manifest: &Manifest) -> Option<Self> {
        Some(Self {
            all: manifest.fact("accesses")?,
            distinct: manifest.fact("distinct_blocks")?,
            warmup: manifest.fact("warmup_accesses")?,
        })
    }
}

/// Judges a simulation: each claim for which the run has data.
pub(crate) fn judge(rows: &[Row], methods: &[MethodRow], manifest: &Manifest) -> Verdict {
    let accesses = Accesses::of(manifest);
    let accesses = accesses.as_ref();
    Verdict::new("Simulation of a block cache")
        .require_if_measured(
            "Each policy at each size processed every access and missed each block at least once.",
            complete(rows, accesses),
        )
        .require_if_measured(
            "No policy misses less than Belady's optimum (1966), which knows all future accesses.",
            bounded(rows),
        )
        .require_if_measured(
            "The LRU cache misses exactly as often as the curve of its stack distances predicts.",
            lru_is_exact(manifest),
        )
        .require_if_measured(
            "SHARDS at 1 % of the blocks is within 0.01 of the exact curve, as a mean over all sizes.",
            sample_is_close(methods, accesses),
        )
        .findings(manifest.fact::<Vec<String>>("notes").unwrap_or_default())
        .findings(sizes(rows).into_iter().filter_map(|blocks| best(rows, blocks)))
        .findings(methods.iter().filter_map(|of| small_sample(of, accesses?)))
        .tables([ratios(rows), memory(rows), errors(methods)].into_iter().flatten())
}

/// The sizes, ascending.
fn sizes(rows: &[Row]) -> Vec<u32> {
    let mut sizes: Vec<u32> = rows.iter().map(|row| row.cache_blocks).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn is_belady(row: &Row) -> bool {
    row.policy == Contender::Belady.name()
}

fn complete(rows: &[Row], accesses: Option<&Accesses>) -> Option<Measured> {
    let Accesses {
        all,
        distinct,
        warmup,
    } = *accesses?;
    let counted = all.saturating_sub(warmup) as u64;
    // Caches that were warmed up may have blocks that are counted as distinct.
    let is_cold = |row: &Row| warmup > 0 || row.misses() >= u64::from(distinct);
    let what =
        format!("pairs of policy and size, with {counted} accesses to {distinct} distinct blocks");
    Measured::every(rows, &what, |row| {
        row.reads + row.writes == counted && is_cold(row)
    })
}

fn bounded(rows: &[Row]) -> Option<Measured> {
    let bound = |row: &Row| {
        let mut bounds = rows.iter().filter(|of| is_belady(of));
        bounds.find(|of| of.cache_blocks == row.cache_blocks)
    };
    let policies = rows.iter().filter(|row| !is_belady(row));
    let pairs: Vec<_> = policies
        .filter_map(|row| Some((row, bound(row)?)))
        .collect();
    let ratio =
        |(row, bound): &(&Row, &Row)| row.misses() as f64 / (bound.misses() as f64).max(1.0);
    let closest = pairs.iter().min_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
    let below = pairs
        .iter()
        .filter(|(row, bound)| row.misses() < bound.misses())
        .count();
    Some(Measured::new(
        below == 0,
        format!(
            "{below} of {} pairs of policy and size; the closest is {} at {} blocks with {:.3}x its misses.",
            pairs.len(),
            closest.0.policy,
            closest.0.cache_blocks,
            ratio(closest)
        ),
    ))
}

/// The run itself compares the counts, as only some steps of a long curve are recorded.
fn lru_is_exact(manifest: &Manifest) -> Option<Measured> {
    let sizes: usize = manifest.fact("lru_sizes")?;
    let equal: usize = manifest.fact("lru_sizes_equal")?;
    let evidence = format!("Equal at {equal} of {sizes} sizes.");
    Some(Measured::new(equal == sizes, evidence))
}

fn sample_is_close(methods: &[MethodRow], accesses: Option<&Accesses>) -> Option<Measured> {
    let all = accesses
        .map(|of| of.all)
        .filter(|all| *all >= ACCESSES_MIN)?;
    let name = Method::FixedRate(RATE).to_string();
    let mut methods = methods.iter();
    let error = methods.find(|of| of.method == name)?.mean_absolute_error?;
    let evidence = format!("{error:.4}, over {all} accesses.");
    Some(Measured::new(error <= ERROR_MAX, evidence))
}

/// The policies with the lowest and the highest miss ratio at a size.
fn best(rows: &[Row], blocks: u32) -> Option<String> {
    let policies = || {
        let rows = rows
            .iter()
            .filter(|row| row.cache_blocks == blocks && blocks > 0);
        rows.filter(|row| !is_belady(row))
    };
    let best = policies().min_by_key(|row| row.misses())?;
    let worst = policies().max_by_key(|row| row.misses())?;
    (best.misses() < worst.misses()).then(|| {
        format!(
            "At {blocks} blocks {} has the lowest miss ratio, {:.2} %, and {} the highest, {:.2} %.",
            best.policy,
            100.0 * best.miss_ratio(),
            worst.policy,
            100.0 * worst.miss_ratio()
        )
    })
}

/// A warning if the curve rests on too few blocks.
fn small_sample(of: &MethodRow, accesses: &Accesses) -> Option<String> {
    let more = "a larger RATE of `--mrc shards:RATE`, or `--mrc fixed:BLOCKS`, samples more";
    let (method, all) = (&of.method, u64::from(accesses.distinct));
    match of.sampled_blocks? {
        0 => Some(format!(
            "{method}: {NO_SAMPLE}, so there is no curve: {more}."
        )),
        few if few < SAMPLE_MIN && few < all => Some(format!(
            "{method}: only {few} of {all} blocks were sampled, so the curve is inaccurate: {more}."
        )),
        _ => None,
    }
}

/// A table with a row for each policy and a column for each size.
fn by_size(title: &str, rows: &[Row], cell: impl Fn(&Row) -> String) -> Option<Table> {
    let policies = distinct(rows.iter().map(|row| row.policy.as_str()));
    let name = |blocks: &u32| format!("{blocks} blocks");
    let table = Table::crossed(
        title,
        "policy",
        &policies,
        &sizes(rows),
        name,
        |policy, blocks| {
            let mut of = rows.iter().filter(|row| row.policy == *policy);
            or_dash(of.find(|row| row.cache_blocks == *blocks), &cell)
        },
    );
    (!rows.is_empty()).then_some(table)
}

fn ratios(rows: &[Row]) -> Option<Table> {
    by_size("Miss ratio (%)", rows, |row| {
        format!("{:.3}", 100.0 * row.miss_ratio())
    })
}

fn memory(rows: &[Row]) -> Option<Table> {
    let rows = rows
        .iter()
        .filter(|row| row.cache_blocks > 0 && !is_belady(row));
    let rows: Vec<Row> = rows.cloned().collect();
    by_size("Memory of the cache for each block (bytes)", &rows, |row| {
        format!(
            "{:.1}",
            row.memory_bytes as f64 / f64::from(row.cache_blocks)
        )
    })
}

fn errors(methods: &[MethodRow]) -> Option<Table> {
    let sampled = |blocks: u64| match blocks {
        0 => NO_SAMPLE.to_owned(),
        blocks => blocks.to_string(),
    };
    let table = Table::of(
        "Miss-ratio curves of LRU",
        methods,
        &[
            ("curve", &|of| of.method.clone()),
            ("blocks sampled", &|of| or_dash(of.sampled_blocks, sampled)),
            ("mean absolute error", &|of| {
                or_dash(of.mean_absolute_error, |error| format!("{error:.5}"))
            }),
            ("time (ms)", &|of| {
                format!("{:.1}", of.elapsed_ns as f64 / 1e6)
            }),
        ],
    );
    (!methods.is_empty()).then_some(table)
}
