//! How reports leave the guest.

use alloc::vec::Vec;

use workloads::Report;

use crate::port::Machine;

/// Sends a report: as JSON on a channel of its own, as a sentence to a person.
pub fn send_report(machine: &mut impl Machine, report: &Report) {
    if machine.has_own_channel() {
        let mut line: Vec<u8> = report.to_line().into_bytes();
        line.push(b'\n');
        machine.write_channel(&line);
    }
    // What comes by the thousand, or while somebody measures, is not printed
    // twice: a serial line is slow.
    let is_bulk = matches!(
        report,
        Report::Counts { .. }
            | Report::Resized { .. }
            | Report::CacheSample { .. }
            | Report::Stamps { .. }
    );
    if !machine.has_own_channel() || !is_bulk {
        machine.log(format_args!("{report}"));
    }
}
