//! What to do about a trace that is refused, by the options of the command at hand and
//! with the numbers with which they take it.
//!
//! The reader says what is wrong. It knows no options; here they are all named, and a test
//! holds the names against [`super::options`].

use std::error::Error;
use std::fmt;
use std::path::Path;

use anyhow::Result;
use terminal::progress::Progress;
use vssd_host::size::ByteSize;
use workloads::trace::{Format, Options, Problem, Record, TraceError};

use super::image::DISK_BYTES_MAX;
use super::options::ReadArgs;
use super::survey::Survey;

/// What a trace is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be counted or simulated: any place goes.
    Count,
    /// To be a disk, whose blocks have 32 bits.
    Image,
}

/// An error of the reader, with advice in place of its own remedy.
#[derive(Debug)]
struct Advised {
    error: TraceError,
    advice: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TraceError {
            file,
            position,
            problem,
        } = &self.error;
        write!(f, "{file}{position}: {problem}: {}", self.advice)
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// The same error, with what the options can do about it if they can.
pub fn advise(
    error: anyhow::Error,
    path: &Path,
    given: &ReadArgs,
    purpose: Purpose,
    progress: Progress,
) -> anyhow::Error {
    let error = match error.downcast::<TraceError>() {
        Ok(error) => error,
        Err(other) => return other,
    };
    // What the trace was read by.
    let Ok(options) = given.options() else {
        return error.into();
    };
    let case = Case {
        path,
        given,
        options,
        purpose,
        progress,
    };
    match case.advice(&error.problem) {
        Ok(Some(advice)) => Advised { error, advice }.into(),
        Ok(None) => error.into(),
        Err(interrupted) => interrupted,
    }
}

struct Case<'a> {
    path: &'a Path,
    given: &'a ReadArgs,
    options: Options,
    purpose: Purpose,
    progress: Progress,
}

/// At least `bytes`, in a number that is easy to type.
fn round_up(bytes: u64) -> ByteSize {
    let unit = if bytes >= 1 << 34 { 1 << 30 } else { 1 << 20 };
    ByteSize(bytes.checked_next_multiple_of(unit).unwrap_or(bytes))
}

impl Case<'_> {
    fn survey(&self, disk_bytes: Option<u64>) -> Result<Option<Survey>> {
        Survey::of(self.path, &self.options, disk_bytes, self.progress)
    }

    fn advice(&self, problem: &Problem) -> Result<Option<String>> {
        Ok(Some(match problem {
            Problem::UnknownFormat(_) | Problem::Contradiction { .. } => {
                format!("name it with `--format`, one of {}", Format::names())
            }
            Problem::NotThisFormat(..) => {
                format!("name another with `--format`, one of {}", Format::names())
            }
            Problem::LineTooLong | Problem::NotText if self.options.format.is_none() => {
                "this is not a text trace, name its format with `--format`".to_owned()
            }
            Problem::NoUse { setting, .. } => match &self.given.options_of(*setting)[..] {
                [option] => format!("leave out {option}, which has no effect"),
                options => format!("leave out {}, which have no effect", options.join(" and ")),
            },
            Problem::Overlap { .. } => format!(
                "{}, or allow requests of a disk that overlap with `--overlap allow`",
                self.as_objects()
            ),
            Problem::Overflow(what) if what.contains("object id") => format!(
                "{}, or give the unit of the addresses with `--id-unit`",
                self.as_objects()
            ),
            Problem::TooManyObjects(_) => {
                "read only its beginning with `--limit REQUESTS`".to_owned()
            }
            Problem::TooLong { length_bytes, .. } => self.too_long(*length_bytes)?,
            Problem::TimeGoesBack { .. } => self.time_goes_back()?,
            Problem::BeyondVolume { .. } => self.beyond_volume()?,
            Problem::BeyondDisk { disk_bytes, .. } => self.beyond_disk(*disk_bytes)?,
            _ => return Ok(None),
        }))
    }

    /// Names of objects in place of addresses, without the options that exclude that.
    fn as_objects(&self) -> String {
        format!(
            "read ids as names of objects with `--ids objects` in place of {}",
            self.given.of_addresses().join(" ")
        )
    }

    fn too_long(&self, length_bytes: u64) -> Result<String> {
        let cap = ByteSize(Record::LENGTH_BYTES_CAP.into());
        if length_bytes > cap.0 {
            return Ok(format!(
                "{cap} is the most that --max-request can allow, so split the request into several \
                 if it is real, or correct --format"
            ));
        }
        Ok(match self.survey(None)? {
            // What cannot be read twice.
            None => format!("if it is real, `--max-request SIZE` takes it, up to {cap}"),
            Some(survey) => format!(
                "if it is real, `--max-request {}` takes it and all others",
                round_up(survey.length_bytes_max).min(cap)
            ),
        })
    }

    fn time_goes_back(&self) -> Result<String> {
        let clamp = "`--times clamp` keeps their order and counts";
        Ok(match self.survey(None)? {
            None => format!("`--times sort:RECORDS` sorts records, {clamp} them as later"),
            Some(Survey { late, window, .. }) => match window {
                Some(window) => format!(
                    "`--times sort:{window}` sorts its records, {clamp} {late} of them as later"
                ),
                None => format!(
                    "it is too far out of order to be sorted in memory, and {clamp} {late} of its records as later"
                ),
            },
        })
    }

    /// Where the disk ends, if it does, and where the largest that there is would.
    fn disks(&self) -> (Option<u64>, u64) {
        let most = match self.purpose {
            Purpose::Count => u64::MAX,
            Purpose::Image => DISK_BYTES_MAX,
        };
        (self.options.disk_bytes, most)
    }

    /// What lays several volumes out so that each has room, and the disk has room for all.
    fn volumes(&self, survey: &Survey) -> Option<String> {
        let (disk, most) = self.disks();
        let volume = survey.volume_bytes()?;
        let all = volume.checked_mul(survey.volumes)?;
        let size = ByteSize(volume);
        let count = survey.volumes;
        match () {
            () if all <= disk.unwrap_or(most) => Some(format!(
                "`--volume {size}` has room for each of its {count} volumes, and the disk for all of them"
            )),
            () if all <= most => Some(format!(
                "`--volume {size} --disk {}` has room for each of its {count} volumes",
                ByteSize(all)
            )),
            () => None,
        }
    }

    fn beyond_volume(&self) -> Result<String> {
        Ok(match self.survey(None)? {
            None => "give each volume more room with `--volume SIZE`".to_owned(),
            Some(survey) => self.volumes(&survey).unwrap_or_else(|| too_large(&survey)),
        })
    }

    fn beyond_disk(&self, disk_bytes: u64) -> Result<String> {
        let Some(survey) = self.survey(Some(disk_bytes))? else {
            return Ok(
                "give it a larger `--disk`, or leave such requests out with `--beyond skip`"
                    .to_owned(),
            );
        };
        let (disk, most) = self.disks();
        let skip = match disk {
            Some(_) => "`--beyond skip`".to_owned(),
            None => format!("`--disk {} --beyond skip`", ByteSize(disk_bytes)),
        };
        let skip = format!("{skip} leaves out {}", survey.beyond_share());
        let room = match survey.volumes {
            1 if survey.end_bytes <= most => Some(format!(
                "`--disk {}` has room for all",
                round_up(survey.end_bytes)
            )),
            1 => None,
            _ => Some(self.volumes(&survey).unwrap_or_else(|| too_large(&survey))),
        };
        Ok([room, Some(skip)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", "))
    }
}

fn too_large(survey: &Survey) -> String {
    format!(
        "split the file, one volume each: its {} volumes are more than one disk holds",
        survey.volumes
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[arg(long)]
        trace: Option<String>,
        #[command(flatten)]
        read: ReadArgs,
    }

    const HIDDEN: Progress = Progress { shown: false };

    /// The options that a text names, without their values.
    fn options(text: &str) -> Vec<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let options = words.filter_map(|word| word.strip_prefix("--"));
        options.map(str::to_owned).collect()
    }

    #[test]
    fn every_option_that_is_named_exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let head = "time_ns,op,offset_bytes,length_bytes\n";
        fs::write(
            &path,
            format!("{head}9,r,0,1\n5,r,1099511627776,134217728\n"),
        )
        .unwrap();
        let problems = || {
            [
                Problem::UnknownFormat(Vec::new()),
                Problem::LineTooLong,
                Problem::NotText,
                Problem::Overflow("the object id"),
                Problem::TooManyObjects(1),
                Problem::Overlap {
                    first: 1,
                    first_end_bytes: 2,
                    second: 2,
                    second_begin_bytes: 1,
                },
                Problem::TooLong {
                    length_bytes: 1 << 27,
                    max: 1,
                },
                Problem::TimeGoesBack { by_ns: 1 },
                Problem::BeyondVolume {
                    end_bytes: 1,
                    volume_bytes: 1,
                },
                Problem::BeyondDisk {
                    end_bytes: 2,
                    disk_bytes: 1,
                },
            ]
        };
        let command = Line::command();
        let known: Vec<_> = command
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .collect();
        let with_disk = ReadArgs {
            disk: Some(ByteSize(1)),
            ..ReadArgs::default()
        };
        for path in [path.as_path(), Path::new("/dev/null")] {
            for purpose in [Purpose::Count, Purpose::Image] {
                for given in [ReadArgs::default(), with_disk.clone()] {
                    for problem in problems() {
                        let case = Case {
                            path,
                            given: &given,
                            options: given.options().unwrap(),
                            purpose,
                            progress: HIDDEN,
                        };
                        let advice = case.advice(&problem).unwrap().expect("advice");
                        let named = options(&advice);
                        for option in named {
                            assert!(known.contains(&option.as_str()), "{option}: {advice}");
                        }
                    }
                }
            }
        }
    }
}
