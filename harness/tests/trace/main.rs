//! `harness trace`: conversion, descriptions, and errors with their advice.

mod convert;
mod errors;
mod info;
mod knowledge;
mod messages;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn harness(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command
        .current_dir(folder)
        .args(arguments.split_whitespace());
    command
}

fn output(folder: &Path, arguments: &str) -> Output {
    harness(folder, arguments).output().unwrap()
}

/// The standard output of a command that must succeed.
fn printed(folder: &Path, arguments: &str) -> String {
    let output = output(folder, arguments);
    assert!(output.status.success(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, arguments: &str) -> serde_json::Value {
    serde_json::from_str(&printed(folder, arguments)).unwrap()
}

/// A CSV trace of lines `time_ns,op,offset,length`.
fn csv(lines: &str) -> String {
    format!("time_ns,op,offset_bytes,length_bytes\n{lines}")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
