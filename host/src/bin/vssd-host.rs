//! The backend daemon.

use std::process::ExitCode;

use clap::Parser;
use vssd_host::daemon::{Args, run};

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vssd-host: {error:#}");
            ExitCode::FAILURE
        }
    }
}
