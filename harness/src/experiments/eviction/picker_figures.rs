//! How much each picker misses, with how sure that is.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREY, Header, INK, Mark, Swatch, VERMILLION, dress, marker, sheet, text,
};
use results::chart::{Drawing, Figure, scale};

use super::picker::Picker;
use super::picker_claims::{Score, scores};
use super::rows::PickerRow;

/// Room for the names of pickers, and for numbers on the other side.
const NAMES: i32 = 160;
const NUMBERS: i32 = 190;

fn color(picker: Picker) -> RGBColor {
    match picker.is_guest() {
        true => BLUE,
        false => VERMILLION,
    }
}

/// The figure; none without rows.
pub(crate) fn draw(rows: &[PickerRow]) -> Result<Vec<Drawing>> {
    let scores = scores(rows);
    let Some(seeds) = scores.iter().map(|score| score.mean.count).max() else {
        return Ok(Vec::new());
    };
    let title = "Misses by who picks";
    let header = Header {
        title,
        subtitle: &format!(
            "Share of {} reads that miss: mean and 95 % interval of {seeds} seeds.",
            scale::count(rows[0].reads as f64)
        ),
        legend: vec![
            (
                Swatch::Marker(BLUE, Mark::Full),
                "the guest picks".to_owned(),
            ),
            (
                Swatch::Marker(VERMILLION, Mark::Full),
                "the hypervisor picks".to_owned(),
            ),
            (
                Swatch::Marker(GREY, Mark::Hollow),
                "single seeds".to_owned(),
            ),
            (Swatch::Line(GREY), "host-uniform, the baseline".to_owned()),
        ],
    };
    let svg = sheet(&header, |area| body(area, &scores))?;
    let figure = Figure {
        stem: "eviction_pickers",
        title: title.to_owned(),
        caption: "One line for each picker, with what it goes by in the table below. Rings are \
                  single seeds, dots their means, bars the bootstrapped 95 % intervals, which \
                  are often narrower than the dot."
            .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

fn body(area: &Area<'_>, scores: &[Score]) -> Result<()> {
    let count = scores.len() as f64;
    let all = scores.iter().flat_map(|score| score.percents.values());
    let most = all.copied().fold(1.0, f64::max) * 1.06;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(NUMBERS)
        .x_label_area_size(52)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(
            // A little to the left of 0, where the best stand.
            Axis::linear(
                -0.01 * most..most,
                scale::linear_ticks(most, 8),
                scale::count,
            ),
            Axis::linear(0.0..count, Vec::new(), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_y_mesh()
        .disable_y_axis()
        .x_desc("Reads that miss (%)")
        .draw()?;
    let baseline = scores.iter().find(|of| of.picker == Picker::BASELINE);
    if let Some(baseline) = baseline {
        let path = [(baseline.mean.value, 0.0), (baseline.mean.value, count)];
        chart.draw_series([PathElement::new(path, GREY.stroke_width(1))])?;
    }
    for (i, score) in scores.iter().enumerate() {
        let y = count - 0.5 - i as f64;
        let color = color(score.picker);
        let rings = score.percents.values().map(|percent| (*percent, y));
        let faint = color.mix(0.35);
        chart.draw_series(rings.map(|at| Circle::new(at, 5, faint.stroke_width(1))))?;
        if let Some((low, high)) = score.mean.bounds {
            let path = [(low, y), (high, y)];
            chart.draw_series([PathElement::new(path, color.stroke_width(3))])?;
        }
        let at = (score.mean.value, y);
        chart.draw_series([marker(at, 5, color, Mark::Full)])?;
    }
    let plot = chart.plotting_area();
    let (_, rows) = area.get_pixel_range();
    for (i, score) in scores.iter().enumerate() {
        let y = count - 0.5 - i as f64;
        let (left, down) = plot.map_coordinate(&(-0.01 * most, y));
        let (right, _) = plot.map_coordinate(&(most, y));
        let down = down - rows.start;
        let name = text(16, INK, HPos::Right, VPos::Center);
        area.draw(&Text::new(
            score.picker.to_string(),
            (left - 12, down),
            name,
        ))?;
        let number = text(16, color(score.picker), HPos::Left, VPos::Center);
        let value = format!("{} %", score.mean.text(2));
        area.draw(&Text::new(value, (right + 14, down), number))?;
    }
    Ok(())
}
