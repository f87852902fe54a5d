//! What a person says about a trace on the command line.

use std::num::NonZeroU64;

use clap::Args;
use vssd_host::size::ByteSize;
use workloads::trace::{Beyond, Format, Options, TimeOrder};

/// How to read the trace that an argument called `trace` names.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Its format, if it is not to be guessed: vscsi, oracle-general, spc, msr, csv, trace-disk.
    #[arg(long, value_name = "FORMAT", requires = "trace")]
    pub format: Option<Format>,
    /// The disk that the trace is for, such as 40GiB.
    #[arg(long, value_name = "SIZE", requires = "trace")]
    pub disk: Option<ByteSize>,
    /// Requests past the end of that disk: refuse the trace, or skip and count them.
    #[arg(
        long,
        default_value_t,
        value_name = "refuse|skip",
        hide_default_value = true,
        requires = "disk"
    )]
    pub beyond: Beyond,
    /// Times that go back: refuse the trace; clamp them to the time before, and count
    /// them; or sort:RECORDS, looking ahead over so many records.
    #[arg(
        long,
        default_value_t,
        value_name = "refuse|clamp|sort:RECORDS",
        hide_default_value = true,
        requires = "trace"
    )]
    pub times: TimeOrder,
    /// Only so many requests, from the first on.
    #[arg(long, value_name = "REQUESTS", requires = "trace")]
    pub limit: Option<NonZeroU64>,
    /// The room of each volume of a trace with several (spc, msr), 1TiB if not given.
    #[arg(long, value_name = "SIZE", requires = "trace")]
    pub volume: Option<ByteSize>,
    /// What an object id of an oracle-general trace counts, 512B if not given.
    #[arg(long, value_name = "SIZE", requires = "trace")]
    pub id_unit: Option<ByteSize>,
}

impl ReadArgs {
    /// For the reader.
    pub fn options(&self) -> Options {
        let default = Options::default();
        Options {
            format: self.format,
            order: self.times,
            disk_bytes: self.disk.map(|size| size.0),
            beyond: self.beyond,
            limit: self.limit,
            volume_bytes: self.volume.map_or(default.volume_bytes, |size| size.0),
            id_unit_bytes: self.id_unit.map_or(default.id_unit_bytes, |size| size.0),
            ..default
        }
    }

    /// The arguments that say the same again, each after a blank.
    pub fn arguments(&self) -> String {
        let default = Self::default();
        let beyond = (self.beyond != default.beyond).then_some(self.beyond);
        let times = (self.times != default.times).then_some(self.times);
        [
            self.format.map(|format| format!(" --format {format}")),
            self.disk.map(|size| format!(" --disk {size}")),
            beyond.map(|beyond| format!(" --beyond {beyond}")),
            times.map(|times| format!(" --times {times}")),
            self.limit.map(|limit| format!(" --limit {limit}")),
            self.volume.map(|size| format!(" --volume {size}")),
            self.id_unit.map(|size| format!(" --id-unit {size}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        trace: String,
        #[command(flatten)]
        read: ReadArgs,
    }

    #[test]
    fn arguments_say_the_same_again() {
        for text in [
            "",
            " --format msr --disk 40GiB --beyond skip --times sort:64 --limit 10 --volume 1GiB --id-unit 4KiB",
        ] {
            let line = Line::parse_from(format!("x {}{text}", "name").split(' '));
            assert_eq!(line.trace, "name");
            assert_eq!(line.read.arguments(), text);
        }
    }
}
