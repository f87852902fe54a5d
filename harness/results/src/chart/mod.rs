//! Figures as SVG: a [`plot`] of [`series`] over two [`scale`]s, on the [`sheet`] that all share.

mod axis;
pub mod plot;
pub mod scale;
pub mod series;
pub mod sheet;

use std::path::Path;

use anyhow::Result;

use crate::file::replace_file;

/// A figure that was drawn: `stem.svg` in the run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name of its file, without the ending.
    pub stem: &'static str,
    /// What it shows.
    pub title: String,
    /// How to read it, in sentences.
    pub caption: String,
}

impl Figure {
    /// Name of its file.
    pub fn file(&self) -> String {
        format!("{}.svg", self.stem)
    }
}

/// A figure and its SVG.
pub type Drawing = (Figure, String);

/// Writes drawings into a folder.
pub fn write(drawings: Vec<Drawing>, folder: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (figure, svg) in drawings {
        replace_file(&folder.join(figure.file()), svg.as_bytes())?;
        figures.push(figure);
    }
    Ok(figures)
}
