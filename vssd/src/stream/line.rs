//! Frames to bytes of the line and back, with memory bounded by one frame in each direction.

use alloc::vec::Vec;

use super::frame::{FRAME_HEADER_LEN, Header, MAX_FRAME};
use super::stuffing::{DELIMITER, Unstuffer, stuff};

/// [STR-2] The bytes that arrive, as one frame after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Inbox {
    frame: Vec<u8>,
    unstuffer: Unstuffer,
    /// The frame is longer than any: what is left of it is discarded.
    is_overlong: bool,
    is_complete: bool,
    discarded: u64,
}

impl Inbox {
    /// Takes bytes from the front of `input` up to the end of an intact frame. `None` when there is
    /// none: all of `input` is taken then.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> Option<Header> {
        if core::mem::take(&mut self.is_complete) {
            self.frame.clear();
        }
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            if *byte != DELIMITER {
                self.unstuff(*byte);
                continue;
            }
            let is_overlong = core::mem::take(&mut self.is_overlong);
            let is_whole = self.unstuffer.end() && !is_overlong;
            let header = Header::decode(&self.frame).filter(|_| is_whole);
            if let Some((header, _)) = header {
                self.is_complete = true;
                return Some(header);
            }
            self.discarded += u64::from(!self.frame.is_empty());
            self.frame.clear();
        }
        None
    }

    fn unstuff(&mut self, byte: u8) {
        let Self {
            frame, is_overlong, ..
        } = self;
        self.unstuffer.take(byte, |byte| {
            if frame.len() < MAX_FRAME {
                frame.push(byte);
            } else {
                *is_overlong = true;
            }
        });
    }

    /// Forgets a frame that was taken, and the count of those that were discarded.
    #[cfg(test)]
    pub(super) fn reset(&mut self) {
        if core::mem::take(&mut self.is_complete) {
            self.frame.clear();
        }
        self.discarded = 0;
    }

    /// The message of the frame that [`take`](Self::take) returned last.
    pub(super) fn message(&self) -> &[u8] {
        self.frame.get(FRAME_HEADER_LEN..).unwrap_or_default()
    }

    /// Counts a frame that is intact, and means nothing here.
    pub(super) fn discard(&mut self) {
        self.discarded += 1;
    }

    /// Frames that were discarded since the last call.
    pub(super) fn take_discarded(&mut self) -> u64 {
        core::mem::take(&mut self.discarded)
    }
}

/// The bytes of at most one frame that are still to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// [STR-1] Replaces what is left by a frame. The delimiter before it ends what the other side got of the
    /// one that is replaced.
    pub(super) fn put(&mut self, header: Header, message: &[u8]) {
        self.bytes.clear();
        self.sent = 0;
        self.bytes.push(DELIMITER);
        stuff(&[&header.encode(message), message], &mut self.bytes);
        self.bytes.push(DELIMITER);
    }

    /// Replaces all by bytes that are still to be sent.
    #[cfg(test)]
    pub(super) fn restart(&mut self, bytes: Vec<u8>) {
        *self = Self { bytes, sent: 0 };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// The bytes to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// The first `count` of these were sent.
    pub(super) fn sent(&mut self, count: usize) {
        assert!(count <= self.bytes().len(), "more was sent than there is");
        self.sent += count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Kind;
    use super::*;
    use crate::wire::MAX_MESSAGE;
    use alloc::vec;

    fn line(message: &[u8]) -> Vec<u8> {
        let mut outbox = Outbox::default();
        outbox.put(Header::new(Kind::Command, 7), message);
        outbox.bytes().to_vec()
    }

    /// The messages in `bytes`.
    fn messages(inbox: &mut Inbox, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = vec![];
        while inbox.take(&mut bytes).is_some() {
            all.push(inbox.message().to_vec());
        }
        all
    }

    #[test]
    fn a_cut_frame_costs_no_other() {
        let (first, second) = (line(&[1; 600]), line(&[2; 600]));
        // All of it but the last delimiter is a frame: the next one has a delimiter in front.
        for cut in 0..first.len() - 1 {
            let mut inbox = Inbox::default();
            assert!(messages(&mut inbox, &first[..cut]).is_empty(), "{cut}");
            assert_eq!(messages(&mut inbox, &second), [[2; 600]], "{cut}");
            // Of less, nothing of a frame has arrived.
            assert_eq!(inbox.take_discarded(), u64::from(cut > 2), "{cut}");
        }
    }

    #[test]
    fn each_flipped_bit_is_found() {
        let good = line(&[1, 0, 2, 0]);
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut inbox = Inbox::default();
            let found = messages(&mut inbox, &bad);
            // The delimiters are no part of the frame: the first may miss, the second may be late.
            let is_delimiter = bit / 8 == 0 || bit / 8 == good.len() - 1;
            assert!(found.is_empty() || is_delimiter, "bit {bit}");
            assert_eq!(messages(&mut inbox, &good), [[1, 0, 2, 0]], "bit {bit}");
        }
    }

    #[test]
    fn the_longest_frame_is_taken_and_a_longer_one_takes_no_more_memory() {
        let mut inbox = Inbox::default();
        let longest = vec![5; MAX_MESSAGE];
        assert_eq!(messages(&mut inbox, &line(&longest)), [longest]);
        assert!(messages(&mut inbox, &line(&vec![5; MAX_MESSAGE + 1])).is_empty());
        assert!(messages(&mut inbox, &vec![0xff; 3 * MAX_MESSAGE]).is_empty());
        assert!(inbox.frame.len() <= MAX_FRAME);
        assert_eq!(messages(&mut inbox, &line(&[3])), [[3]]);
        assert_eq!(inbox.take_discarded(), 2);
    }
}
