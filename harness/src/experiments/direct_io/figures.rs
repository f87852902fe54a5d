//! Bytes of the pool in the page cache over time.

use anyhow::Result;
use plotters::prelude::*;
use results::chart::axis::Axis;
use results::chart::sheet::{Area, BLUE, Header, Swatch, VERMILLION, dress, sheet};
use results::chart::{Drawing, Figure, scale};

use super::rows::DirectIoRow;

const MODES: [(&str, RGBColor); 2] = [("direct", BLUE), ("buffered", VERMILLION)];

const MIB: f64 = (1 << 20) as f64;

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[DirectIoRow]) -> Result<Vec<Drawing>> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let title = "What the page cache of the host holds of the pool";
    let header = Header {
        title,
        subtitle: &format!(
            "A client writes a vSSD of {} in order, and then reads it at random.",
            scale::bytes(first.vssd_bytes as f64)
        ),
        legend: MODES
            .iter()
            .map(|(mode, color)| (Swatch::Line(*color), (*mode).to_owned()))
            .collect(),
    };
    let svg = sheet(&header, |area| chart(area, rows))?;
    let figure = Figure {
        stem: "direct_io",
        title: title.to_owned(),
        caption: "Each line is a backend of its own on a file of its own, from before the first \
                  request to after the last. `direct` is how the backend runs unless told otherwise; \
                  `buffered` shows what the instrument sees when data do go through the page cache."
            .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

fn chart(area: &Area<'_>, rows: &[DirectIoRow]) -> Result<()> {
    let most = |value: fn(&DirectIoRow) -> f64| rows.iter().map(value).fold(0.001, f64::max);
    let end = most(|row| row.at_ns as f64 / 1e6);
    let top = most(|row| row.resident_bytes.max(row.vssd_bytes) as f64 / MIB) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_right(28)
        .x_label_area_size(52)
        .y_label_area_size(100)
        .build_cartesian_2d(
            Axis::linear(0.0..end, scale::linear_ticks(end, 10), scale::count),
            Axis::linear(-0.02 * top..top, scale::linear_ticks(top, 6), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc("Time (ms)").y_desc("Resident (MiB)").draw()?;
    for (mode, color) in MODES {
        let of = rows.iter().filter(|row| row.mode == mode);
        let path: Vec<(f64, f64)> = of
            .map(|row| (row.at_ns as f64 / 1e6, row.resident_bytes as f64 / MIB))
            .collect();
        chart.draw_series([PathElement::new(path, color.stroke_width(3))])?;
    }
    Ok(())
}
