//! Standard output and standard error of the programs.
//!
//! The only module that writes to either: `println!` and its kin panic when the other end is gone,
//! and clippy denies them everywhere else. A program whose reader has left exits silently; one that
//! cannot write for another reason reports it.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output")]
pub struct OutputError {
    #[from]
    source: io::Error,
}

impl OutputError {
    /// Whether the reader closed its end, as `head` does once it has seen enough.
    pub fn is_closed(&self) -> bool {
        self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes `text` to standard output, as it is, and flushes.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: impl fmt::Display) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes `text` and a newline to standard output, and flushes.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_line(text: impl fmt::Display) -> Result<(), OutputError> {
    print(format_args!("{text}\n"))
}

/// Writes `text` and a newline to standard error. There is nowhere to report a failure
/// to, so it is ignored.
pub fn warn(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The exit code of `program`, which ended with `result`. An error is printed in one line,
/// except that the reader of standard output left: that ends a program successfully.
pub fn exit_code(program: &str, result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            warn(format_args!("{program}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether `error` comes from the reader of standard output having left.
pub fn is_closed_output(error: &anyhow::Error) -> bool {
    let output =
        |cause: &(dyn Error + 'static)| cause.downcast_ref().is_some_and(OutputError::is_closed);
    error.chain().any(output)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn failed(kind: io::ErrorKind) -> anyhow::Error {
        OutputError::from(io::Error::from(kind)).into()
    }

    #[test]
    fn only_a_reader_that_left_ends_a_program_quietly() {
        let left = Err(failed(io::ErrorKind::BrokenPipe)).context("list");
        assert_eq!(exit_code("test", left), ExitCode::SUCCESS);
        let full = Err(failed(io::ErrorKind::StorageFull));
        assert_eq!(exit_code("test", full), ExitCode::FAILURE);
        let socket = Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        assert_eq!(exit_code("test", socket), ExitCode::FAILURE);
    }
}
