//! Runs the simulation.

use anyhow::Result;
use results::store::RunFolder;
use simulate::curves::{self, Counted, Method};
use simulate::mrc::Curve;
use simulate::replay;

use super::params::Params;
use super::rows::{MethodRow, SimRow, StepRow};
use crate::experiments::common::lab::Lab;

/// Most recorded steps of a curve: about one for each pixel of the figure.
const STEPS_MAX: usize = 1000;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let input = params.input(lab.seed, lab.progress)?;
    let sizes = params.sizes(input.distinct)?;
    let warmup = params.warmup(input.len());
    let bar = lab.progress.bar(
        "simulating",
        (params.contenders.len() * sizes.len() + params.methods.len()) as u64,
    );
    let rows = replay::run(&input, &params.contenders, &sizes, warmup, &bar)?;
    let mut counted = Vec::new();
    for method in &params.methods {
        counted.push(curves::count(&input, *method, lab.seed)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let rows: Vec<SimRow> = rows.into_iter().map(SimRow::from).collect();
    rows.iter().try_for_each(|row| folder.append(row))?;
    let (steps, methods) = record(&counted, input.distinct);
    steps.iter().try_for_each(|row| folder.append(row))?;
    methods.iter().try_for_each(|row| folder.append(row))?;
    folder.fact("input", &input.what)?;
    folder.fact("accesses", input.len())?;
    folder.fact("distinct_blocks", input.distinct)?;
    folder.fact("warmup_accesses", warmup)?;
    if !input.notes.is_empty() {
        folder.fact("notes", &input.notes)?;
    }
    if warmup == 0 {
        lru_by_curve(&rows, &counted, input.len(), folder)?;
    }
    Ok(())
}

/// Records at how many sizes the simulated LRU misses as often as the complete exact curve
/// predicts; only some steps of the curve are recorded.
fn lru_by_curve(
    rows: &[SimRow],
    counted: &[Counted],
    accesses: usize,
    folder: &mut RunFolder,
) -> Result<()> {
    let exact = counted.iter().find(|of| of.method == Method::Exact);
    let Some(exact) = exact.and_then(|of| of.curve.as_ref()) else {
        return Ok(());
    };
    let lru: Vec<_> = rows.iter().filter(|row| row.policy == "lru").collect();
    let same = |row: &&&SimRow| {
        let ratio = exact.miss_ratio(row.cache_blocks.into());
        (ratio * accesses as f64).round() as u64 == row.misses()
    };
    if !lru.is_empty() {
        folder.fact("lru_sizes", lru.len())?;
        folder.fact("lru_sizes_equal", lru.iter().filter(same).count())?;
    }
    Ok(())
}

/// Rows of the curves: their steps, thinned if there are many, and their error against the exact
/// curve if that was computed.
fn record(counted: &[Counted], distinct: u32) -> (Vec<StepRow>, Vec<MethodRow>) {
    let exact = counted.iter().find(|of| of.method == Method::Exact);
    let mut rows = Vec::new();
    let mut summaries = Vec::new();
    for of in counted {
        let steps: Vec<(u64, f64)> = of.curve.iter().flat_map(Curve::steps).collect();
        let every = steps.len().div_ceil(STEPS_MAX).max(1);
        let last = steps.len().saturating_sub(1);
        let recorded = steps.iter().enumerate();
        let recorded = recorded.filter(|(at, _)| at % every == 0 || *at == last);
        rows.extend(recorded.map(|(_, (cache_blocks, miss_ratio))| StepRow {
            method: of.method.to_string(),
            cache_blocks: Some(*cache_blocks),
            miss_ratio: Some(*miss_ratio),
        }));
        if of.curve.is_none() {
            rows.push(StepRow {
                method: of.method.to_string(),
                cache_blocks: None,
                miss_ratio: None,
            });
        }
        let curves = exact.and_then(|exact| Some((of.curve.as_ref()?, exact.curve.as_ref()?)));
        let error = curves.map(|(of, exact)| of.mean_absolute_error(exact, distinct.into()));
        summaries.push(MethodRow {
            method: of.method.to_string(),
            sampled_blocks: Some(of.sampled_blocks),
            mean_absolute_error: error,
            elapsed_ns: of.elapsed_ns,
        });
    }
    (rows, summaries)
}
