//! One block after the other.

/// See [`super::Pattern::Sequential`].
#[derive(Clone, Debug)]
pub struct Sequential {
    capacity: u32,
}

impl Sequential {
    pub(super) fn new(capacity: u32) -> Self {
        Self { capacity }
    }

    /// The access number `at`.
    pub(super) fn next_block(&mut self, at: u64) -> u32 {
        (at % u64::from(self.capacity)) as u32
    }
}
