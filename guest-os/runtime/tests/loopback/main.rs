//! The whole guest above its hardware against the device's half of the
//! protocol, joined in memory: no QEMU, no thread, no clock but a counter.

mod cached;
mod fixed;
mod resizes;
mod world;
