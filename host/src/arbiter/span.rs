//! Least and most blocks of a VM.

/// What a VM may get, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub floor: u32,
    /// At most, and at least the floor.
    pub ceiling: u32,
}
