//! Both programs print completion scripts.

use std::process::{Command, Output};

fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

#[test]
fn scripts_complete_what_the_programs_take() {
    let host = env!("CARGO_BIN_EXE_vssd-host");
    let ctl = env!("CARGO_BIN_EXE_vssdctl");
    for shell in ["bash", "zsh", "fish"] {
        for (program, arguments, name, word) in [
            (host, ["--completions", shell], "vssd-host", "overcommit"),
            (ctl, ["completions", shell], "vssdctl", "shrink"),
        ] {
            let output = output(program, &arguments);
            assert!(output.status.success(), "{output:?}");
            let script = String::from_utf8(output.stdout).unwrap();
            assert!(
                script.contains(name) && script.contains(word),
                "{name} {shell}"
            );
        }
    }
}

#[test]
fn another_shell_is_a_usage_error() {
    for (program, arguments) in [
        (env!("CARGO_BIN_EXE_vssd-host"), ["--completions", "cmd"]),
        (env!("CARGO_BIN_EXE_vssdctl"), ["completions", "cmd"]),
    ] {
        assert_eq!(output(program, &arguments).status.code(), Some(2));
    }
}
