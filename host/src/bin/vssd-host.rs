//! The backend daemon.

use std::process::ExitCode;

use clap::Parser;
use vssd_host::daemon::{Args, run};
use vssd_host::output::exit_code;

fn main() -> ExitCode {
    exit_code("vssd-host", run(&Args::parse()).map(|()| ExitCode::SUCCESS))
}
