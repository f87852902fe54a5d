//! An error with all its causes, for the log.
//!
//! What an error displays never repeats its cause, so these are shown with it.

use std::error::Error;
use std::fmt;

/// Displays an error and its causes in one line.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::pool::PoolError;
    use crate::pool::journal::JournalError;

    #[test]
    fn each_cause_is_printed_once() {
        let error = PoolError::from(JournalError::from(io::Error::other("the disk is gone")));
        let text = Causes(&error).to_string();
        assert_eq!(text, "the backing failed: the disk is gone");
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), text);
    }
}
