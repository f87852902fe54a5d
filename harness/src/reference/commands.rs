//! The pages of the book about the commands and options of the programs.

use clap::{Arg, ArgAction, Command};

/// Escapes Markdown.
pub(super) fn plain(text: &str) -> String {
    text.replace('<', "&lt;").replace('*', "\\*")
}

pub(super) fn page(program: Command) -> String {
    let name = program.get_name().to_owned();
    // Values from the environment are specific to this machine.
    let mut program = program.mut_args(|arg| arg.hide_env_values(true));
    program.build();
    let mut text = format!("# {name}\n");
    describe(&program, &name, &mut text);
    text
}

fn describe(command: &Command, name: &str, text: &mut String) {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map_or(String::new(), ToString::to_string);
    let (first, rest) = about.split_once("\n\n").unwrap_or((&about, ""));
    let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
    text.push_str(&format!("\n{}\n", plain(&sentence(&first))));
    if !rest.is_empty() {
        text.push_str(&format!("\n```text\n{}\n```\n", rest.trim_end()));
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    text.push_str(&format!("\nUsage:\n\n```text\n{usage}\n```\n"));
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !is_common(arg))
        .collect();
    if !shown.is_empty() {
        text.push('\n');
    }
    for arg in shown {
        argument(arg, text);
    }
    for sub in command.get_subcommands() {
        if sub.is_hide_set() || sub.get_name() == "help" {
            continue;
        }
        let name = format!("{name} {}", sub.get_name());
        text.push_str(&format!("\n## {name}\n"));
        describe(sub, &name, text);
    }
}

/// Whether all programs have the option.
fn is_common(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

/// Adds the full stop, which clap strips from doc comments.
fn sentence(text: &str) -> String {
    if text.ends_with(['.', ':']) || text.is_empty() {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}

fn argument(arg: &Arg, text: &mut String) {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map_or(String::new(), ToString::to_string);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    text.push_str(&format!("- `{arg}`: {}", plain(&sentence(&help))));
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.display()))
        .collect();
    let takes_value = arg.get_action().takes_values();
    if takes_value && !arg.is_hide_default_value_set() && !defaults.is_empty() {
        text.push_str(&format!(" Default: {}.", defaults.join(", ")));
    }
    if let Some(variable) = arg.get_env() {
        text.push_str(&format!(" Environment: `{}`.", variable.display()));
    }
    text.push('\n');
    if !takes_value || arg.is_hide_possible_values_set() {
        return;
    }
    for value in arg.get_possible_values() {
        if value.is_hide_set() {
            continue;
        }
        text.push_str(&format!("  - `{}`", value.get_name()));
        if let Some(help) = value.get_help() {
            text.push_str(&format!(": {}", plain(&sentence(&help.to_string()))));
        }
        text.push('\n');
    }
}
