//! Time of a request by medium: the model's, the client's and the guest's.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::axis::Axis;
use results::chart::sheet::{
    Area, BLUE, GREEN, Header, INK, Mark, Swatch, VERMILLION, dress, marker, sheet, text,
};
use results::chart::{Drawing, Figure, scale};

use super::claims::{NONE, Rows};
use super::rows::MediaRow;

const SIDES: [(&str, &str, RGBColor); 3] = [
    ("model", "the model alone", INK),
    ("client", "client without a guest", BLUE),
    ("guest", "guest", VERMILLION),
];

/// Room for the names of media, pixels.
const NAMES: i32 = 110;

/// The figure; none when there are no rows.
pub(crate) fn draw(rows: &[MediaRow]) -> Result<Vec<Drawing>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let title = "Time of a request by medium";
    let sides =
        SIDES.map(|(_, name, color)| (Swatch::MarkedLine(color, Mark::Full), name.to_owned()));
    let way = (Swatch::Line(GREEN), "guest, no medium imitated".to_owned());
    let header = Header {
        title,
        subtitle: "4 KiB at random, one request at a time; half of the requests took no longer.",
        legend: sides.into_iter().chain([way]).collect(),
    };
    let svg = sheet(&header, |area| {
        for (op, part) in ["read", "write"].into_iter().zip(area.split_evenly((1, 2))) {
            panel(&part, op, &Rows(rows))?;
        }
        Ok(())
    })?;
    let figure = Figure {
        stem: "media",
        title: title.to_owned(),
        caption:
            "The axis is logarithmic. A medium that is slower than the way to it shows its own \
                  time; for all others the points of client and guest lie where they lie without \
                  a medium."
                .to_owned(),
    };
    Ok(vec![(figure, svg)])
}

fn panel(area: &Area<'_>, op: &str, rows: &Rows<'_>) -> Result<()> {
    let (width, _) = area.dim_in_pixel();
    area.draw(&Text::new(
        op,
        (NAMES + (width as i32 - NAMES - 24) / 2, 12),
        text(17, INK, HPos::Center, VPos::Center),
    ))?;
    let media = rows.media();
    let times = rows.0.iter().map(|row| row.p50_ns.max(1) as f64);
    let (least, most) = times.fold((f64::INFINITY, 1.0), |(a, b), t| (a.min(t), f64::max(b, t)));
    let range = least / 3.0..most * 3.0;
    let ticks = scale::powers(10.0, range.start, range.end);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(28)
        .margin_right(24)
        .x_label_area_size(52)
        .y_label_area_size(NAMES as u32 - 14)
        .build_cartesian_2d(
            Axis::logarithmic(range.clone(), ticks, scale::time),
            Axis::linear(-0.6..media.len() as f64 - 0.4, Vec::new(), scale::count),
        )?;
    let mut mesh = chart.configure_mesh();
    dress(&mut mesh);
    mesh.x_desc("Time of a request").draw()?;
    if let Some(way) = rows.find(NONE, "guest", op, false) {
        let x = way.p50_ns as f64;
        let path = vec![(x, -0.6), (x, media.len() as f64 - 0.4)];
        chart.draw_series([PathElement::new(path, GREEN.stroke_width(2))])?;
    }
    for (number, medium) in media.iter().rev().enumerate() {
        let y = number as f64;
        let name = text(15, INK, HPos::Right, VPos::Center);
        let at = (
            chart.backend_coord(&(range.start, y)).0 - 10,
            chart.backend_coord(&(range.start, y)).1,
        );
        let (left, top) = area.get_base_pixel();
        area.draw(&Text::new(
            (*medium).to_owned(),
            (at.0 - left, at.1 - top),
            name,
        ))?;
        for ((side, _, color), shift) in SIDES.into_iter().zip([0.2, 0.0, -0.2]) {
            if let Some(row) = rows.find(medium, side, op, false) {
                let at = (row.p50_ns.max(1) as f64, y + shift);
                chart.draw_series([marker(at, 6, color, Mark::Full)])?;
            }
        }
    }
    Ok(())
}
