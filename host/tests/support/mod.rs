//! What the integration tests share: the daemon as a process ([`daemon`]), a
//! vhost-user frontend with rings of its own ([`frontend`]), and a guest that
//! speaks the contract over it ([`guest`]).
//!
//! Nothing here sleeps: whoever waits, waits for an event with a bound, and a
//! bound that is reached is a failure.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod daemon;
pub mod frontend;
pub mod guest;

use std::time::Duration;

/// How long anything may take before a test calls it hung: a bound on hanging, whatever
/// the machine, and never what a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// The deadline of a resize whose guest is to be waited for, milliseconds: it is never reached.
pub const NO_DEADLINE_MS: u64 = 3_600_000;
