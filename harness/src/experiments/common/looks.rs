//! How policies look in figures.

use plotters::style::RGBColor;
use results::chart::sheet::{BLUE, GREEN, GREY, Mark, SKY, VERMILLION};

/// Further colours of the palette of Okabe and Ito.
pub(crate) const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
pub(crate) const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);

/// Looks of policies in turn: each colour once filled and once hollow.
pub(crate) const LOOKS: [(RGBColor, Mark); 12] = [
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
