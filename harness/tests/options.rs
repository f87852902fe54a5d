//! Each command lists the options that it uses, and rejects all others.

use std::collections::BTreeSet;
use std::process::{Command, Output};

const PARAMS: &[&str] = &["form", "full", "grid", "params", "set"];
const OUT: &[&str] = &["out", "seed", "json"];
const QEMU: &[&str] = &["accel", "qemu", "machine"];
const JSON: &[&str] = &["json"];
const READ: &[&str] = &[
    "format",
    "disk",
    "beyond",
    "times",
    "limit",
    "volume",
    "max-request",
    "ids",
    "id-unit",
    "overlap",
];

/// A complete command line without options, and the groups of options of the command.
type Case = (&'static [&'static str], &'static [&'static [&'static str]]);

const COMMANDS: [Case; 18] = [
    (&[], &[PARAMS, OUT, QEMU, &["transport", "version"]]),
    (&["run", "sharing"], &[PARAMS, OUT, QEMU, &["transport"]]),
    (&["list"], &[JSON]),
    (&["doctor"], &[JSON, &["accel", "qemu"]]),
    (&["plot", "DIR"], &[JSON]),
    (&["report", "DIR"], &[JSON]),
    (&["sweep"], &[PARAMS, OUT, &["like", "jobs", "shard"]]),
    (&["merge", "DIR"], &[JSON, &["out"]]),
    (
        &["bench", "io"],
        &[
            OUT,
            &["size", "slice-ms", "rounds", "dir", "quick", "check"],
        ],
    ),
    (
        &["bench", "resize"],
        &[OUT, QEMU, &["repetitions", "resizes", "quick", "check"]],
    ),
    (
        &["bench", "cache"],
        &[
            OUT,
            &["workload", "blocks", "requests", "capacity", "rounds"],
            &["python", "quick", "check"],
        ],
    ),
    (
        &["bench", "sampler"],
        &[OUT, QEMU, &["requests", "pairs", "quick", "check"]],
    ),
    (
        &["sim"],
        &[
            OUT,
            READ,
            &["trace", "workload", "blocks", "requests", "policy"],
            &["size", "warmup", "mrc"],
        ],
    ),
    (&["trace", "convert", "FILE", "OUT"], &[JSON, READ]),
    (&["trace", "info", "FILE"], &[JSON, READ]),
    (&["image"], &[JSON, &["out"]]),
    (&["completions", "bash"], &[]),
    (&["man", "DIR"], &[]),
];

fn harness(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The long options in the help of a command.
fn listed(arguments: &[&str]) -> BTreeSet<String> {
    let output = harness(&[arguments, &["--help"]].concat());
    let help = String::from_utf8(output.stdout).unwrap();
    let options = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("-V, ").unwrap_or(line);
        let rest = line
            .strip_prefix("-h, ")
            .unwrap_or(line)
            .strip_prefix("--")?;
        rest.split([' ', '=']).next()
    });
    options.map(str::to_owned).collect()
}

fn expected(groups: &[&[&str]]) -> BTreeSet<String> {
    let options = groups.iter().copied().flatten().copied();
    options.chain(["help"]).map(str::to_owned).collect()
}

#[test]
fn help_lists_the_options_that_a_command_uses() {
    for (arguments, groups) in COMMANDS {
        assert_eq!(listed(arguments), expected(groups), "{arguments:?}");
    }
}

#[test]
fn options_of_other_commands_are_rejected() {
    let all: BTreeSet<String> = COMMANDS
        .iter()
        .flat_map(|(_, groups)| expected(groups))
        .collect();
    for (arguments, groups) in COMMANDS {
        for option in all.difference(&expected(groups)) {
            let option = format!("--{option}");
            let output = harness(&[arguments, &[&option]].concat());
            assert_eq!(output.status.code(), Some(2), "{arguments:?} {option}");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(&option), "{arguments:?} {option}: {text}");
        }
    }
}

#[test]
fn options_of_a_run_are_rejected_before_a_command() {
    let output = harness(&["--seed", "3", "list"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn image_and_plot_print_json() {
    let output = harness(&["image", "--json"]);
    let image: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(std::path::Path::new(image["image"].as_str().unwrap()).exists());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let reference = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../results/reference/direct-io"
    );
    for name in ["manifest.json", "direct_io.csv"] {
        std::fs::copy(format!("{reference}/{name}"), format!("{path}/{name}")).unwrap();
    }
    let output = harness(&["plot", "--json", path]);
    let plot: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plot["folder"], path);
    let files = plot["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|file| file.as_str().unwrap().ends_with("direct_io.svg"))
    );
}
