//! What a figure shows: points that belong together, and how they are drawn.

use plotters::style::{RGBColor, WHITE};

use super::sheet::{BLUE, GREEN, GREY, Mark, ORANGE, PURPLE, SHADE, SKY, Swatch, VERMILLION};
use crate::stats::Mean;

/// A point: its places on the horizontal and on the vertical scale.
pub type At = (f64, f64);

/// Colour and mark of a series.
pub type Look = (RGBColor, Mark);

/// Looks of series in turn: each colour once filled and once hollow.
pub const LOOKS: [Look; 12] = [
    (GREY, Mark::Hollow),
    (GREY, Mark::Full),
    (BLUE, Mark::Full),
    (GREEN, Mark::Full),
    (VERMILLION, Mark::Full),
    (BLUE, Mark::Hollow),
    (GREEN, Mark::Hollow),
    (VERMILLION, Mark::Hollow),
    (ORANGE, Mark::Full),
    (PURPLE, Mark::Full),
    (SKY, Mark::Full),
    (ORANGE, Mark::Hollow),
];

/// Points that belong together, in layers: the later is drawn over the earlier.
#[derive(Clone, Debug)]
pub struct Series {
    pub(super) name: String,
    pub(super) color: RGBColor,
    pub(super) mark: Mark,
    pub(super) layers: Vec<Layer>,
}

/// One way of drawing points.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Path {
        points: Vec<At>,
        width: u32,
    },
    Marks {
        points: Vec<At>,
        radius: i32,
    },
    /// Two opposite corners of each.
    Boxes(Vec<[At; 2]>),
    /// The outline of an area.
    Band(Vec<At>),
    /// A line through the whole panel, at this place of the horizontal scale.
    Vertical(f64),
    /// The same at a place of the vertical scale.
    Horizontal(f64),
    /// A part of the horizontal scale that is unlike the rest, with its name above.
    Shade {
        from: f64,
        to: f64,
        name: String,
    },
}

impl Series {
    /// A series without points; without a name it is not in the legend.
    pub fn new(name: impl Into<String>, (color, mark): Look) -> Self {
        Self {
            name: name.into(),
            color,
            mark,
            layers: Vec::new(),
        }
    }

    /// A line through the points, with a mark at each.
    pub fn marked(
        name: impl Into<String>,
        look: Look,
        points: impl IntoIterator<Item = At>,
    ) -> Self {
        let points: Vec<At> = points.into_iter().collect();
        Self::new(name, look)
            .path(points.iter().copied())
            .marks(points)
    }

    /// A line through the points.
    pub fn line(
        name: impl Into<String>,
        color: RGBColor,
        points: impl IntoIterator<Item = At>,
    ) -> Self {
        Self::new(name, (color, Mark::Hollow)).path(points)
    }

    /// A mark at each point.
    pub fn dots(name: impl Into<String>, look: Look, points: impl IntoIterator<Item = At>) -> Self {
        Self::new(name, look).marks(points)
    }

    /// Times over a vertical scale of names: a dot that half of the requests of a row did not
    /// exceed, and a ring that 99 of a hundred did not. Each has the place of its row, p50 and
    /// p99 in nanoseconds.
    pub fn quantiles(
        name: impl Into<String>,
        color: RGBColor,
        rows: impl IntoIterator<Item = (f64, u64, u64)>,
    ) -> [Self; 2] {
        let rows: Vec<_> = rows.into_iter().collect();
        let at = |ns: u64, row: f64| (ns.max(1) as f64, row);
        let ends = rows
            .iter()
            .map(|(row, p50, p99)| [at(*p50, *row), at(*p99, *row)]);
        let rings = Self::new("", (color, Mark::Hollow)).intervals(ends);
        let p99 = rows.iter().map(|(row, _, p99_ns)| at(*p99_ns, *row));
        let p50 = rows.iter().map(|(row, p50_ns, _)| at(*p50_ns, *row));
        [rings.marks(p99), Self::dots(name, (color, Mark::Full), p50)]
    }

    /// Means at places of the horizontal scale, each with its interval, and a line through them.
    pub fn means(
        name: impl Into<String>,
        look: Look,
        means: impl IntoIterator<Item = (f64, Mean)>,
    ) -> Self {
        let means: Vec<_> = means.into_iter().collect();
        let ends = means.iter().filter_map(|(x, mean)| {
            let (low, high) = mean.bounds?;
            Some([(*x, low), (*x, high)])
        });
        let series = Self::new(name, look).intervals(ends);
        let points = || means.iter().map(|(x, mean)| (*x, mean.value));
        series.path(points()).marks(points())
    }

    /// Means at places of the vertical scale, each with its interval.
    pub fn means_across(
        name: impl Into<String>,
        look: Look,
        means: impl IntoIterator<Item = (f64, Mean)>,
    ) -> Self {
        let means: Vec<_> = means.into_iter().collect();
        let ends = means.iter().filter_map(|(y, mean)| {
            let (low, high) = mean.bounds?;
            Some([(low, *y), (high, *y)])
        });
        let series = Self::new(name, look).intervals(ends);
        series.marks(means.iter().map(|(y, mean)| (mean.value, *y)))
    }

    /// A part of the horizontal scale with its name above, without a shade.
    pub fn heading(name: impl Into<String>, from: f64, to: f64) -> Self {
        let name = name.into();
        Self::new("", (WHITE, Mark::Full)).layer(Layer::Shade { from, to, name })
    }

    /// A part of the horizontal scale that is unlike the rest, with its name above.
    pub fn shade(name: impl Into<String>, from: f64, to: f64) -> Self {
        let name = name.into();
        Self::new("", (SHADE, Mark::Full)).layer(Layer::Shade { from, to, name })
    }

    fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds a line through the points.
    pub fn path(self, points: impl IntoIterator<Item = At>) -> Self {
        let width = self.mark.line_width();
        let points = points.into_iter().collect();
        self.layer(Layer::Path { points, width })
    }

    /// Adds a line that keeps each height until the next point.
    pub fn steps(self, points: impl IntoIterator<Item = At>) -> Self {
        self.path(steps(points))
    }

    /// Adds a mark at each point.
    pub fn marks(self, points: impl IntoIterator<Item = At>) -> Self {
        let points = points.into_iter().collect();
        self.layer(Layer::Marks { points, radius: 5 })
    }

    /// Adds a thin line between two points: the ends of an interval.
    pub fn interval(self, from: At, to: At) -> Self {
        let points = vec![from, to];
        self.layer(Layer::Path { points, width: 2 })
    }

    fn intervals(self, ends: impl IntoIterator<Item = [At; 2]>) -> Self {
        let ends = ends.into_iter();
        ends.fold(self, |series, [from, to]| series.interval(from, to))
    }

    /// Adds boxes, by two opposite corners of each.
    pub fn boxes(self, boxes: impl IntoIterator<Item = [At; 2]>) -> Self {
        let boxes = boxes.into_iter().collect();
        self.layer(Layer::Boxes(boxes))
    }

    /// Adds the area within an outline.
    pub fn band(self, outline: impl IntoIterator<Item = At>) -> Self {
        let outline = outline.into_iter().collect();
        self.layer(Layer::Band(outline))
    }

    /// Adds a line through the whole panel, at this place of the horizontal scale.
    pub fn vertical(self, at: f64) -> Self {
        self.layer(Layer::Vertical(at))
    }

    /// Adds a line through the whole panel, at this place of the vertical scale.
    pub fn horizontal(self, at: f64) -> Self {
        self.layer(Layer::Horizontal(at))
    }

    /// Thin lines and small marks, for many points.
    pub fn fine(mut self) -> Self {
        for layer in &mut self.layers {
            match layer {
                Layer::Path { width, .. } => *width = 1,
                Layer::Marks { radius, .. } => *radius = 3,
                _ => {}
            }
        }
        self
    }

    /// How the legend shows it.
    pub(super) fn swatch(&self) -> Swatch {
        let has = |of: fn(&Layer) -> bool| self.layers.iter().any(of);
        let is_line = |layer: &Layer| {
            matches!(
                layer,
                Layer::Path { .. } | Layer::Vertical(_) | Layer::Horizontal(_)
            )
        };
        let is_marks = |layer: &Layer| matches!(layer, Layer::Marks { .. });
        match (has(is_line), has(is_marks)) {
            (true, true) => Swatch::MarkedLine(self.color, self.mark),
            (true, false) => Swatch::Line(self.color),
            (false, true) => Swatch::Marker(self.color, self.mark),
            (false, false) => Swatch::Fill(self.color),
        }
    }
}

/// The corners of a line that keeps each height until the next point.
pub fn steps(points: impl IntoIterator<Item = At>) -> Vec<At> {
    let mut corners: Vec<At> = Vec::new();
    for (x, y) in points {
        if let Some(&(_, before)) = corners.last() {
            corners.push((x, before));
        }
        corners.push((x, y));
    }
    corners
}

impl Layer {
    pub(super) fn has_points(&self) -> bool {
        match self {
            Self::Path { points, .. } | Self::Marks { points, .. } | Self::Band(points) => {
                !points.is_empty()
            }
            Self::Boxes(boxes) => !boxes.is_empty(),
            Self::Vertical(_) | Self::Horizontal(_) | Self::Shade { .. } => false,
        }
    }

    fn points(&self) -> Vec<At> {
        match self {
            Self::Path { points, .. } | Self::Marks { points, .. } | Self::Band(points) => {
                points.clone()
            }
            Self::Boxes(boxes) => boxes.iter().flatten().copied().collect(),
            Self::Vertical(_) | Self::Horizontal(_) | Self::Shade { .. } => Vec::new(),
        }
    }

    /// Places on the horizontal scale that must be within its range.
    pub(super) fn xs(&self) -> Vec<f64> {
        match self {
            Self::Vertical(at) => vec![*at],
            Self::Shade { from, to, .. } => vec![*from, *to],
            _ => self.points().into_iter().map(|at| at.0).collect(),
        }
    }

    /// Places on the vertical scale that must be within its range.
    pub(super) fn ys(&self) -> Vec<f64> {
        match self {
            Self::Horizontal(at) => vec![*at],
            _ => self.points().into_iter().map(|at| at.1).collect(),
        }
    }
}
