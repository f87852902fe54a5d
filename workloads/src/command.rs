//! What a guest can be told to do, as lines of text.
//!
//! ```text
//! command   = verb *( " " key "=" value )
//! script    = command *( ";" command )          (a kernel command line)
//! ```
//!
//! Every key has a default, so `verify` alone is a command. Numbers are
//! decimal. [`Command`] displays as text that parses to itself.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::name::Name;
use crate::pattern::{Pattern, Workload};
use crate::pick::GuestPick;

/// Which side turns reads of surrendered blocks away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Enforce {
    /// The driver, before they reach the device.
    Driver,
    /// The device: the driver lets them through.
    Device,
}

/// One thing for the guest to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Says what the guest found: shape of the device, blocks held.
    Info,
    /// Chooses how blocks to surrender are picked from now on.
    Policy {
        /// The way to pick.
        pick: GuestPick,
        /// For the random ones.
        seed: u64,
    },
    /// Draws accesses of a workload, without making them, for [`GuestPick::Sample`].
    Hint {
        /// The workload.
        workload: Workload,
        /// Its seed.
        seed: u64,
        /// Number of the first access.
        start: u64,
        /// Number of draws.
        count: u64,
    },
    /// Writes a new version of every held block.
    Fill {
        /// Seed of the contents, from now on.
        seed: u64,
    },
    /// Reads every block of the device in order and checks what it reads.
    Verify {
        /// Who turns away reads of surrendered blocks.
        enforce: Enforce,
    },
    /// Reads single blocks of a workload and counts hits and misses for each.
    ///
    /// A read of a block that is not held misses, and so does one of a block
    /// that came back empty, which is written anew then.
    Read {
        /// The workload.
        workload: Workload,
        /// Its seed.
        seed: u64,
        /// Number of the first access.
        start: u64,
        /// Number of reads.
        count: u64,
        /// Reads in flight, at most.
        depth: u32,
        /// Report the counts of each block besides the totals.
        per_block: bool,
        /// Check what is read against what was written last.
        check: bool,
    },
    /// Reads, checks and rewrites held blocks at random, while resizes go on.
    Stress {
        /// Number of requests; 0 goes on until the next command arrives.
        count: u64,
        /// Seed of the choice.
        seed: u64,
        /// Requests in flight, at most.
        depth: u32,
        /// Writes in a hundred requests.
        writes: u32,
        /// Measure every request, and report latencies by phase.
        latency: bool,
    },
    /// Puts a block cache on the vSSD, in front of the origin disk, and opens what an
    /// earlier one left there.
    Cache {
        /// The eviction policy.
        evict: Name,
        /// The write policy.
        write: Name,
        /// Requests to a block before it is let in, within recent memory; 1 lets
        /// every one in.
        promote: u8,
        /// Blocks of a sequential run from which on the rest goes past the cache; 0
        /// for never.
        bypass: u32,
        /// Dirty blocks in a hundred slots, from which on they are written back.
        dirty: u8,
        /// Forget what an earlier cache left. What was dirty in it is lost.
        fresh: bool,
    },
    /// Reads and writes blocks of the origin disk through the cache.
    Replay {
        /// Where accesses go; `None` for those of the trace disk.
        workload: Option<Workload>,
        /// Its seed, and that of the choice of writes.
        seed: u64,
        /// Number of the first access.
        start: u64,
        /// Number of accesses; 0 goes on until the trace ends or the next command
        /// arrives.
        count: u64,
        /// Accesses in flight, at most.
        depth: u32,
        /// Blocks of the origin disk that the workload uses; 0 for all of them.
        span: u32,
        /// Writes in a hundred accesses of a workload; a trace has its own.
        writes: u32,
        /// A flush after so many writes; 0 for none.
        flush: u32,
        /// A [`Report::CacheSample`](crate::Report::CacheSample) after so many accesses; 0 for none.
        every: u64,
        /// Check what is read against what was written last.
        check: bool,
    },
    /// Reads the stamps of the first `span` blocks of the origin disk through the
    /// cache, and reports them.
    Stamps {
        /// Number of blocks; 0 for all of them.
        span: u32,
    },
    /// Writes all dirty blocks of the cache back to the origin disk.
    WriteBack,
    /// Writes what the cache knows to the vSSD and closes it, so that the next one
    /// begins warm.
    Close,
    /// Makes completed writes durable: those of the cache, if there is one.
    Flush,
    /// Waits until the guest holds this many blocks and the device agrees.
    Wait {
        /// Blocks.
        held: u32,
    },
    /// Ends the guest with success.
    Exit,
}

/// Why a line is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The first word is not a verb.
    UnknownVerb(String),
    /// A word is not `key=value`, or the verb has no such key.
    UnknownKey {
        /// The verb.
        verb: String,
        /// The word.
        word: String,
    },
    /// The value is not of the key's kind.
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVerb(verb) => write!(f, "no command `{verb}`; there are: {VERBS}"),
            Self::UnknownKey { verb, word } => {
                write!(
                    f,
                    "`{verb}` takes key=value words, and `{word}` is none it knows"
                )
            }
            Self::BadValue { key, value } => write!(f, "invalid value `{value}` for `{key}`"),
        }
    }
}

impl core::error::Error for ParseError {}

const VERBS: &str =
    "info policy hint fill verify read stress cache replay stamps write-back close flush wait exit";

/// The words of a line after the verb; each is taken once.
struct Words<'a> {
    verb: &'a str,
    rest: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn split(line: &'a str) -> Result<Self, ParseError> {
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest = words
            .map(|word| {
                word.split_once('=').ok_or_else(|| ParseError::UnknownKey {
                    verb: verb.to_string(),
                    word: word.to_string(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { verb, rest })
    }

    fn take<T: FromStr>(&mut self, key: &str, default: T) -> Result<T, ParseError> {
        let Some(at) = self.rest.iter().position(|(k, _)| *k == key) else {
            return Ok(default);
        };
        let (_, value) = self.rest.remove(at);
        value.parse().map_err(|_| ParseError::BadValue {
            key: key.to_string(),
            value: value.to_string(),
        })
    }

    fn finish(self, command: Command) -> Result<Command, ParseError> {
        match self.rest.first() {
            None => Ok(command),
            Some((key, _)) => Err(ParseError::UnknownKey {
                verb: self.verb.to_string(),
                word: key.to_string(),
            }),
        }
    }
}

/// The 2017 workload, which is the default wherever one can be given.
pub const DEFAULT_WORKLOAD: Workload = Workload {
    pattern: Pattern::Gaussian {
        mean: 20_000.0,
        sd: 8_192.0,
    },
    phase: None,
};

/// Requests in flight where a command does not say.
pub const DEFAULT_DEPTH: u32 = 32;

impl FromStr for Command {
    type Err = ParseError;

    fn from_str(line: &str) -> Result<Self, ParseError> {
        let mut words = Words::split(line)?;
        let command = match words.verb {
            "info" => Self::Info,
            "policy" => Self::Policy {
                pick: words.take("pick", GuestPick::Sample)?,
                seed: words.take("seed", 1)?,
            },
            "hint" => Self::Hint {
                workload: words.take("workload", DEFAULT_WORKLOAD)?,
                seed: words.take("seed", 1)?,
                start: words.take("start", 0)?,
                count: words.take("count", 100_000)?,
            },
            "fill" => Self::Fill {
                seed: words.take("seed", 1)?,
            },
            "verify" => Self::Verify {
                enforce: words.take("enforce", Enforce::Driver)?,
            },
            "read" => Self::Read {
                workload: words.take("workload", DEFAULT_WORKLOAD)?,
                seed: words.take("seed", 1)?,
                start: words.take("start", 0)?,
                count: words.take("count", 100_000)?,
                depth: words.take("depth", DEFAULT_DEPTH)?,
                per_block: words.take("per-block", false)?,
                check: words.take("check", true)?,
            },
            "stress" => Self::Stress {
                count: words.take("count", 0)?,
                seed: words.take("seed", 1)?,
                depth: words.take("depth", DEFAULT_DEPTH)?,
                writes: words.take("writes", 50)?,
                latency: words.take("latency", false)?,
            },
            "cache" => Self::Cache {
                evict: words.take("evict", Name::of("lru"))?,
                write: words.take("write", Name::of("write-back"))?,
                promote: words.take("promote", 1)?,
                bypass: words.take("bypass", 0)?,
                dirty: words.take("dirty", 50)?,
                fresh: words.take("fresh", false)?,
            },
            "replay" => Self::Replay {
                workload: match words.take("trace", false)? {
                    true => None,
                    false => Some(words.take("workload", DEFAULT_WORKLOAD)?),
                },
                seed: words.take("seed", 1)?,
                start: words.take("start", 0)?,
                count: words.take("count", 0)?,
                depth: words.take("depth", DEFAULT_DEPTH)?,
                span: words.take("span", 0)?,
                writes: words.take("writes", 0)?,
                flush: words.take("flush", 0)?,
                every: words.take("every", 0)?,
                check: words.take("check", true)?,
            },
            "stamps" => Self::Stamps {
                span: words.take("span", 0)?,
            },
            "write-back" => Self::WriteBack,
            "close" => Self::Close,
            "flush" => Self::Flush,
            "wait" => Self::Wait {
                held: words.take("held", 0)?,
            },
            "exit" => Self::Exit,
            verb => return Err(ParseError::UnknownVerb(verb.to_string())),
        };
        words.finish(command)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Info => f.write_str("info"),
            Self::Policy { pick, seed } => write!(f, "policy pick={pick} seed={seed}"),
            Self::Hint {
                workload,
                seed,
                start,
                count,
            } => write!(
                f,
                "hint workload={workload} seed={seed} start={start} count={count}"
            ),
            Self::Fill { seed } => write!(f, "fill seed={seed}"),
            Self::Verify { enforce } => write!(f, "verify enforce={enforce}"),
            Self::Read {
                workload,
                seed,
                start,
                count,
                depth,
                per_block,
                check,
            } => write!(
                f,
                "read workload={workload} seed={seed} start={start} count={count} depth={depth} \
                 per-block={per_block} check={check}"
            ),
            Self::Stress {
                count,
                seed,
                depth,
                writes,
                latency,
            } => write!(
                f,
                "stress count={count} seed={seed} depth={depth} writes={writes} latency={latency}"
            ),
            Self::Cache {
                evict,
                write,
                promote,
                bypass,
                dirty,
                fresh,
            } => write!(
                f,
                "cache evict={evict} write={write} promote={promote} bypass={bypass} dirty={dirty} \
                 fresh={fresh}"
            ),
            Self::Replay {
                workload,
                seed,
                start,
                count,
                depth,
                span,
                writes,
                flush,
                every,
                check,
            } => {
                match workload {
                    Some(workload) => write!(f, "replay workload={workload}")?,
                    None => f.write_str("replay trace=true")?,
                }
                write!(
                    f,
                    " seed={seed} start={start} count={count} depth={depth} span={span} \
                     writes={writes} flush={flush} every={every} check={check}"
                )
            }
            Self::Stamps { span } => write!(f, "stamps span={span}"),
            Self::WriteBack => f.write_str("write-back"),
            Self::Close => f.write_str("close"),
            Self::Flush => f.write_str("flush"),
            Self::Wait { held } => write!(f, "wait held={held}"),
            Self::Exit => f.write_str("exit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::PhaseChange;
    use alloc::vec;
    use proptest::prelude::*;

    fn workload() -> impl Strategy<Value = Workload> {
        let pattern = prop_oneof![
            Just(Pattern::Uniform),
            Just(Pattern::Sequential),
            (-1e9f64..1e9, 1e-3f64..1e6).prop_map(|(mean, sd)| Pattern::Gaussian { mean, sd }),
            (0f64..1e300).prop_map(|exponent| Pattern::Zipf { exponent }),
            (any::<u32>(), 0f64..1.0, 0f64..1e9).prop_map(|(blocks, share, speed)| {
                Pattern::Hotspot {
                    blocks,
                    share,
                    speed,
                }
            }),
        ];
        let phase = prop_oneof![
            Just(None),
            (any::<u64>(), any::<u32>()).prop_map(|(at, offset)| Some(PhaseChange { at, offset })),
        ];
        (pattern, phase).prop_map(|(pattern, phase)| Workload { pattern, phase })
    }

    fn command() -> impl Strategy<Value = Command> {
        let pick = proptest::sample::select(GuestPick::all().collect::<Vec<_>>());
        let enforce = prop_oneof![Just(Enforce::Driver), Just(Enforce::Device)];
        prop_oneof![
            Just(Command::Info),
            Just(Command::Flush),
            Just(Command::Exit),
            (pick, any::<u64>()).prop_map(|(pick, seed)| Command::Policy { pick, seed }),
            (workload(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
                |(workload, seed, start, count)| Command::Hint {
                    workload,
                    seed,
                    start,
                    count,
                }
            ),
            any::<u64>().prop_map(|seed| Command::Fill { seed }),
            enforce.prop_map(|enforce| Command::Verify { enforce }),
            (
                workload(),
                any::<[u64; 3]>(),
                any::<u32>(),
                any::<[bool; 2]>()
            )
                .prop_map(
                    |(workload, [seed, start, count], depth, [per_block, check])| {
                        Command::Read {
                            workload,
                            seed,
                            start,
                            count,
                            depth,
                            per_block,
                            check,
                        }
                    }
                ),
            (
                any::<u64>(),
                any::<u64>(),
                any::<u32>(),
                any::<u32>(),
                any::<bool>()
            )
                .prop_map(|(count, seed, depth, writes, latency)| Command::Stress {
                    count,
                    seed,
                    depth,
                    writes,
                    latency
                }),
            any::<u32>().prop_map(|held| Command::Wait { held }),
            (
                "[a-z0-9-]{1,16}",
                "[a-z0-9-]{1,16}",
                any::<[u8; 2]>(),
                any::<u32>(),
                any::<bool>()
            )
                .prop_map(|(evict, write, [promote, dirty], bypass, fresh)| {
                    Command::Cache {
                        evict: Name::of(&evict),
                        write: Name::of(&write),
                        promote,
                        bypass,
                        dirty,
                        fresh,
                    }
                }),
            (
                proptest::option::of(workload()),
                any::<[u64; 4]>(),
                any::<[u32; 4]>(),
                any::<bool>()
            )
                .prop_map(
                    |(
                        workload,
                        [seed, start, count, every],
                        [depth, span, writes, flush],
                        check,
                    )| {
                        Command::Replay {
                            workload,
                            seed,
                            start,
                            count,
                            depth,
                            span,
                            writes,
                            flush,
                            every,
                            check,
                        }
                    }
                ),
            any::<u32>().prop_map(|span| Command::Stamps { span }),
            Just(Command::WriteBack),
            Just(Command::Close),
        ]
    }

    proptest! {
        #[test]
        fn text_parses_to_itself(command in command()) {
            prop_assert_eq!(command.to_string().parse::<Command>(), Ok(command));
        }

        #[test]
        fn any_line_is_a_command_or_an_error(line in ".*") {
            let _ = line.parse::<Command>();
        }
    }

    #[test]
    fn errors_name_the_word() {
        let error = |line: &str| line.parse::<Command>().unwrap_err().to_string();
        assert!(error("fly").contains("`fly`"));
        assert!(error("fill size=3").contains("`size`"));
        assert!(error("fill seed=x").contains("`x`"));
        assert!(error("fill seed").contains("`seed`"));
    }
}
