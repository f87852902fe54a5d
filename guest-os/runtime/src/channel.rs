//! Commands from the channel, line by line.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::port::Machine;

/// The longest command line; the rest of a longer one is dropped.
const LINE_MAX: usize = 4096;

/// The most commands that wait; while so many do, the channel is not read.
const WAITING_MAX: usize = 64;

/// Lines that arrived and were not carried out yet.
#[derive(Default)]
pub struct Lines {
    waiting: VecDeque<String>,
    partial: Vec<u8>,
}

impl Lines {
    /// Reads what has arrived. Returns true when there was something.
    pub fn poll(&mut self, machine: &mut impl Machine) -> bool {
        let mut any = false;
        let mut bytes = [0; 256];
        while self.waiting.len() < WAITING_MAX {
            let len = machine.read_channel(&mut bytes);
            if len == 0 {
                break;
            }
            any = true;
            for &byte in &bytes[..len] {
                // A terminal ends a line with a carriage return.
                if byte == b'\n' || byte == b'\r' {
                    let line = core::mem::take(&mut self.partial);
                    self.push_script(&String::from_utf8_lossy(&line));
                } else if self.partial.len() < LINE_MAX {
                    self.partial.push(byte);
                }
            }
        }
        any
    }

    /// Adds the commands of a script, which `;` separates.
    pub fn push_script(&mut self, script: &str) {
        self.waiting.extend(
            script
                .split(';')
                .map(str::trim)
                .filter(|command| !command.is_empty())
                .map(String::from),
        );
    }

    /// Commands that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// True when a command waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next command.
    pub fn pop(&mut self) -> Option<String> {
        self.waiting.pop_front()
    }
}
