//! Control of a running backend.

use std::process::ExitCode;

use clap::Parser;
use vssd_host::ctl::{Args, run};

fn main() -> ExitCode {
    run(&Args::parse())
}
