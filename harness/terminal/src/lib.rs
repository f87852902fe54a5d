//! What a command says on a terminal, how far it is, and when a signal ends it.
#![forbid(unsafe_code)]

pub mod interrupt;
pub mod progress;
pub mod talk;
