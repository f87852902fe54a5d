//! Completion scripts of the two programs.

use clap::Command;
use clap_complete::{Shell, generate};

use crate::output::{OutputError, print};

/// Prints the completion script of a program for a shell.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_completions(mut program: Command, shell: Shell) -> Result<(), OutputError> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut program, name, &mut script);
    print(String::from_utf8_lossy(&script))
}
