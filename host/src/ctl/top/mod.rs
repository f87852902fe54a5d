//! `vssdctl top`: a view of all vSSDs that is renewed once in an interval.
//!
//! ```text
//!  control socket ── Source ── Snapshot ──▶ History ── Summary ──┬─▶ screen (a terminal)
//!                                                                ├─▶ table  (--once, a pipe)
//!                                                                └─▶ JSON   (--json)
//! ```
//!
//! - [`summary`]: rates and latencies of an interval, from the states at its ends; no I/O
//! - [`table`]: the columns, their order, and the table as text
//! - [`screen`]: what is drawn and what keys do; no terminal
//! - [`live`]: the terminal, and the threads that feed the screen
//!
//! It asks for two things that the backend has at hand, so a request of a guest never waits for it.

mod live;
mod screen;
mod summary;
mod table;

#[cfg(test)]
mod fixtures;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args as ClapArgs;

use self::summary::{History, Snapshot, Summary};
use self::table::SortKey;
use super::PATIENCE;
use crate::control::Client;
use crate::control::client::ClientError;
use crate::control::protocol::Reply;
use crate::output::{print, print_line};

/// Time between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval(Duration);

impl Interval {
    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(3600);
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = humantime::parse_duration(text).ok();
        let is_possible = |length: &Duration| (Self::MIN..=Self::MAX).contains(length);
        length.filter(is_possible).map(Self).ok_or_else(|| {
            format!("invalid interval `{text}`: expected 100ms to 1h, for example 1s")
        })
    }
}

/// What to show, and how often.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct TopOptions {
    /// Time between two readings, 100ms to 1h.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: Interval,
    /// Read for one interval, print a table (with --json an object) and exit. Also without --once
    /// if standard output is not a terminal and --json is not given.
    #[arg(long)]
    once: bool,
    /// Order of the vSSDs; numbers in descending order.
    #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Name)]
    sort: SortKey,
}

/// Reads the state of a backend, and connects anew where the last connection failed.
struct Source {
    control: PathBuf,
    client: Option<Client>,
}

impl Source {
    fn read(&mut self) -> Result<Snapshot, ClientError> {
        // A connection that fails is dropped with its answers.
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.control, Some(PATIENCE))?,
        };
        let snapshot = Snapshot {
            status: client.status()?,
            arbiter: client.arbiter()?,
        };
        self.client = Some(client);
        Ok(snapshot)
    }
}

/// What feeds all ways to show it.
struct Feed {
    source: Source,
    history: History,
}

impl Feed {
    fn next(&mut self) -> Result<Summary, ClientError> {
        Ok(self.history.next(self.source.read()?))
    }
}

/// Shows the vSSDs of the backend at `control`.
///
/// # Errors
/// When no backend answers at first, or output cannot be written.
pub(super) fn run(options: &TopOptions, control: &Path, json: bool) -> Result<()> {
    let mut feed = Feed {
        source: Source {
            control: control.to_owned(),
            client: None,
        },
        history: History::default(),
    };
    let first = feed.next()?;
    if options.once || (!json && !io::stdout().is_terminal()) {
        thread::sleep(options.interval.0);
        let mut summary = feed.next()?;
        options.sort.sort(&mut summary);
        if json {
            print_line(serde_json::to_string(&summary)?)?;
        } else {
            print(table::text_of(&summary))?;
        }
        return Ok(());
    }
    if !json {
        return live::run(options, feed, first);
    }
    loop {
        thread::sleep(options.interval.0);
        let line = match feed.next() {
            Ok(mut summary) => {
                options.sort.sort(&mut summary);
                serde_json::to_string(&summary)?
            }
            Err(error) => serde_json::to_string(&Reply::Error {
                message: error.to_string(),
            })?,
        };
        print_line(line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_bounded() {
        for text in ["100ms", "1s", "1h"] {
            assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        }
        for text in ["", "1", "99ms", "1h 1s", "-1s", "2days"] {
            let said = text.parse::<Interval>().unwrap_err();
            let wanted = format!("invalid interval `{text}`: expected 100ms to 1h, for example 1s");
            assert_eq!(said, wanted);
        }
    }
}
