//! Ranges of blocks as words of a bitmap, and counting bits in many words.

use core::ops::Range;

/// Bits `from..to` of a word; `to` may be 64.
pub(super) fn mask(from: u32, to: u32) -> u64 {
    (u64::MAX >> (64 - (to - from))) << from
}

/// The words that `start..start + len` touches, as index and the bits it has in each.
pub fn spans(start: u32, len: u32) -> impl Iterator<Item = (usize, u64)> {
    let Parts { head, whole, tail } = Parts::of(start, len);
    let whole = whole.map(|word| (word, u64::MAX));
    head.into_iter().chain(whole).chain(tail)
}

/// Words that are tested together where most are alike: enough that the loop over them, which has
/// no early exit, is vectorized.
pub(super) const TOGETHER: usize = 32;

/// What `start..start + len` touches: like [`spans`], the whole words as one range.
pub(super) struct Parts {
    pub head: Option<(usize, u64)>,
    pub whole: Range<usize>,
    pub tail: Option<(usize, u64)>,
}

impl Parts {
    pub fn of(start: u32, len: u32) -> Self {
        let end = u64::from(start) + u64::from(len);
        let (first, last) = ((start / 64) as usize, (end / 64) as usize);
        // A part of a word, whole words, a part of a word: each can be empty.
        let head = match (start % 64, first == last) {
            (0, _) | (_, true) => None,
            (bit, false) => Some((first, mask(bit, 64))),
        };
        let from = if first == last { start % 64 } else { 0 };
        let to = (end % 64) as u32;
        Self {
            head,
            whole: first + usize::from(head.is_some())..last,
            tail: (from < to && len > 0).then(|| (last, mask(from, to))),
        }
    }

    pub fn ends(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        self.head.into_iter().chain(self.tail)
    }
}

/// Number of set bits in words that are probably all alike.
pub(super) fn count_alike(words: &[u64]) -> u32 {
    let (any, all) = words
        .iter()
        .fold((0, u64::MAX), |(any, all), word| (any | word, all & word));
    match (any, all) {
        (0, _) => 0,
        (_, u64::MAX) => words.len() as u32 * 64,
        _ => count_ones(words.iter().copied()),
    }
}

/// Number of set bits in many words, by carry-save adders (Harley and Seal;
/// Warren, Hacker's Delight, 5-1): four words are added bit by bit and only
/// every fourth is counted, which on a processor without an instruction for
/// that is half the work.
pub(crate) fn count_ones(mut words: impl Iterator<Item = u64>) -> u32 {
    let add = |a: u64, b: u64, c: u64| (a ^ b ^ c, a & b | (a ^ b) & c);
    let (mut ones, mut twos, mut fours) = (0, 0, 0u32);
    while let Some(first) = words.next() {
        let mut more = || words.next().unwrap_or(0);
        let (sum, carry) = add(ones, first, more());
        let (sum, second) = add(sum, more(), more());
        ones = sum;
        let (sum, carry) = add(twos, carry, second);
        twos = sum;
        fours += carry.count_ones();
    }
    ones.count_ones() + 2 * twos.count_ones() + 4 * fours
}
