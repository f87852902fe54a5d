//! The stream transport (SPEC.md, section 10): the contract over a byte stream, for a guest whose
//! kernel has no vSSD driver and whose program, the *agent*, speaks for it.
//!
//! ```text
//!       guest                                  QEMU                    host
//!  Driver ── AgentEnd ══ /dev/virtio-ports ══ chardev ══ socket ══ DeviceEnd ── Device
//!    commands  │                                                      │ commands
//!              └─ frames ─ stuffed ─▶ bytes ─▶ … ─▶ unstuffed ─ frames ┘
//! ```
//!
//! The state machines at both ends are those of the virtqueues, [`Driver`](crate::driver::Driver)
//! and [`Device`](crate::device::Device). What is here moves their messages over a line that loses
//! its tail when a side dies, and on which both sides may find bytes of another life:
//!
//! - [`AgentEnd`], [`DeviceEnd`]: the two ends; no I/O, clock or randomness
//! - [`frame`]: the layout of a frame
//! - `line`: frames to bytes and back; `stuffing`: where a frame begins and ends

mod agent;
#[cfg(test)]
mod canonical;
mod device;
pub mod frame;
mod line;
mod stuffing;

pub use agent::{AgentEnd, Message};
#[cfg(test)]
pub(crate) use canonical::visit_frame;
pub use device::{DeviceEnd, Input, Reply, busy};
pub use frame::{Closed, Identity};
