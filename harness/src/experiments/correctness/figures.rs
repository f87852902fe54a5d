//! Balloon size over step, and read errors over it.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREY, Header, Mark, SHADE, Swatch, VERMILLION, dress, marker, sheet, text,
    text_width,
};
use results::chart::{Drawing, Figure, scale};

use super::rows::CorrectnessRow;

/// A run of steps of the same part, by their places on the axis.
struct Part {
    name: String,
    from: usize,
    to: usize,
}

fn parts(rows: &[CorrectnessRow]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        match parts.last_mut() {
            Some(part) if part.name == row.part => part.to = i,
            _ => parts.push(Part {
                name: row.part.clone(),
                from: i,
                to: i,
            }),
        }
    }
    parts
}

/// What a part is called in the figure.
fn label(part: &str) -> &str {
    match part {
        "walk" => "planned sizes",
        "random" => "random sizes, I/O in flight",
        other => other,
    }
}

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[CorrectnessRow]) -> Result<Vec<Drawing>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let apart = rows
        .iter()
        .filter(|row| row.read_errors != row.balloon_blocks)
        .count();
    let title = "Read errors follow the balloon";
    let subtitle = match apart {
        0 => format!(
            "After each of {} steps every block was read: as many reads failed as the host held blocks.",
            rows.len()
        ),
        _ => format!(
            "After each of {} steps every block was read; at {apart} of them errors and blocks held differ.",
            rows.len()
        ),
    };
    let header = Header {
        title,
        subtitle: &subtitle,
        legend: vec![
            (Swatch::Line(BLUE), "blocks held by the host".to_owned()),
            (
                Swatch::Marker(VERMILLION, Mark::Full),
                "read errors of a sequential read".to_owned(),
            ),
        ],
    };
    let svg = sheet(&header, |area| chart(area, rows))?;
    let figure = Figure {
        stem: "correctness",
        title: title.to_owned(),
        caption: "The line is the balloon, the number of blocks that the host holds, step by \
                  step. A dot is the number of blocks that the guest could not read after that \
                  step. Where every dot lies on the line, exactly the surrendered blocks fail."
            .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

fn chart(area: &Area<'_>, rows: &[CorrectnessRow]) -> Result<()> {
    let capacity = rows
        .iter()
        .map(|row| row.capacity_blocks)
        .max()
        .unwrap_or(1);
    let capacity = f64::from(capacity.max(1));
    let steps = rows.len() as f64;
    let quarters = (0..=4).map(|i| f64::from(i) * capacity / 4.0).collect();
    // Room above the full device for the names of the parts.
    let top = capacity * 1.14;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(28)
        .x_label_area_size(52)
        .y_label_area_size(100)
        .build_cartesian_2d(
            Axis::linear(
                -0.5..steps - 0.5,
                scale::linear_ticks(steps - 1.0, 16),
                scale::count,
            ),
            Axis::linear(0.0..top, quarters, scale::count),
        )?;
    let parts = parts(rows);
    let shaded = parts.iter().skip(1).step_by(2).map(|part| {
        let corners = [(part.from as f64 - 0.5, 0.0), (part.to as f64 + 0.5, top)];
        Rectangle::new(corners, SHADE.filled())
    });
    chart.draw_series(shaded)?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.disable_x_mesh()
        .x_desc("Step")
        .y_desc("Blocks")
        .draw()?;
    let (width, _) = chart.plotting_area().dim_in_pixel();
    for part in &parts {
        let name = label(&part.name).to_owned();
        let share = (part.to - part.from + 1) as f64 / steps;
        if f64::from(text_width(&name, 15)) < share * f64::from(width) {
            let middle = (part.from + part.to) as f64 / 2.0;
            let style = text(15, GREY, HPos::Center, VPos::Center);
            chart.draw_series([Text::new(name, (middle, capacity * 1.07), style)])?;
        }
    }
    let stairs = rows.iter().enumerate().flat_map(|(i, row)| {
        let (x, y) = (i as f64, f64::from(row.balloon_blocks));
        [(x - 0.5, y), (x + 0.5, y)]
    });
    // Steps that are a few pixels wide would run together.
    let (stroke, radius) = match rows.len() {
        0..=60 => (3, 5),
        _ => (1, 3),
    };
    chart.draw_series([PathElement::new(
        stairs.collect::<Vec<_>>(),
        BLUE.stroke_width(stroke),
    )])?;
    chart.draw_series(rows.iter().enumerate().map(|(i, row)| {
        marker(
            (i as f64, f64::from(row.read_errors)),
            radius,
            VERMILLION,
            Mark::Full,
        )
    }))?;
    Ok(())
}
