//! Figures, each as SVG and as PNG.
//!
//! Whoever has something to draw makes an SVG text; [`sheet`] is the look that all share,
//! [`axis`] and [`scale`] their axes, and the same SVG is turned into pixels here.

pub mod axis;
mod png;
pub mod scale;
pub mod sheet;
pub mod spans;

use std::path::Path;

use anyhow::Result;

use crate::file::replace_file;

/// A figure that was drawn: `stem.svg` and `stem.png` in the run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name of its files, without the ending.
    pub stem: &'static str,
    /// What it shows.
    pub title: String,
    /// How to read it, in sentences.
    pub caption: String,
}

impl Figure {
    /// Names of its files.
    pub fn files(&self) -> [String; 2] {
        ["svg", "png"].map(|ending| format!("{}.{ending}", self.stem))
    }
}

/// A figure and its SVG.
pub type Drawing = (Figure, String);

/// Writes drawings into a folder.
pub fn write(drawings: Vec<Drawing>, folder: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (figure, svg) in drawings {
        let pixels = png::from_svg(&svg)?;
        for (name, bytes) in figure.files().into_iter().zip([svg.as_bytes(), &pixels]) {
            replace_file(&folder.join(name), bytes)?;
        }
        figures.push(figure);
    }
    Ok(figures)
}
