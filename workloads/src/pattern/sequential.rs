//! One block after the other.

/// See [`super::Pattern::Sequential`].
#[derive(Clone, Debug)]
pub struct Sequential {
    capacity: u32,
    next: u32,
}

impl Sequential {
    pub(super) fn new(capacity: u32) -> Self {
        Self { capacity, next: 0 }
    }

    pub(super) fn next_block(&mut self) -> u32 {
        let block = self.next;
        self.next = (block + 1) % self.capacity;
        block
    }
}
