//! What the guest reports: one JSON object a line.

mod cache;
mod disk;
mod guest;

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

pub use self::cache::{
    Advised, CacheOpened, CacheSample, DirtyLost, Replayed, SamplerTimed, Stamps, StampsRead,
    WrittenBack,
};
pub use self::disk::{Counts, Filled, Latency, Read, StressFault, Stressed, Verified, Wrong};
pub use self::guest::{Done, Failed, Info, Ready, Resized};

/// What the list of blocks did during a phase of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum PhaseKind {
    /// It stayed as it was.
    Quiet,
    /// Blocks were given up or taken.
    Shrink,
    /// Blocks came back.
    Grow,
    /// All phases after the maximum number that is distinguished.
    Rest,
}

/// What kind of disk a guest works on, and with that whether its size can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// A vSSD with all its queues.
    Vssd,
    /// A vSSD that lacks the queues for events and commands: a disk of fixed size.
    VssdOfQueues(u16),
    /// A vSSD by a version of the contract that this guest does not speak: a disk of
    /// fixed size.
    VssdOfVersion(u16),
    /// A virtio-blk disk of fixed size, not a vSSD.
    Plain,
}

impl fmt::Display for DiskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vssd => f.write_str("vSSD"),
            Self::VssdOfQueues(1) => f.write_str("vSSD of fixed size (1 queue)"),
            Self::VssdOfQueues(queues) => write!(f, "vSSD of fixed size ({queues} queues)"),
            Self::VssdOfVersion(version) => write!(f, "vSSD of fixed size (version {version})"),
            Self::Plain => f.write_str("plain disk of fixed size"),
        }
    }
}

/// Makes [`Report`] out of the structs that it may hold.
macro_rules! reports {
    ($($name:ident),+ $(,)?) => {
        /// A line of the guest. Times are nanoseconds of the guest's clock, counts are
        /// blocks unless they say otherwise.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "report", rename_all = "kebab-case")]
        pub enum Report {
            $(
                #[doc = concat!("See [`", stringify!($name), "`].")]
                $name($name),
            )+
        }

        $(impl<'a> TryFrom<&'a Report> for &'a $name {
            type Error = ();

            /// The struct, if the report holds this one.
            fn try_from(report: &'a Report) -> Result<Self, ()> {
                match report {
                    Report::$name(of) => Ok(of),
                    _ => Err(()),
                }
            }
        })+

        impl fmt::Display for Report {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name(report) => report.fmt(f),)+
                }
            }
        }
    };
}

reports! {
    Ready,
    Done,
    Failed,
    Info,
    Filled,
    Verified,
    Counts,
    Read,
    Latency,
    StressFault,
    Stressed,
    CacheOpened,
    CacheSample,
    Replayed,
    Advised,
    Stamps,
    StampsRead,
    SamplerTimed,
    WrittenBack,
    DirtyLost,
    Resized,
}

impl Report {
    /// The line, without its newline.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("plain data always serializes")
    }

    /// The report in a line.
    ///
    /// # Errors
    /// When the line is not a report; the error has the position.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// Milliseconds with two decimals, without floating point.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} ms", self.0 / 1_000_000, self.0 / 10_000 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn lines_come_back_as_they_were() {
        let reports = [
            Report::Counts(Counts {
                counts: vec![(1, 2, 3), (4, 0, 1)],
            }),
            Report::Failed(Failed {
                command: "fill; \"x\"\n".into(),
                reason: "no".into(),
            }),
            Report::StressFault(StressFault {
                block: 3,
                wrong: Wrong::OtherData {
                    first_word: u64::MAX,
                    last_word: 0,
                },
                expected: None,
                after_requests: 7,
            }),
            Report::Latency(Latency {
                phase: PhaseKind::Shrink,
                phase_ns: 5_000_000,
                longest_stall_ns: 7,
                buckets: vec![(120, 3), (256, 1)],
            }),
        ];
        for report in reports {
            let line = report.to_line();
            assert!(!line.contains('\n'));
            assert_eq!(Report::from_line(&line).unwrap(), report);
        }
        assert!(Report::from_line("{\"report\":\"fly\"}").is_err());
    }
}
