//! The miss ratio of each picker, with its interval.

use anyhow::Result;
use results::chart::Drawing;
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{BLUE, GREY, Mark, VERMILLION};
use results::quantity::count;

use super::picker::Picker;
use super::picker_claims::{Score, scores};
use super::rows::PickerRow;

/// The figure; none without rows.
pub(crate) fn draw(rows: &[PickerRow]) -> Result<Vec<Drawing>> {
    let scores = scores(rows);
    let places = || (0..).map(f64::from).zip(&scores);
    let seeds = places().flat_map(|(y, score)| score.percents.values().map(move |x| (*x, y)));
    let side = |name: &str, color, is_guest: bool| {
        let of_side = places().filter(|(_, score)| score.picker.is_guest() == is_guest);
        let means = of_side.map(|(y, score)| (y, score.mean));
        Series::means_across(name, (color, Mark::Full), means)
    };
    let baseline = scores.iter().find(|of| of.picker == Picker::BASELINE);
    let baseline = baseline.map(|score| {
        let name = format!("{}, the baseline", Picker::BASELINE);
        Series::new(name, (GREY, Mark::Hollow)).vertical(score.mean.value)
    });
    let all = scores.iter().flat_map(|score| score.percents.values());
    let most = 1.06 * all.copied().fold(1.0, f64::max);
    let note = |score: &Score| format!("{} %", score.mean.text(2));
    plot::draw([Plot::new(
        "eviction_pickers",
        "Misses by picker",
        // A little to the left of 0, where the best ones are.
        Scale::linear("Reads that miss (%)").range(-0.01 * most, most),
        Scale::names("", scores.iter().map(|score| score.picker.to_string()))
            .notes(scores.iter().map(note)),
    )
    .subtitle(format!(
        "Share of {} reads that miss: mean and 95 % interval of {} seeds.",
        count(rows.first().map_or(0, |row| row.reads) as f64),
        scores.iter().map(|score| score.mean.count).max().unwrap_or(0)
    ))
    .caption(
        "One line for each picker; the table of pickers names what each knows. Rings are single seeds, dots their \
         means, bars the bootstrapped 95 % intervals, which are often narrower than the dot.",
    )
    .panel(
        "",
        baseline.into_iter().chain([
            Series::dots("single seeds", (GREY, Mark::Hollow), seeds).fine(),
            side("the guest picks", BLUE, true),
            side("the hypervisor picks", VERMILLION, false),
        ]),
    )])
}
