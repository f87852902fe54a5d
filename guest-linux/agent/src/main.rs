//! The program of the agent.

use std::process::ExitCode;

use clap::Parser as _;
use vssd_agent::args::Args;
use vssd_agent::{attach, log, service};

fn main() -> ExitCode {
    let args = Args::parse();
    match attach::source(&args).and_then(|attach| service::run(&args.port, attach)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
