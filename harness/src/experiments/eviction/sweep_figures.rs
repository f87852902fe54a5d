//! Where guest picks pay: a heat map over two axes of a sweep, or a line over one.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use results::chart::plot::{self, Plot};
use results::chart::scale::Scale;
use results::chart::series::Series;
use results::chart::sheet::{
    Area, BLUE, GREY, Header, INK, Mark, SHADE, Swatch, VERMILLION, sheet, text, text_width,
};
use results::chart::{Drawing, Figure};

use super::sweep_claims::{Landscape, Point};

/// Names of the files, one for each heat map; the table has the values of a third axis that are left
/// out.
const STEMS: [&str; 6] = [
    "sweep", "sweep_2", "sweep_3", "sweep_4", "sweep_5", "sweep_6",
];

/// Size of the text in a cell.
const CELL_TEXT: u32 = 13;

/// Width of the bar that explains the colours.
const BAR_WIDTH: i32 = 18;

/// Steps of its gradient.
const BAR_STEPS: i32 = 100;

/// The figures of a sweep; none without points.
pub(crate) fn draw(title: &str, landscape: &Landscape) -> Result<Vec<Drawing>> {
    let known = landscape.points.iter().filter_map(|point| point.difference);
    let largest = known.map(|mean| mean.value.abs()).fold(0.0, f64::max);
    if landscape.axes.len() < 2 {
        return line(title, landscape);
    }
    // One map for each combination of values of the other axes.
    let mut rest: Vec<&[String]> = Vec::new();
    for point in &landscape.points {
        let further = &point.values[2..];
        if !rest.contains(&further) {
            rest.push(further);
        }
    }
    let maps = rest.into_iter().take(STEMS.len()).enumerate();
    maps.map(|(i, further)| {
        let map = Map {
            landscape,
            further,
            // All maps have the same scale, a multiple of 10 points.
            limit: (largest / 10.0).ceil().max(1.0) * 10.0,
        };
        map.draw(title, i)
    })
    .collect()
}

/// A colour between vermillion (the guest misses more), white and blue.
fn color(share: f64) -> RGBColor {
    let end = if share < 0.0 { BLUE } else { VERMILLION };
    // Stretches small differences, so that those at the line are visible.
    let part = share.abs().min(1.0).powf(0.7);
    let mix = |end: u8| (255.0 + part * (f64::from(end) - 255.0)).round() as u8;
    RGBColor(mix(end.0), mix(end.1), mix(end.2))
}

fn subtitle(landscape: &Landscape) -> String {
    let seeds = landscape.points.iter().filter_map(|point| point.difference);
    let seeds = seeds.map(|mean| mean.count).max().unwrap_or(0);
    format!(
        "Share of reads that miss with {} minus that with {}, mean of {seeds} seeds.",
        landscape.duel.guest, landscape.duel.host
    )
}

struct Map<'a> {
    landscape: &'a Landscape,
    further: &'a [String],
    limit: f64,
}

/// Places of cells on the page.
struct Grid {
    left: i32,
    top: i32,
    width: f64,
    height: f64,
}

impl Grid {
    fn corner(&self, column: usize, row: usize) -> (i32, i32) {
        let x = f64::from(self.left) + self.width * column as f64;
        let y = f64::from(self.top) + self.height * row as f64;
        (x.round() as i32, y.round() as i32)
    }
}

impl Map<'_> {
    fn rows(&self) -> &[String] {
        &self.landscape.values[0]
    }

    fn columns(&self) -> &[String] {
        &self.landscape.values[1]
    }

    /// The point of a cell; rows count from the top, where the first axis ends.
    fn point(&self, column: usize, row: usize) -> Option<&Point> {
        let first = self.rows().len().checked_sub(row + 1)?;
        let mut values = vec![self.rows()[first].as_str(), self.columns().get(column)?];
        values.extend(self.further.iter().map(String::as_str));
        self.landscape.at(&values)
    }

    fn draw(&self, title: &str, number: usize) -> Result<Drawing> {
        let further: Vec<String> = self.landscape.axes[2..]
            .iter()
            .zip(self.further)
            .map(|(axis, value)| format!("{axis} {value}"))
            .collect();
        let title = if further.is_empty() {
            title.to_owned()
        } else {
            format!("{title}: {}", further.join(", "))
        };
        let header = Header {
            title: &title,
            subtitle: &subtitle(self.landscape),
            legend: vec![
                (Swatch::Fill(BLUE), "guest picks miss less".to_owned()),
                (Swatch::Fill(VERMILLION), "guest picks miss more".to_owned()),
                (Swatch::Line(INK), "limit of paying".to_owned()),
            ],
        };
        let svg = sheet(&header, |area| self.body(area))?;
        let figure = Figure {
            stem: STEMS[number],
            title,
            caption: "Each cell is a point of the sweep, with the difference of miss ratios in percentage points of all \
                      reads: below 0, guest picks miss less. They pay if the 95 % interval is below 0 and the saving \
                      is at least one point; the black line separates these cells from the others. Cells without \
                      data are grey."
                .to_owned(),
        };
        Ok((figure, svg))
    }

    fn body(&self, area: &Area<'_>) -> Result<()> {
        let (width, height) = area.dim_in_pixel();
        let widest = self.rows().iter().map(|value| text_width(value, 14)).max();
        let left = 56 + widest.unwrap_or(0).min(260);
        let (right, bottom) = (width as i32 - 130, height as i32 - 62);
        let top = 10;
        let grid = Grid {
            left,
            top,
            width: f64::from(right - left) / self.columns().len() as f64,
            height: f64::from(bottom - top) / self.rows().len() as f64,
        };
        for row in 0..self.rows().len() {
            for column in 0..self.columns().len() {
                self.cell(area, &grid, column, row)?;
            }
        }
        for row in 0..self.rows().len() {
            for column in 0..self.columns().len() {
                self.edges(area, &grid, column, row)?;
            }
        }
        self.labels(area, &grid, bottom)?;
        self.bar(area, right + 28, top, bottom)
    }

    fn cell(&self, area: &Area<'_>, grid: &Grid, column: usize, row: usize) -> Result<()> {
        let corners = [grid.corner(column, row), grid.corner(column + 1, row + 1)];
        let known = self.point(column, row).and_then(|point| point.difference);
        let Some(mean) = known else {
            area.draw(&Rectangle::new(corners, SHADE.filled()))?;
            return Ok(());
        };
        let share = mean.value / self.limit;
        area.draw(&Rectangle::new(corners, color(share).filled()))?;
        let decimals = if mean.value.abs() < 9.95 { 1 } else { 0 };
        let number = format!("{:.decimals$}", mean.value);
        let number = if number == "-0.0" { "0.0" } else { &number };
        if f64::from(text_width(number, CELL_TEXT)) + 4.0 <= grid.width && grid.height >= 15.0 {
            let ink = if share.abs() > 0.55 { WHITE } else { INK };
            let [from, to] = corners;
            let middle = ((from.0 + to.0) / 2, (from.1 + to.1) / 2);
            let style = text(CELL_TEXT, ink, HPos::Center, VPos::Center);
            area.draw(&Text::new(number, middle, style))?;
        }
        Ok(())
    }

    /// Lines between a cell and its neighbours to the right and below, where one
    /// pays and the other does not.
    fn edges(&self, area: &Area<'_>, grid: &Grid, column: usize, row: usize) -> Result<()> {
        let pays = |column, row| self.point(column, row).map(Point::pays);
        let here = pays(column, row);
        for (neighbour, ends) in [
            (
                (column + 1, row),
                [(column + 1, row), (column + 1, row + 1)],
            ),
            (
                (column, row + 1),
                [(column, row + 1), (column + 1, row + 1)],
            ),
        ] {
            let there = pays(neighbour.0, neighbour.1);
            if here.is_some() && there.is_some() && here != there {
                let path = ends.map(|(column, row)| grid.corner(column, row));
                area.draw(&PathElement::new(path, INK.stroke_width(3)))?;
            }
        }
        Ok(())
    }

    fn labels(&self, area: &Area<'_>, grid: &Grid, bottom: i32) -> Result<()> {
        let middle = |a: (i32, i32), b: (i32, i32)| ((a.0 + b.0) / 2, (a.1 + b.1) / 2);
        let rows = self.rows();
        for (row, value) in rows.iter().rev().enumerate() {
            let (_, y) = middle(grid.corner(0, row), grid.corner(0, row + 1));
            let style = text(14, INK, HPos::Right, VPos::Center);
            area.draw(&Text::new(value.as_str(), (grid.left - 8, y), style))?;
        }
        let columns = self.columns();
        let widest = columns.iter().map(|value| text_width(value, 14)).max();
        // Leaves labels out where they would touch.
        let every = ((f64::from(widest.unwrap_or(0)) + 6.0) / grid.width).ceil() as usize;
        for (column, value) in columns.iter().enumerate().step_by(every.max(1)) {
            let (x, _) = middle(grid.corner(column, 0), grid.corner(column + 1, 0));
            let style = text(14, INK, HPos::Center, VPos::Top);
            area.draw(&Text::new(value.as_str(), (x, bottom + 8), style))?;
        }
        let x = grid.corner(columns.len(), 0).0;
        let style = text(16, INK, HPos::Center, VPos::Center);
        area.draw(&Text::new(
            self.landscape.axes[1].as_str(),
            ((grid.left + x) / 2, bottom + 44),
            style.clone(),
        ))?;
        let y = (grid.top + bottom) / 2;
        let turned = style.transform(FontTransform::Rotate270);
        area.draw(&Text::new(self.landscape.axes[0].as_str(), (18, y), turned))?;
        Ok(())
    }

    /// The key of the colours.
    fn bar(&self, area: &Area<'_>, left: i32, top: i32, bottom: i32) -> Result<()> {
        let height = bottom - top;
        let y = |step: i32| top + height * step / BAR_STEPS;
        for step in 0..BAR_STEPS {
            let share = 1.0 - 2.0 * (f64::from(step) + 0.5) / f64::from(BAR_STEPS);
            // Steps overlap by a pixel, so that there are no gaps.
            let end = (y(step + 1) + 1).min(bottom);
            let corners = [(left, y(step)), (left + BAR_WIDTH, end)];
            area.draw(&Rectangle::new(corners, color(share).filled()))?;
        }
        for share in [1.0, 0.5, 0.0, -0.5, -1.0] {
            let at = top + (f64::from(height) * (1.0 - share) / 2.0).round() as i32;
            let value = share * self.limit;
            let sign = if share > 0.0 { "+" } else { "" };
            let tick = [(left + BAR_WIDTH, at), (left + BAR_WIDTH + 4, at)];
            area.draw(&PathElement::new(tick, GREY.stroke_width(1)))?;
            let style = text(14, INK, HPos::Left, VPos::Center);
            let label = format!("{sign}{value:.0}");
            area.draw(&Text::new(label, (left + BAR_WIDTH + 8, at), style))?;
        }
        let style = text(14, GREY, HPos::Center, VPos::Center);
        area.draw(&Text::new(
            "percentage",
            (left + 32, bottom + 20),
            style.clone(),
        ))?;
        area.draw(&Text::new("points", (left + 32, bottom + 38), style))?;
        Ok(())
    }
}

/// The difference over a single axis, with its intervals.
fn line(title: &str, landscape: &Landscape) -> Result<Vec<Drawing>> {
    let (Some(axis), Some(values)) = (landscape.axes.first(), landscape.values.first()) else {
        return Ok(Vec::new());
    };
    let means = (0..).zip(&landscape.points);
    let means = means.filter_map(|(x, point)| Some((f64::from(x), point.difference?)));
    let name = "mean, with its 95 % interval";
    plot::draw([Plot::new(
        STEMS[0],
        title,
        Scale::names(axis, values),
        Scale::linear("Percentage points"),
    )
    .subtitle(subtitle(landscape))
    .caption("Below 0, guest picks miss less. The values of the axis have equal distances.")
    .panel("", [Series::means(name, (BLUE, Mark::Full), means)])])
}
