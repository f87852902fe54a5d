//! What the guest's knowledge is worth, by condition and value.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, GREY, Mark, VERMILLION};

use super::rows::{Condition, KnowledgeRow};
use super::worth::{POINTS, Worth, worths};

/// A figure for each condition; none without rows.
pub(crate) fn draw(rows: &[KnowledgeRow], tuning_seeds: usize) -> Result<Vec<Drawing>> {
    let worths = worths(rows, tuning_seeds);
    plot::draw(
        worths
            .iter()
            .map(|(condition, worths)| of(*condition, worths)),
    )
}

/// Misses of the best of each side, and beside them what the guest saves.
fn of(condition: Condition, worths: &[Worth]) -> Plot {
    let (stem, title, axis) = match condition {
        Condition::Memory => (
            "knowledge_memory",
            "Worth of the guest's choice, by memory above the vSSD",
            "Memory (% of the working set)",
        ),
        Condition::Policy => (
            "knowledge_policy",
            "Worth of the guest's choice, by the policy of its cache",
            "Eviction policy of the guest's cache",
        ),
        Condition::Death => (
            "knowledge_death",
            "Worth of the guest's choice, by files that die untold",
            "Temporary files (% of the blocks written)",
        ),
        Condition::DeathTold => (
            "knowledge_death_told",
            "Worth of the guest's choice, by files whose death DISCARD tells",
            "Temporary files (% of the blocks written)",
        ),
    };
    let numbers: Option<Vec<f64>> = worths.iter().map(|of| of.value.parse().ok()).collect();
    let scale = match &numbers {
        Some(_) => Scale::linear(axis),
        None => Scale::names(axis, worths.iter().map(|of| of.value.clone())),
    };
    let places: Vec<f64> = match numbers {
        Some(numbers) => numbers,
        None => (0..worths.len()).map(|place| place as f64).collect(),
    };
    let at = |value: fn(&Worth) -> f64| places.iter().copied().zip(worths.iter().map(value));
    let guest = Series::marked(
        "best guest",
        (BLUE, Mark::Full),
        at(|of| of.misses[0].value),
    );
    let host = Series::marked(
        "best host",
        (VERMILLION, Mark::Full),
        at(|of| of.misses[1].value),
    );
    let saved = Series::marked("saved", (BLUE, Mark::Full), at(|of| of.points.value));
    let saved =
        places
            .iter()
            .zip(worths)
            .fold(saved, |saved, (place, of)| match of.points.bounds {
                Some((low, high)) => saved.interval((*place, low), (*place, high)),
                None => saved,
            });
    let bar = Series::new("bar", (GREY, Mark::Hollow)).horizontal(POINTS);
    Plot::new(
        stem,
        title,
        scale,
        Scale::linear("% of the accesses"),
    )
    .caption(
        "Misses after a shrink, of the best way to pick of each side, chosen with other seeds. What the guest saves is \
         the difference by seed, with its 95 % interval; the bar is one percentage point.",
    )
    .panel("Misses", [guest, host])
    .panel_over(Scale::linear("Saved by the guest (% of the accesses)"), [saved, bar])
}
