//! The commands of a guest, as lines of text.
//!
//! ```text
//! command   = verb *( " " key "=" value )
//! script    = command *( ";" command )          (a kernel command line)
//! ```
//!
//! Every key has a default, so `verify` alone is a command. Numbers are
//! decimal. [`Command`] displays as text that parses to itself.

mod words;

#[cfg(test)]
mod tests;

use alloc::string::ToString;
use core::fmt;
use core::str::FromStr;

use self::words::{Value, Words};
use crate::name::Name;
use crate::pattern::{Pattern, Workload};
use crate::pick::GuestPick;

pub use self::words::ParseError;

/// Which side refuses reads of surrendered blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Enforce {
    /// The driver, before they reach the device.
    Driver,
    /// The device: the driver lets them through.
    Device,
}

/// What a guest does with the blocks of deleted files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Discard {
    /// Nothing.
    None,
    /// The cache frees their slots.
    Cache,
    /// The cache frees their slots and discards them on the vSSD.
    Device,
}

/// What an application says that it will do with blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Advice {
    /// Nothing is known.
    Normal,
    /// It will use them again.
    Needed,
    /// It will not use them again: those of a scan, say, or of a job that has ended.
    Done,
}

/// The 2017 workload, which is the default of every `workload`.
pub const DEFAULT_WORKLOAD: Workload = Workload {
    pattern: Pattern::Gaussian {
        mean: 20_000.0,
        sd: 8_192.0,
    },
    phase: None,
};

/// Requests in flight where a command does not say.
pub const DEFAULT_DEPTH: u32 = 32;

/// The key of a field: with hyphens where the field has underscores.
macro_rules! key {
    (per_block) => {
        "per-block"
    };
    (clean_first) => {
        "clean-first"
    };
    ($field:ident) => {
        stringify!($field)
    };
}

/// The type of a variant with these fields.
macro_rules! payload {
    ($name:ident $($field:ident)+) => {
        $name
    };
}

/// The pattern of a variant, which binds `$inner` if it has fields.
macro_rules! variant {
    ($name:ident $inner:ident) => {
        Command::$name
    };
    ($name:ident $inner:ident $($field:ident)+) => {
        Command::$name($inner)
    };
}

/// Makes [`Command`], a struct for each command with fields, and both directions of the text
/// out of one line for each verb and each field with its default.
macro_rules! commands {
    ($(
        $(#[doc = $doc:literal])+
        $verb:literal => $name:ident $({$(
            $(#[doc = $field_doc:literal])+
            $field:ident: $type:ty = $default:expr,
        )+})?
    )+) => {
        /// One thing for the guest to do.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Command {
            $($(#[doc = $doc])+ $name $((payload!($name $($field)+)))?,)+
        }

        $($(
            #[doc = concat!("The fields of [`Command::", stringify!($name), "`].")]
            #[derive(Clone, Copy, Debug, PartialEq)]
            pub struct $name {
                $($(#[doc = $field_doc])+ pub $field: $type,)+
            }
        )?)+

        impl Command {
            /// The first words of all commands.
            pub const VERBS: &[&str] = &[$($verb),+];
        }

        impl FromStr for Command {
            type Err = ParseError;

            fn from_str(line: &str) -> Result<Self, ParseError> {
                let mut words = Words::split(line)?;
                let command = match words.verb {
                    $($verb => Self::$name $(($name {
                        $($field: Value::take(&mut words, key!($field), $default)?,)+
                    }))?,)+
                    verb => return Err(ParseError::UnknownVerb(verb.to_string())),
                };
                words.finish(command)
            }
        }

        impl fmt::Display for Command {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(variant!($name fields $($($field)+)?) => {
                        f.write_str($verb)?;
                        $($(fields.$field.write(key!($field), f)?;)+)?
                    })+
                }
                Ok(())
            }
        }
    };
}

commands! {
    /// Reports what the guest found: shape of the device, blocks held.
    "info" => Info
    /// Chooses how the guest picks blocks to surrender from now on.
    "policy" => Policy {
        /// The way to pick.
        pick: GuestPick = GuestPick::Sample,
        /// Seed of the random ones.
        seed: u64 = 1,
    }
    /// Draws accesses of a workload, without making them, for [`GuestPick::Sample`].
    "hint" => Hint {
        /// The workload.
        workload: Workload = DEFAULT_WORKLOAD,
        /// Its seed.
        seed: u64 = 1,
        /// Number of the first access.
        start: u64 = 0,
        /// Number of draws.
        count: u64 = 100_000,
    }
    /// Writes a new version of every held block.
    "fill" => Fill {
        /// Seed of the contents, from now on.
        seed: u64 = 1,
    }
    /// Reads every block of the device in order and checks what it reads.
    "verify" => Verify {
        /// Which side refuses reads of surrendered blocks.
        enforce: Enforce = Enforce::Driver,
    }
    /// Reads single blocks of a workload and counts hits and misses for each.
    ///
    /// A read of a block that is not held misses, and so does one of a block
    /// that came back empty, which is then written again.
    "read" => Read {
        /// The workload.
        workload: Workload = DEFAULT_WORKLOAD,
        /// Its seed.
        seed: u64 = 1,
        /// Number of the first access.
        start: u64 = 0,
        /// Number of reads.
        count: u64 = 100_000,
        /// Reads in flight, at most.
        depth: u32 = DEFAULT_DEPTH,
        /// Report the counts of each block besides the totals.
        per_block: bool = false,
        /// Check what is read against what was written last.
        check: bool = true,
    }
    /// Reads, checks and rewrites held blocks at random, while resizes go on.
    "stress" => Stress {
        /// Number of requests; 0 goes on until the next command arrives.
        count: u64 = 0,
        /// Seed of the choice.
        seed: u64 = 1,
        /// Requests in flight, at most.
        depth: u32 = DEFAULT_DEPTH,
        /// Writes in a hundred requests.
        writes: u32 = 50,
        /// Measure every request, and report latencies by phase.
        latency: bool = false,
    }
    /// Puts a block cache on the vSSD, in front of the origin disk, and opens what an
    /// earlier one left there.
    "cache" => Cache {
        /// The eviction policy.
        evict: Name = Name::of("lru"),
        /// The write policy.
        write: Name = Name::of("write-back"),
        /// Requests to a block before it is admitted, within recent memory; 1 admits
        /// every one.
        promote: u8 = 1,
        /// Blocks of a sequential run after which the rest bypasses the cache; 0 for never.
        bypass: u32 = 0,
        /// Dirty blocks in a hundred slots, from which on they are written back.
        dirty: u8 = 50,
        /// A shrink takes clean blocks before dirty ones.
        clean_first: bool = false,
        /// Discard what an earlier cache left. What was dirty in it is lost.
        fresh: bool = false,
        /// Pages of memory above the cache; 0 for none.
        memory: u32 = 0,
        /// What these pages share with the cache.
        share: Name = Name::of("nothing"),
        /// Blocks whose accesses are sampled, to report the demand when the hypervisor asks for
        /// it; 0 for none.
        sample: u32 = 0,
    }
    /// Reads and writes blocks of the origin disk through the cache.
    "replay" => Replay {
        /// Where accesses go; `None` for those of the trace disk.
        workload: Option<Workload> = Some(DEFAULT_WORKLOAD),
        /// Its seed, and that of the choice of writes.
        seed: u64 = 1,
        /// Number of the first access.
        start: u64 = 0,
        /// Number of accesses; 0 goes on until the trace ends or the next command
        /// arrives.
        count: u64 = 0,
        /// Accesses in flight, at most.
        depth: u32 = DEFAULT_DEPTH,
        /// The first block of the origin disk that the workload uses.
        first: u32 = 0,
        /// Blocks of the origin disk that the workload uses, from there on; 0 for all of them.
        span: u32 = 0,
        /// Writes in a hundred accesses of a workload; a trace and files have their own.
        writes: u32 = 0,
        /// What is done with the blocks of deleted files.
        discard: Discard = Discard::None,
        /// A flush after so many writes; 0 for none.
        flush: u32 = 0,
        /// A [`CacheSample`](crate::Report::CacheSample) after so many accesses; 0 for none.
        every: u64 = 0,
        /// Check what is read against what was written last.
        check: bool = true,
    }
    /// Says what the application will do with blocks of the origin disk, for the choice of
    /// blocks at a shrink. It holds until other advice for them, also for those that are cached
    /// later.
    "advise" => Advise {
        /// What it will do with them.
        advice: Advice = Advice::Normal,
        /// The first of the blocks.
        first: u32 = 0,
        /// How many; 0 for all from there on.
        count: u32 = 0,
    }
    /// Discards blocks of the origin disk, as a replay does with those of deleted files.
    "discard" => DiscardBlocks {
        /// The first of the blocks.
        first: u32 = 0,
        /// How many; 0 for all from there on.
        count: u32 = 0,
        /// Whether their slots are also discarded on the vSSD.
        device: bool = false,
    }
    /// Reads the stamps of the first `span` blocks of the origin disk through the
    /// cache, and reports them.
    "stamps" => Stamps {
        /// Number of blocks; 0 for all of them.
        span: u32 = 0,
    }
    /// Times the sampler of the demand alone, as a cache calls it for each access: how much of the
    /// guest's time it takes.
    "time-sampler" => TimeSampler {
        /// Where accesses go.
        workload: Workload = DEFAULT_WORKLOAD,
        /// Its seed.
        seed: u64 = 1,
        /// Blocks of the workload.
        span: u32 = 1 << 16,
        /// Blocks whose accesses are sampled.
        sample: u32 = 2048,
        /// Number of accesses, at least.
        count: u32 = 1_000_000,
    }
    /// Writes all dirty blocks of the cache back to the origin disk.
    "write-back" => WriteBack
    /// Writes the state of the cache to the vSSD and closes it, so that the next one
    /// starts warm.
    "close" => Close
    /// Makes completed writes durable: those of the cache, if there is one.
    "flush" => Flush
    /// Waits until the guest holds this many blocks and the device agrees.
    "wait" => Wait {
        /// Blocks.
        held: u32 = 0,
    }
    /// Ends the guest with success.
    "exit" => Exit
}
