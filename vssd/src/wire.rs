//! Layouts of everything that crosses the queues; see SPEC.md, section 4.

/// Bytes of an event buffer on the event queue.
pub const EVENT_LEN: usize = 32;

/// Most bytes of a command or of a response, header included.
pub const MAX_MESSAGE: usize = 64 + (1 << 20) + 4096;
