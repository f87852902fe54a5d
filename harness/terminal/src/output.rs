//! Standard output of a command.

use std::fmt;

use anyhow::Result;
use vssd_host::output::{OutputError, print};

/// Writes to standard output until a write fails, and keeps the error.
///
/// A closed pipe or a full disk at standard output must not lose the results of an hour, which
/// are in a folder. So the command continues, and [`Self::finish`] returns the error at the end.
#[derive(Debug, Default)]
pub struct Output {
    failed: Option<OutputError>,
}

impl Output {
    /// Writes `text` without a newline.
    pub fn text(&mut self, text: impl fmt::Display) {
        if self.failed.is_none() {
            self.failed = print(text).err();
        }
    }

    /// Writes `text` and a newline.
    pub fn line(&mut self, text: impl fmt::Display) {
        self.text(format_args!("{text}\n"));
    }

    /// Ends the output.
    ///
    /// # Errors
    /// That of the first failed write, except a closed pipe.
    pub fn finish(self) -> Result<()> {
        match self.failed {
            Some(error) if !error.is_closed() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
