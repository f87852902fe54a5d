//! Error messages for rejected traces: the options that accept them, with values.
//!
//! The reader reports the problem but knows no command-line options. They are named here, and a
//! test compares the names with [`super::options`].

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

/// The purpose of reading a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Statistics or simulation: any address is valid.
    Count,
    /// A trace disk, whose block numbers have 32 bits.
    Image,
}

/// An error of the reader with advice instead of its generic remedy.
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

/// Adds the options that accept the trace to the error, if there are any.
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

/// At least `bytes`, rounded up to a short number.
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
                format!("set it with `--format`, one of {}", Format::names())
            }
            Problem::NotThisFormat(..) => {
                format!("set another with `--format`, one of {}", Format::names())
            }
            Problem::LineTooLong | Problem::NotText if self.options.format.is_none() => {
                "this is not a text trace: set its format with `--format`".to_owned()
            }
            Problem::NoUse { setting, .. } => match &self.given.options_of(*setting)[..] {
                [option] => format!("remove {option}, which has no effect"),
                options => format!("remove {}, which have no effect", options.join(" and ")),
            },
            Problem::Overlap { .. } => format!(
                "{}, or allow overlapping requests with `--overlap allow`",
                self.as_objects()
            ),
            Problem::Overflow(what) if what.contains("object id") => format!(
                "{}, or set the unit of the addresses with `--id-unit`",
                self.as_objects()
            ),
            Problem::TooManyObjects(_) => {
                "read only the first requests with `--limit REQUESTS`".to_owned()
            }
            Problem::TooLong { length_bytes, .. } => self.too_long(*length_bytes)?,
            Problem::TimeGoesBack { .. } => self.time_goes_back()?,
            Problem::BeyondVolume { .. } => self.beyond_volume()?,
            Problem::BeyondDisk { disk_bytes, .. } => self.beyond_disk(*disk_bytes)?,
            _ => return Ok(None),
        }))
    }

    /// Reads ids as objects, without the options that exclude `--ids objects`.
    fn as_objects(&self) -> String {
        format!(
            "read ids as object names with `--ids objects` instead of {}",
            self.given.address_options().join(" ")
        )
    }

    fn too_long(&self, length_bytes: u64) -> Result<String> {
        let cap = ByteSize(Record::LENGTH_BYTES_CAP.into());
        if length_bytes > cap.0 {
            return Ok(format!(
                "--max-request allows at most {cap}: split the request if it is valid, or correct \
                 --format"
            ));
        }
        Ok(match self.survey(None)? {
            // A pipe, which cannot be read twice.
            None => format!("if it is valid, allow it with `--max-request SIZE`, up to {cap}"),
            Some(survey) => format!(
                "if it is valid, `--max-request {}` allows it and all others",
                round_up(survey.length_bytes_max).min(cap)
            ),
        })
    }

    fn time_goes_back(&self) -> Result<String> {
        let clamp = "`--times clamp` keeps their order and changes the times of";
        Ok(match self.survey(None)? {
            None => format!("`--times sort:RECORDS` sorts the records; {clamp} late ones"),
            Some(Survey { late, window, .. }) => match window {
                Some(window) => {
                    format!("`--times sort:{window}` sorts the records; {clamp} {late}")
                }
                None => format!(
                    "the records are too far out of order to sort in memory; {clamp} {late}"
                ),
            },
        })
    }

    /// The size of the disk, if given, and the limit for this purpose.
    fn disks(&self) -> (Option<u64>, u64) {
        let most = match self.purpose {
            Purpose::Count => u64::MAX,
            Purpose::Image => DISK_BYTES_MAX,
        };
        (self.options.disk_bytes, most)
    }

    /// The options that place all volumes on one disk without overlap, if there are any.
    fn volumes(&self, survey: &Survey) -> Option<String> {
        let (disk, most) = self.disks();
        let volume = survey.volume_bytes()?;
        let all = volume.checked_mul(survey.volumes)?;
        let size = ByteSize(volume);
        let count = survey.volumes;
        if all <= disk.unwrap_or(most) {
            Some(format!(
                "`--volume {size}` fits each of its {count} volumes, and the disk fits all of them"
            ))
        } else if all <= most {
            Some(format!(
                "`--volume {size} --disk {}` fits each of its {count} volumes",
                ByteSize(all)
            ))
        } else {
            None
        }
    }

    fn beyond_volume(&self) -> Result<String> {
        Ok(match self.survey(None)? {
            None => "set a larger volume size with `--volume SIZE`".to_owned(),
            Some(survey) => self.volumes(&survey).unwrap_or_else(|| too_large(&survey)),
        })
    }

    fn beyond_disk(&self, disk_bytes: u64) -> Result<String> {
        let Some(survey) = self.survey(Some(disk_bytes))? else {
            return Ok(
                "set a larger `--disk`, or skip such requests with `--beyond skip`".to_owned(),
            );
        };
        let (disk, most) = self.disks();
        let skip = match disk {
            Some(_) => "`--beyond skip`".to_owned(),
            None => format!("`--disk {} --beyond skip`", ByteSize(disk_bytes)),
        };
        let skip = format!("{skip} skips {}", survey.beyond_share());
        let room = match survey.volumes {
            1 if survey.end_bytes <= most => Some(format!(
                "`--disk {}` fits all requests",
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
        "split the file into one per volume: its {} volumes do not fit on one disk",
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

    /// The options in a text, without their values.
    fn options(text: &str) -> Vec<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let options = words.filter_map(|word| word.strip_prefix("--"));
        options.map(str::to_owned).collect()
    }

    #[test]
    fn all_options_in_advice_exist() {
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
