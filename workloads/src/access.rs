//! One access to one block, and what it does.

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// It reads the block.
    Read,
    /// It writes the block.
    Write,
    /// The block is not read again before it is written.
    Discard,
}

/// One access to one block of the origin disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The block.
    pub block: u32,
    /// What is done to it.
    pub kind: AccessKind,
}
