//! What a balloon needs of a file system.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use crate::error::Result;

/// One of the balloon's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece(pub u32);

/// A part of a piece, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub logical: u64,
    /// Where in the file system.
    pub physical: u64,
    /// How long.
    pub len: u64,
    /// It is certain where this lies, and that nothing else shares it.
    pub is_fixed: bool,
}

/// Space for data, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Of the file system.
    pub total: u64,
    /// Free for those who are not root.
    pub available: u64,
    /// Free for root.
    pub free: u64,
}

/// The balloon's files. Each call is one step: a guest that dies between two has done the first,
/// and of what was not [synced](Files::sync) any part.
pub trait Files {
    /// The pieces that there are.
    fn pieces(&self) -> Vec<Piece>;

    /// Free space.
    fn space(&mut self) -> Result<Space>;

    /// Lets pieces have what the file system keeps for itself, too, or no longer.
    fn use_all(&mut self, all: bool) -> Result<()>;

    /// Longest piece, bytes; a multiple of [`granularity`](Self::granularity).
    fn piece_len(&self) -> u64;

    /// Pieces are allocated in multiples of this, bytes.
    fn granularity(&self) -> u64;

    /// Whether parts of a piece can be freed; else a piece is freed as a whole.
    fn frees_parts(&self) -> bool;

    /// An empty piece, whose blocks the file system will not move; `None` when there is no space for
    /// one.
    fn create(&mut self) -> Result<Option<Piece>>;

    /// Allocates the first `len` bytes of a piece, without I/O to them. Where space is short it may
    /// be less.
    fn allocate(&mut self, piece: Piece, len: u64) -> Result<()>;

    /// The piece and where it lies outlive the guest.
    fn sync(&mut self, piece: Piece) -> Result<()>;

    /// The piece cannot be changed, moved or deleted from now on.
    fn protect(&mut self, piece: Piece) -> Result<()>;

    /// Calls `each` with the extents of a piece in the order of the file.
    fn extents(&mut self, piece: Piece, each: &mut dyn FnMut(Extent)) -> Result<()>;

    /// Frees parts of a piece, each a range of the file.
    fn free(&mut self, piece: Piece, parts: &[Range<u64>]) -> Result<()>;

    /// Frees all of a piece.
    fn remove(&mut self, piece: Piece) -> Result<()>;

    /// Tells the disk which blocks the file system does not use.
    fn trim(&mut self) -> Result<()>;

    /// Repairs what was done to the pieces by hand, as far as that can be repaired, and reports it.
    fn tend(&mut self) -> Result<()>;

    /// Readable when something was done to the pieces.
    fn watch(&self) -> Option<BorrowedFd<'_>>;
}
