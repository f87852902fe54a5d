//! Generates the reference of the three programs and the CSV files: shell completions, man
//! pages, and pages of the book.

mod columns;
mod commands;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::experiments::ALL;

fn programs(harness: Command) -> [Command; 3] {
    [
        harness,
        vssd_host::daemon::Args::command(),
        vssd_host::ctl::Args::command(),
    ]
}

fn create(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

/// The completion script of `harness`.
pub(crate) fn completions(harness: &mut Command, shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, harness, "harness", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a man page for each program and command.
pub(crate) fn write_man(harness: Command, dir: &Path) -> Result<()> {
    create(dir)?;
    for program in programs(harness) {
        clap_mangen::generate_to(program, dir)
            .with_context(|| format!("write man pages into {}", dir.display()))?;
    }
    Ok(())
}

/// Writes the reference pages of the book.
pub(crate) fn write_pages(harness: Command, dir: &Path) -> Result<()> {
    create(dir)?;
    let write = |name: &str, text: String| {
        let path = dir.join(format!("{name}.md"));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    for program in programs(harness) {
        let name = program.get_name().to_owned();
        write(&name, commands::page(program))?;
    }
    write("columns", columns::page(ALL))
}
