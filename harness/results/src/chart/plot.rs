//! Figures declared as data: panels of series over two scales.
//!
//! An experiment says what is drawn; ranges, ticks, margins and the legend follow from
//! that. Figures of another kind draw on a [`sheet`] themselves.

use std::ops::Range;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::scale::Scale;
use super::series::{Layer, Series};
use super::sheet::{Area, GREY, Header, INK, Mark, dress, marker, sheet, text, text_width};
use super::{Drawing, Figure};

/// Size of names and notes.
const TEXT: u32 = 15;

/// A figure: its words, its scales, and a panel for each part.
#[derive(Clone, Debug)]
pub struct Plot {
    figure: Figure,
    subtitle: String,
    x: Scale,
    y: Scale,
    panels: Vec<Panel>,
}

/// A part of a figure: all panels have the same scales, unless one brings its own.
#[derive(Clone, Debug)]
struct Panel {
    name: String,
    y: Option<Scale>,
    series: Vec<Series>,
}

impl Plot {
    /// A figure without panels.
    pub fn new(stem: &'static str, title: impl Into<String>, x: Scale, y: Scale) -> Self {
        let figure = Figure {
            stem,
            title: title.into(),
            caption: String::new(),
        };
        Self {
            figure,
            subtitle: String::new(),
            x,
            y,
            panels: Vec::new(),
        }
    }

    /// The line below the title: what was measured.
    pub fn subtitle(self, subtitle: impl Into<String>) -> Self {
        Self {
            subtitle: subtitle.into(),
            ..self
        }
    }

    /// How to read the figure, in sentences.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.figure.caption = caption.into();
        self
    }

    /// Adds a panel to the right of the others.
    pub fn panel(mut self, name: &str, series: impl IntoIterator<Item = Series>) -> Self {
        self.panels.push(Panel {
            name: name.to_owned(),
            y: None,
            series: series.into_iter().collect(),
        });
        self
    }

    /// Adds a panel with a vertical scale of its own.
    pub fn panel_over(self, y: Scale, series: impl IntoIterator<Item = Series>) -> Self {
        let mut plot = self.panel("", series);
        if let Some(panel) = plot.panels.last_mut() {
            panel.y = Some(y);
        }
        plot
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let series = self.panels.iter().flat_map(|panel| &panel.series);
        series.flat_map(|series| &series.layers)
    }

    /// Draws it; `None` without a single point.
    pub fn draw(self) -> Result<Option<Drawing>> {
        if !self.layers().any(Layer::has_points) {
            return Ok(None);
        }
        let mut legend: Vec<_> = Vec::new();
        for series in self.panels.iter().flat_map(|panel| &panel.series) {
            if !series.name.is_empty() && legend.iter().all(|(_, name)| *name != series.name) {
                legend.push((series.swatch(), series.name.clone()));
            }
        }
        let header = Header {
            title: &self.figure.title,
            subtitle: &self.subtitle,
            legend,
        };
        let x = self.x.axis(self.layers().flat_map(Layer::xs));
        let svg = sheet(&header, |area| {
            let parts = area.split_evenly((1, self.panels.len()));
            for (panel, part) in self.panels.iter().zip(parts) {
                let y = match &panel.y {
                    Some(own) => {
                        let layers = panel.series.iter().flat_map(|series| &series.layers);
                        (own, own.axis(layers.flat_map(Layer::ys)))
                    }
                    None => (&self.y, self.y.axis(self.layers().flat_map(Layer::ys))),
                };
                panel.draw(&part, (&self.x, x.clone()), y)?;
            }
            Ok(())
        })?;
        Ok(Some((self.figure, svg)))
    }
}

/// Draws the figures that have points.
pub fn draw(plots: impl IntoIterator<Item = Plot>) -> Result<Vec<Drawing>> {
    plots
        .into_iter()
        .filter_map(|plot| plot.draw().transpose())
        .collect()
}

impl Panel {
    fn draw(&self, area: &Area<'_>, x: (&Scale, Axis), y: (&Scale, Axis)) -> Result<()> {
        let ((x, x_axis), (y, y_axis)) = (x, y);
        let y_axis = if y.is_names() {
            y_axis.reversed()
        } else {
            y_axis
        };
        let heads = self.series.iter().flat_map(|series| &series.layers);
        let has_heads = heads
            .clone()
            .any(|layer| matches!(layer, Layer::Shade { .. }));
        let widest = |texts: &[String]| texts.iter().map(|name| text_width(name, TEXT)).max();
        let notes = widest(&y.notes).map_or(28, |width| width + 28);
        let labels = widest(&y_axis.labels()).unwrap_or(0) + 14;
        let label = if y.label.is_empty() { 0 } else { 28 };
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_top(if self.name.is_empty() && !has_heads {
                14
            } else {
                30
            })
            .margin_right(notes)
            .x_label_area_size(52)
            .y_label_area_size(labels + label)
            .build_cartesian_2d(x_axis, y_axis)?;
        let (x_range, y_range) = (chart.x_range(), chart.y_range());
        for series in &self.series {
            for layer in &series.layers {
                if let Layer::Shade { from, to, .. } = layer {
                    let corners = [(*from, y_range.start), (*to, y_range.end)];
                    chart.draw_series([Rectangle::new(corners, series.color.filled())])?;
                }
            }
        }
        let mut mesh = chart.configure_mesh();
        dress(&mut mesh);
        if !x.has_grid() {
            mesh.disable_x_mesh();
        }
        if !y.has_grid() {
            mesh.disable_y_mesh();
        }
        mesh.x_desc(x.label.as_str())
            .y_desc(y.label.as_str())
            .draw()?;
        for series in &self.series {
            for layer in &series.layers {
                draw_layer(&mut chart, series, layer, (&x_range, &y_range))?;
            }
        }
        // Words beside the plot stand on the area round it.
        let (columns, rows) = area.get_pixel_range();
        let plot = chart.plotting_area();
        let place = |at: (f64, f64)| {
            let (x, y) = plot.map_coordinate(&at);
            (x - columns.start, y - rows.start)
        };
        let middle =
            (place((x_range.start, y_range.end)).0 + place((x_range.end, y_range.end)).0) / 2;
        let heading = text(17, INK, HPos::Center, VPos::Center);
        area.draw(&Text::new(self.name.as_str(), (middle, 14), heading))?;
        for (row, note) in y.notes.iter().enumerate() {
            let (x, y) = place((x_range.end, row as f64));
            let style = text(TEXT, GREY, HPos::Left, VPos::Center);
            area.draw(&Text::new(note.as_str(), (x + 12, y), style))?;
        }
        for layer in self.series.iter().flat_map(|series| &series.layers) {
            if let Layer::Shade { from, to, name } = layer {
                let (from, to) = (place((*from, y_range.end)), place((*to, y_range.end)));
                if text_width(name, TEXT) < to.0 - from.0 {
                    let style = text(TEXT, GREY, HPos::Center, VPos::Bottom);
                    let at = ((from.0 + to.0) / 2, from.1 - 6);
                    area.draw(&Text::new(name.as_str(), at, style))?;
                }
            }
        }
        Ok(())
    }
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn draw_layer(
    chart: &mut Chart<'_, '_>,
    series: &Series,
    layer: &Layer,
    (x, y): (&Range<f64>, &Range<f64>),
) -> Result<()> {
    let color = series.color;
    match layer {
        Layer::Path { points, width } => {
            let path = PathElement::new(points.clone(), color.stroke_width(*width));
            chart.draw_series([path])?;
        }
        Layer::Marks { points, radius } => {
            // White below a ring, so that no line goes through it.
            let below = points
                .iter()
                .map(|at| marker(*at, *radius, WHITE, Mark::Full));
            chart.draw_series(below)?;
            chart.draw_series(
                points
                    .iter()
                    .map(|at| marker(*at, *radius, color, series.mark)),
            )?;
        }
        Layer::Boxes(boxes) => {
            chart.draw_series(
                boxes
                    .iter()
                    .map(|corners| Rectangle::new(*corners, color.filled())),
            )?;
        }
        Layer::Band(outline) => {
            chart.draw_series([Polygon::new(outline.clone(), color.filled())])?;
        }
        Layer::Vertical(at) => {
            let path = vec![(*at, y.start), (*at, y.end)];
            chart.draw_series([PathElement::new(path, color.stroke_width(2))])?;
        }
        Layer::Horizontal(at) => {
            let path = vec![(x.start, *at), (x.end, *at)];
            chart.draw_series([PathElement::new(path, color.stroke_width(3))])?;
        }
        // Behind the grid, and drawn already.
        Layer::Shade { .. } => {}
    }
    Ok(())
}
