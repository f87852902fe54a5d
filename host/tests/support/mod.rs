//! What the integration tests share: the daemon as a process ([`daemon`]), a
//! vhost-user frontend ([`frontend`]) with rings of its own ([`ring`]), a guest that
//! speaks the contract over it ([`guest`]), and a vSSD with known contents to resize
//! ([`resizing`]), and an agent on its channel ([`agent`]).
//!
//! Nothing here sleeps: every wait is for an event, with a bound, and reaching the bound is a
//! failure.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod agent;
pub mod daemon;
pub mod frontend;
pub mod guest;
pub mod resizing;
pub mod ring;

use std::time::Duration;

/// The bound after which a test considers anything hung, on any machine. No test waits for it to
/// pass.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The deadline of a resize whose guest is to be waited for, milliseconds: it is never reached.
pub const NO_DEADLINE_MS: u64 = 3_600_000;
