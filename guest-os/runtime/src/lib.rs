//! The guest above its hardware: the vSSD driver, the policies by which it
//! gives blocks up, and the loop that carries commands out.
//!
//! Nothing here knows PCI, interrupts or memory mappings, and nothing is
//! unsafe: [`port`] is the seam. The kernel implements it on real queues.
//!
//! - [`guest`]: the main loop and the commands
//! - [`shape`]: the kind of a disk, a vSSD or one of fixed size
//! - [`disk`]: the driver, as the jobs and the application see it
//! - [`job`]: what commands do with blocks, many requests in flight
//! - [`surrender`]: which blocks to give up
//! - [`cached`]: the block cache on the vSSD, in front of the origin disk
//! - [`hardware`], [`slots`], [`tasks`]: what futures share with the main loop
//! - [`app`], [`contents`]: the expected contents of blocks, and the application that keeps them
//! - [`phases`]: the resizes during a measurement
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod app;
pub mod cached;
mod channel;
pub mod contents;
pub mod disk;
pub mod guest;
pub mod hardware;
pub mod job;
pub mod phases;
pub mod port;
pub mod shape;
pub mod slots;
pub mod surrender;
pub mod tasks;

use alloc::string::String;

use guest::{Guest, send_report};
use port::{Exit, Machine};
use workloads::{Report, report};

/// Runs the guest: the commands of `command_line`, separated by `;`, then those
/// that arrive on the channel, until `exit`.
pub fn run<M: Machine>(machine: &mut M, command_line: &str) -> Exit {
    match shape::discover(machine.port()) {
        Ok(shape) => Guest::new(machine, shape).run(command_line),
        Err(reason) => {
            let failed = Report::Failed(report::Failed {
                command: String::new(),
                reason,
            });
            send_report(machine, &failed);
            Exit::Failure
        }
    }
}
