//! The look that all figures share: page, header, legend, colours, text.
//!
//! Text is measured by guess (plotters brings no fonts here, and the fonts of
//! a viewer are unknown), so everything leaves room for a font wider than ours.

use anyhow::Result;
use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;

/// Size of a figure, in SVG units.
pub const SIZE: (u32, u32) = (960, 560);

/// Height of title, subtitle and a legend of one row.
const HEADER: i32 = 112;

/// Height of a further row of it.
const LEGEND_ROW: i32 = 28;

/// Distance of the header from the left edge.
const LEFT: i32 = 24;

/// Part of its size that a letter is wide, generously.
const LETTER_WIDTH: f64 = 0.53;

/// Text and axes.
pub const INK: RGBColor = RGBColor(0x26, 0x26, 0x26);
/// Text of less weight.
pub const GREY: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Lines to hold a value against.
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Behind a part of a chart that is unlike the rest.
pub const SHADE: RGBColor = RGBColor(0xf1, 0xf1, 0xf1);

// The coloured ones are of the palette of Okabe and Ito: they also differ for
// people who see no red or no green.

/// Hits, blocks held by the host, our encoding.
pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
/// Misses, read errors, the exchange of 2017.
pub const VERMILLION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
/// A third thing beside these two.
pub const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
/// A fourth.
pub const SKY: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
/// A fifth.
pub const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
/// A sixth.
pub const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
/// A seventh, for areas only: it is too light for lines.
pub const YELLOW: RGBColor = RGBColor(0xf0, 0xe4, 0x42);

/// Where a figure is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How a thing looks in a figure, for its legend.
#[derive(Clone, Copy, Debug)]
pub enum Swatch {
    /// A filled area.
    Fill(RGBColor),
    /// A line.
    Line(RGBColor),
    /// A marker, filled or hollow.
    Marker(RGBColor, Mark),
    /// A line with such markers; thinner when they are hollow.
    MarkedLine(RGBColor, Mark),
}

/// How a marker is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A disc, on a thick line.
    Full,
    /// A ring, on a thin line. (Not a dashed one: plotters draws dashes as
    /// segments between whole pixels, which makes slanted lines wobble.)
    Hollow,
}

impl Mark {
    /// Width of the line that goes with it.
    pub fn line_width(self) -> u32 {
        match self {
            Self::Full => 3,
            Self::Hollow => 2,
        }
    }
}

impl Swatch {
    fn width(self) -> i32 {
        match self {
            Self::Fill(_) => 16,
            Self::Marker(..) => 12,
            Self::Line(_) | Self::MarkedLine(..) => 28,
        }
    }
}

/// What stands above a figure.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// What the figure shows.
    pub title: &'a str,
    /// What to look for, or under which conditions.
    pub subtitle: &'a str,
    /// What is what.
    pub legend: Vec<(Swatch, String)>,
}

/// Text of the given size and colour, placed by the given point of it.
pub fn text(size: u32, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .color(&color)
        .pos(Pos::new(h, v))
}

/// About how wide a text is, in SVG units.
pub fn text_width(text: &str, size: u32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * LETTER_WIDTH).ceil() as i32
}

/// A marker at `at`.
pub fn marker<C>(at: C, radius: i32, color: RGBColor, mark: Mark) -> Circle<C, i32> {
    let style = match mark {
        Mark::Full => color.filled(),
        Mark::Hollow => color.stroke_width(2),
    };
    Circle::new(at, radius, style)
}

fn draw_swatch(area: &Area<'_>, swatch: Swatch, (x, y): (i32, i32)) -> Result<()> {
    let end = x + swatch.width();
    let middle = ((x + end) / 2, y);
    let line =
        |color: RGBColor, width| PathElement::new([(x, y), (end, y)], color.stroke_width(width));
    match swatch {
        Swatch::Fill(color) => {
            area.draw(&Rectangle::new([(x, y - 8), (end, y + 8)], color.filled()))?;
        }
        Swatch::Line(color) => area.draw(&line(color, Mark::Full.line_width()))?,
        Swatch::Marker(color, mark) => area.draw(&marker(middle, 5, color, mark))?,
        Swatch::MarkedLine(color, mark) => {
            area.draw(&line(color, mark.line_width()))?;
            area.draw(&marker(middle, 5, WHITE, Mark::Full))?;
            area.draw(&marker(middle, 5, color, mark))?;
        }
    }
    Ok(())
}

/// Draws a whole figure: the header here, the rest by `body`; returns the SVG.
pub fn sheet(header: &Header<'_>, body: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let line = |size, color| text(size, color, HPos::Left, VPos::Center);
        root.draw(&Text::new(header.title, (LEFT, 30), line(24, INK)))?;
        root.draw(&Text::new(header.subtitle, (LEFT, 58), line(16, GREY)))?;
        let (mut x, mut y) = (LEFT, 90);
        for (swatch, name) in &header.legend {
            let width = swatch.width() + 8 + text_width(name, 16);
            if x > LEFT && x + width > SIZE.0 as i32 - LEFT {
                (x, y) = (LEFT, y + LEGEND_ROW);
            }
            draw_swatch(&root, *swatch, (x, y))?;
            let at = (x + swatch.width() + 8, y);
            root.draw(&Text::new(name.as_str(), at, line(16, INK)))?;
            x += width + 24;
        }
        let (_, rest) = root.split_vertically(HEADER + y - 90);
        body(&rest)?;
        root.present()?;
    }
    Ok(svg)
}

/// Gives a chart's axes the look of all charts.
pub fn dress<B: DrawingBackend>(mesh: &mut MeshStyle<'_, '_, Axis, Axis, B>) {
    mesh.axis_style(GREY.stroke_width(1))
        .bold_line_style(GRID.stroke_width(1))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 15).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 16).into_font().color(&INK));
}
