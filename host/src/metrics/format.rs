//! The two text formats of metrics, and which of them a client prefers.

use std::fmt::Write as _;

use crate::http::Request;

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics.
    Open,
    /// The text format of Prometheus, its predecessor.
    Plain,
}

impl Format {
    /// The type of a text in this format.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that the client prefers; OpenMetrics by default.
    pub(super) fn wanted(request: &Request) -> Self {
        let open = request.wants("application/openmetrics-text").unwrap_or(0);
        match request.wants("text/plain") {
            Some(plain) if plain > open => Self::Plain,
            _ => Self::Open,
        }
    }
}

/// OpenMetrics as the text format 0.0.4: there is no unit and no end, and a counter is
/// described by the name that its samples have.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let lines: Vec<&str> = text.lines().collect();
    // The TYPE of a family comes after its HELP.
    let is_counter = |name: &str| {
        let described = format!("# TYPE {name} counter");
        lines.iter().any(|line| **line == described)
    };
    for line in &lines {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what), Some(name), Some(rest)) if is_counter(name) => {
                let _ = write!(plain, "# {what} {name}_total {rest}");
            }
            _ => plain.push_str(line),
        }
        plain.push('\n');
    }
    plain
}
