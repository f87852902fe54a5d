//! What a command says on standard output.

use std::fmt;

use anyhow::Result;
use vssd_host::output::{OutputError, print};

/// Says things until standard output takes no more, and remembers why it did not.
///
/// A command works towards results in a folder, or an exit code, and says what they are.
/// That it is not read, or that the disk is full to which standard output goes, must not
/// cost the results of an hour: the work goes on, and the error is the last thing that
/// comes of the command.
#[derive(Debug, Default)]
pub struct Talk {
    failed: Option<OutputError>,
}

impl Talk {
    /// Says `text`, as it is.
    pub fn say(&mut self, text: impl fmt::Display) {
        if self.failed.is_none() {
            self.failed = print(text).err();
        }
    }

    /// Says `text` on a line of its own.
    pub fn line(&mut self, text: impl fmt::Display) {
        self.say(format_args!("{text}\n"));
    }

    /// Ends it.
    ///
    /// # Errors
    /// When not all could be said, unless it is that the reader left.
    pub fn end(self) -> Result<()> {
        match self.failed {
            Some(error) if !error.is_closed() => Err(error.into()),
            _ => Ok(()),
        }
    }
}
