//! Groups of options. Each command flattens those that it uses, so that an option has the same
//! name and meaning everywhere.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lab::accel::AccelChoice;
use lab::qemu::Machine;
use terminal::progress::Progress;

use crate::experiments::common::params::{Form, Overrides};
use crate::sweep::cli::Common;

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct JsonArg {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl JsonArg {
    /// Progress bars on a terminal, and none with JSON.
    pub(crate) fn progress(self) -> Progress {
        Progress {
            shown: !self.json && std::io::stderr().is_terminal(),
        }
    }
}

/// Output folder, seed and format.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutArgs {
    /// Folder for the results; must be empty or missing, or contain the same sweep. Default: a
    /// new folder in results/.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Random seed.
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
    full: bool,
    /// Run the grid of multiplex: who picks the blocks of shrinks, by who decides the sizes.
    #[arg(long, conflicts_with = "full")]
    grid: bool,
    /// Run a form of the experiment by name.
    #[arg(long, value_enum, conflicts_with_all = ["full", "grid"])]
    form: Option<Form>,
    /// Parameters from a TOML file; they override the defaults.
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// One parameter as key=value; it overrides defaults and --params. Repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ParamArgs {
    /// The form that is asked for; `None` for the quick one.
    pub(crate) fn form(&self) -> Option<Form> {
        match (self.full, self.grid) {
            (true, _) => Some(Form::Full),
            (_, true) => Some(Form::Grid),
            _ => self.form,
        }
    }

    pub(crate) fn overrides(&self) -> Overrides<'_> {
        Overrides {
            form: self.form(),
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

#[derive(Clone, Debug, Args)]
pub(crate) struct ProgramArgs {
    /// QEMU's accelerator.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) accel: AccelChoice,
    /// QEMU, version 7.2 or newer. Default: qemu-system-x86_64 in PATH.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) qemu: Option<PathBuf>,
}

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
    /// QEMU if it is installed, else twins.
    #[default]
    Auto,
    /// Guests under QEMU, connected to a backend process.
    Qemu,
    /// Guests in this process: the same counts, sooner, but no times.
    Twin,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct GuestArgs {
    /// How guests and devices are connected.
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
