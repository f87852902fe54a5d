//! Numbers in an order of which any can be taken out: a second list beside that
//! of a table.

use alloc::boxed::Box;

/// A doubly linked ring over `0..len`, and a sentinel after them.
#[derive(Clone, Debug)]
pub struct Ring(Box<[[u32; 2]]>);

impl Ring {
    /// An empty one, for numbers below `len`.
    pub fn new(len: u32) -> Self {
        Self((0..=len).map(|number| [number; 2]).collect())
    }

    fn sentinel(&self) -> u32 {
        self.0.len() as u32 - 1
    }

    /// Puts a number that is not in the ring on top.
    #[inline]
    pub fn push(&mut self, number: u32) {
        let sentinel = self.sentinel();
        let [_, top] = self.0[sentinel as usize];
        self.0[number as usize] = [sentinel, top];
        self.0[top as usize][0] = number;
        self.0[sentinel as usize][1] = number;
    }

    /// Takes out a number that is in the ring.
    #[inline]
    pub fn unlink(&mut self, number: u32) {
        let [above, below] = self.0[number as usize];
        self.0[above as usize][1] = below;
        self.0[below as usize][0] = above;
    }

    /// Puts `new`, which is not in the ring, where `old` is, which then is not.
    pub fn replace(&mut self, old: u32, new: u32) {
        let [above, below] = self.0[old as usize];
        self.0[new as usize] = [above, below];
        self.0[above as usize][1] = new;
        self.0[below as usize][0] = new;
    }

    /// The number that has been in for longest.
    #[inline]
    pub fn bottom(&self) -> Option<u32> {
        let [bottom, _] = self.0[self.0.len() - 1];
        (bottom != self.sentinel()).then_some(bottom)
    }

    /// From the top to the bottom.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let mut at = self.sentinel();
        core::iter::from_fn(move || {
            at = self.0[at as usize][1];
            (at != self.sentinel()).then_some(at)
        })
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}
