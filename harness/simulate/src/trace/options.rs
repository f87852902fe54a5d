//! The command-line options for reading a trace.

use std::num::NonZeroU64;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use vssd_host::size::ByteSize;
use workloads::trace::{Beyond, Format, Ids, Options, Overlap, Record, Setting, TimeOrder};

/// The meaning of ids in an oracle-general trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum IdKind {
    /// Object names: each object is one block, whatever its size.
    Objects,
    /// Addresses, in units of `--id-unit`.
    Addresses,
}

/// A size above zero.
fn parse_size(text: &str) -> Result<ByteSize, String> {
    match text.parse() {
        Ok(ByteSize(0)) => Err("the size must be at least 1B".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_request(text: &str) -> Result<ByteSize, String> {
    let cap = ByteSize(Record::LENGTH_BYTES_CAP.into());
    match parse_size(text)? {
        size if size > cap => Err(format!("the limit is {cap}")),
        size => Ok(size),
    }
}

/// A number of requests above zero.
fn parse_limit(text: &str) -> Result<NonZeroU64, String> {
    match text.parse::<u64>().map(NonZeroU64::new) {
        Ok(Some(requests)) => Ok(requests),
        Ok(None) => {
            Err("the limit must be at least 1 request; omit --limit to read all".to_owned())
        }
        Err(error) => Err(format!(
            "{error}; expected a number of requests, e.g. 1000000"
        )),
    }
}

/// How to read the trace of the argument `trace`.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Format of the trace: vscsi, oracle-general, spc, msr, lis, csv or trace-disk. Detected if
    /// not given.
    #[arg(long, value_name = "FORMAT", requires = "trace")]
    pub format: Option<Format>,
    /// Size of the disk that replays the trace, e.g. 40GiB.
    #[arg(long, value_name = "SIZE", requires = "trace")]
    pub disk: Option<ByteSize>,
    /// Requests past the end of the disk: refuse the trace (default), or skip and count them.
    #[arg(
        long,
        default_value_t,
        value_name = "refuse|skip",
        hide_default_value = true,
        requires = "disk"
    )]
    pub beyond: Beyond,
    /// Times out of order: refuse the trace (default); clamp them to the previous time and count
    /// them; or sort with a window of RECORDS.
    #[arg(
        long,
        default_value_t,
        value_name = "refuse|clamp|sort:RECORDS",
        hide_default_value = true,
        requires = "trace"
    )]
    pub times: TimeOrder,
    /// Read only the first REQUESTS requests.
    #[arg(long, value_name = "REQUESTS", value_parser = parse_limit, requires = "trace")]
    pub limit: Option<NonZeroU64>,
    /// Address space of each volume of a trace with several (spc, msr). Default: 1TiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "trace")]
    pub volume: Option<ByteSize>,
    /// Longest request accepted as valid, at most 1GiB. Default: 64MiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_request, requires = "trace")]
    pub max_request: Option<ByteSize>,
    /// Meaning of ids in an oracle-general trace: objects of one block each, whatever their sizes,
    /// as in libCacheSim with ignore_obj_size; or addresses on a disk. Default: objects.
    #[arg(
        long,
        value_name = "objects|addresses",
        hide_possible_values = true,
        requires = "trace"
    )]
    pub ids: Option<IdKind>,
    /// Unit of ids that are addresses; implies --ids addresses. Default: 512B.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "trace")]
    pub id_unit: Option<ByteSize>,
    /// Overlapping ranges of different ids, with --ids addresses or --id-unit: refuse the trace,
    /// or allow them, as in requests of a disk. Default: refuse.
    #[arg(long, value_name = "refuse|allow", requires = "trace")]
    pub overlap: Option<Overlap>,
}

impl ReadArgs {
    /// The options of the reader.
    ///
    /// # Errors
    /// When two options exclude each other.
    pub fn options(&self) -> Result<Options> {
        let default = Options::default();
        Ok(Options {
            format: self.format,
            order: self.times,
            asked: self.format_specific().map(|(setting, _)| setting).collect(),
            length_bytes_max: match self.max_request {
                // At most 1 GiB.
                Some(size) => size.0 as u32,
                None => default.length_bytes_max,
            },
            disk_bytes: self.disk.map(|size| size.0),
            beyond: self.beyond,
            limit: self.limit,
            volume_bytes: self.volume.map_or(default.volume_bytes, |size| size.0),
            ids: self.ids()?,
        })
    }

    /// The given settings that apply to some formats only, with their options.
    fn format_specific(&self) -> impl Iterator<Item = (Setting, &'static str)> {
        [
            (self.ids.is_some(), Setting::Ids, "--ids"),
            (self.id_unit.is_some(), Setting::Ids, "--id-unit"),
            (self.overlap.is_some(), Setting::Ids, "--overlap"),
            (self.volume.is_some(), Setting::Volumes, "--volume"),
            (self.max_request.is_some(), Setting::Length, "--max-request"),
            (
                self.times != TimeOrder::default(),
                Setting::Times,
                "--times",
            ),
        ]
        .into_iter()
        .filter_map(|(given, setting, option)| given.then_some((setting, option)))
    }

    /// The given options of a setting.
    pub fn options_of(&self, setting: Setting) -> Vec<&'static str> {
        let all = self.format_specific().filter(|(of, _)| *of == setting);
        all.map(|(_, option)| option).collect()
    }

    /// The given options that apply to ids as addresses.
    pub fn address_options(&self) -> Vec<String> {
        let ids = self.ids.filter(|ids| *ids == IdKind::Addresses);
        [
            ids.map(|ids| format!("--ids {ids}")),
            self.id_unit.map(|unit| format!("--id-unit {unit}")),
            self.overlap.map(|overlap| format!("--overlap {overlap}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn ids(&self) -> Result<Ids> {
        let implied = match self.id_unit {
            Some(_) => IdKind::Addresses,
            None => IdKind::Objects,
        };
        match (self.ids, self.ids.unwrap_or(implied)) {
            (Some(_), IdKind::Objects) => {
                ensure!(
                    self.id_unit.is_none() && self.overlap.is_none(),
                    "--ids objects excludes {}",
                    self.address_options().join(" and ")
                );
                Ok(Ids::Objects)
            }
            (None, IdKind::Objects) => match self.overlap {
                None => Ok(Ids::Objects),
                Some(_) => bail!(
                    "--overlap applies to addresses only: add --ids addresses or --id-unit SIZE"
                ),
            },
            (_, IdKind::Addresses) => {
                let unit = self.id_unit.and_then(|size| NonZeroU64::new(size.0));
                Ok(Ids::Addresses {
                    unit_bytes: unit.unwrap_or(Ids::UNIT_BYTES),
                    overlap: self.overlap.unwrap_or_default(),
                })
            }
        }
    }

    /// The arguments that reproduce these options, each after a space.
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
            self.max_request
                .map(|size| format!(" --max-request {size}")),
            self.ids.map(|ids| format!(" --ids {ids}")),
            self.id_unit.map(|size| format!(" --id-unit {size}")),
            self.overlap.map(|overlap| format!(" --overlap {overlap}")),
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
    fn arguments_reproduce_the_options() {
        for text in [
            "",
            " --format msr --disk 40GiB --beyond skip --times sort:64 --limit 10 --volume 1GiB --max-request 128MiB --ids addresses --id-unit 4KiB --overlap allow",
        ] {
            let line = Line::parse_from(format!("x {}{text}", "name").split(' '));
            assert_eq!(line.trace, "name");
            assert_eq!(line.read.arguments(), text);
        }
    }

    fn parsed(text: &str) -> Result<ReadArgs, clap::Error> {
        let words = ["x", "name"].into_iter().chain(text.split(' '));
        Line::try_parse_from(words.filter(|word| !word.is_empty())).map(|line| line.read)
    }

    #[test]
    fn a_unit_implies_addresses() {
        let ids = |text: &str| parsed(text).unwrap().options().map(|options| options.ids);
        let addresses = |bytes, overlap| Ids::Addresses {
            unit_bytes: NonZeroU64::new(bytes).unwrap(),
            overlap,
        };
        assert_eq!(ids("").unwrap(), Ids::Objects);
        assert_eq!(ids("--ids objects").unwrap(), Ids::Objects);
        assert_eq!(
            ids("--ids addresses").unwrap(),
            addresses(512, Overlap::Reject)
        );
        assert_eq!(
            ids("--id-unit 4KiB").unwrap(),
            addresses(4096, Overlap::Reject)
        );
        for (text, unit) in [("--ids addresses", 512), ("--id-unit 4KiB", 4096)] {
            assert_eq!(
                ids(&format!("{text} --overlap allow")).unwrap(),
                addresses(unit, Overlap::Allow)
            );
        }
        for text in ["--id-unit 4KiB", "--overlap allow", "--overlap refuse"] {
            let error = ids(&format!("--ids objects {text}")).unwrap_err();
            assert!(error.to_string().contains("--ids objects"), "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        // --overlap alone does not imply addresses.
        for text in ["--overlap allow", "--overlap refuse"] {
            let error = ids(text).unwrap_err();
            assert!(error.to_string().contains("add --ids addresses"), "{error}");
        }
    }

    #[test]
    fn sizes_of_zero_are_rejected() {
        for option in ["--id-unit", "--volume", "--max-request"] {
            for size in ["0", "0B", "0GiB"] {
                let error = parsed(&format!("{option} {size}")).unwrap_err();
                assert!(error.to_string().contains("at least 1B"), "{error}");
            }
        }
        let error = parsed("--max-request 1025MiB").unwrap_err().to_string();
        assert!(error.contains("1GiB"), "{error}");
        let most = parsed("--max-request 1GiB").unwrap().options().unwrap();
        assert_eq!(most.length_bytes_max, Record::LENGTH_BYTES_CAP);
    }
}
