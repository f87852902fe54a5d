//! The guest above its hardware.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod port;

use port::{Exit, Machine};

/// Runs the guest: the commands of `command_line`, then those that arrive on
/// the channel, until one of them ends the run.
pub fn run<M: Machine>(machine: &mut M, command_line: &str) -> Exit {
    machine.log(format_args!("command line: {command_line}"));
    Exit::Success
}
