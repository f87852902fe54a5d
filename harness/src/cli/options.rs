//! Groups of options. A command flattens those that do something for it, so that an option
//! has one name and one meaning in all of them.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lab::accel::AccelChoice;
use lab::qemu::Machine;
use terminal::progress::Progress;

use crate::experiments::common::params::Overrides;
use crate::sweep::cli::Common;

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct JsonArg {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl JsonArg {
    /// Bars on a terminal, and none beside JSON.
    pub(crate) fn progress(self) -> Progress {
        Progress {
            shown: !self.json && std::io::stderr().is_terminal(),
        }
    }
}

/// What is recorded, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutArgs {
    /// Folder for the results; must be empty, or hold the same sweep.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Seed of all randomness.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) json: JsonArg,
}

/// Parameters of an experiment.
#[derive(Clone, Debug, Args)]
pub(crate) struct ParamArgs {
    /// Run the full form: more steps, sizes and repetitions.
    #[arg(long)]
    pub(crate) full: bool,
    /// Parameters from a TOML file; they override the defaults.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// One parameter as key=value; it overrides defaults and --params. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ParamArgs {
    pub(crate) fn overrides(&self) -> Overrides<'_> {
        Overrides {
            full: self.full,
            file: self.params.as_deref(),
            sets: &self.sets,
        }
    }

    pub(crate) fn for_sweep<'a>(&'a self, out: &'a OutArgs) -> Common<'a> {
        Common {
            out: out.out.as_deref(),
            seed: out.seed,
            overrides: self.overrides(),
            json: out.json.json,
        }
    }
}

/// The QEMU that guests run under.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProgramArgs {
    /// How QEMU runs guests.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accel: AccelChoice,
    /// The QEMU to use.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) qemu: Option<PathBuf>,
}

/// How QEMU starts guests.
#[derive(Clone, Debug, Args)]
pub(crate) struct QemuArgs {
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
    /// QEMU's machine type.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) machine: Machine,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportChoice {
    /// QEMU where it is installed, else twins.
    #[default]
    Auto,
    /// Guests under QEMU, on a backend process.
    Qemu,
    /// Guests in this process: the same counts in less time, and no times.
    Twin,
}

/// What guests run on.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuestArgs {
    /// How guests and devices are joined.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: TransportChoice,
    #[command(flatten)]
    pub(crate) qemu: QemuArgs,
}

/// Options of a run of experiments.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) params: ParamArgs,
    #[command(flatten)]
    pub(crate) out: OutArgs,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}
