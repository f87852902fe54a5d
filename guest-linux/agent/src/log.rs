//! Lines on standard error: one for each thing that happened, with the priority that the journal
//! of systemd reads (`<3>` is an error) when it is the reader.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::OnceLock;

/// Something failed, or data is in danger.
pub fn error(text: impl fmt::Display) {
    line('3', text);
}

/// Something that an operator should look at.
pub fn warn(text: impl fmt::Display) {
    line('4', text);
}

/// What the agent did.
pub fn info(text: impl fmt::Display) {
    line('6', text);
}

fn line(priority: char, text: impl fmt::Display) {
    static JOURNAL: OnceLock<bool> = OnceLock::new();
    // systemd sets it for what it starts, see systemd.exec(5).
    let to_journal = *JOURNAL.get_or_init(|| std::env::var_os("JOURNAL_STREAM").is_some());
    let line = if to_journal {
        format!("<{priority}>{text}\n")
    } else {
        format!("vssd-agent: {text}\n")
    };
    // A log that is not read cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}
