//! An engine on an io_uring.
//!
//! Submissions go to the kernel in batches, the last one by the system call that waits for
//! completions; completions are read from the ring without a system call. An idle device does not
//! wait for a batch: it gets the first transfer at once, and works on it while others are prepared.
//! The ring also polls the watched descriptor, so that a thread sleeps in one place. A transfer
//! that the kernel cut short continues where it ended.
//!
//! What a transfer names must stay where it is until it has ended: its buffers by
//! the contract of [`Engine::submit`], the list of them because every slot keeps
//! its own. Dropping the engine waits for what is in flight.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::iter;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use vm_memory::VolatileSlice;

use super::{Direction, Engine};

/// Transfers in flight at most: as many as a queue has descriptors.
const SLOTS: usize = 1024;

/// The file's place among the registered ones.
const FILE: types::Fixed = types::Fixed(0);

/// User data of the completion that belongs to no slot: the watched descriptor is readable.
const WATCHED: u64 = u64::MAX;

/// Buffers of one transfer at most, which is what the kernel takes.
const MAX_BUFFERS: usize = 1024;

/// Bytes that are batched while the device is busy: four blocks take a disk longer than it takes to
/// prepare four more, and share a system call.
const BATCH_BYTES: usize = 16 << 10;

#[derive(Debug)]
struct Transfer {
    token: u64,
    direction: Direction,
    offset: u64,
    /// What is still to be moved; `first` of these are done.
    buffers: Vec<libc::iovec>,
    first: usize,
}

/// See the module.
pub struct Uring {
    ring: IoUring,
    /// Kept open for the ring.
    _file: Arc<File>,
    slots: Vec<Transfer>,
    free: Vec<u16>,
    /// Transfers that the kernel did not take or that are to go on.
    waiting: VecDeque<u16>,
    /// Bytes of transfers that were submitted since the kernel was last called.
    batched: usize,
    ended: VecDeque<(u64, io::Result<()>)>,
    in_flight: usize,
    watched: Option<RawFd>,
    /// The ring polls the watched descriptor.
    polled: bool,
}

// SAFETY: the raw pointers are those of buffers that the contract of `submit`
// keeps valid whatever thread uses them.
unsafe impl Send for Uring {}

impl Uring {
    /// An engine on `file`, which keeps the descriptors of its `claim` as well: where the process is
    /// killed, the kernel ends the transfers later, and closes what the ring has after that.
    ///
    /// # Errors
    /// When the system has no io_uring, or refuses it to this process.
    pub fn new(file: Arc<File>, claim: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let ring = IoUring::builder()
            // A completion need not interrupt the thread, which checks for it.
            .setup_coop_taskrun()
            .setup_cqsize(2 * SLOTS as u32)
            .build(SLOTS as u32)?;
        let claim = claim.iter().map(BorrowedFd::as_raw_fd);
        let files: Vec<RawFd> = iter::once(file.as_raw_fd()).chain(claim).collect();
        ring.submitter().register_files(&files)?;
        let slots = (0..SLOTS).map(|_| Transfer {
            token: 0,
            direction: Direction::Read,
            offset: 0,
            buffers: Vec::new(),
            first: 0,
        });
        Ok(Self {
            ring,
            _file: file,
            slots: slots.collect(),
            free: (0..SLOTS as u16).rev().collect(),
            waiting: VecDeque::with_capacity(SLOTS),
            batched: 0,
            ended: VecDeque::with_capacity(SLOTS),
            in_flight: 0,
            watched: None,
            polled: false,
        })
    }

    fn entry(&self, slot: u16) -> squeue::Entry {
        let transfer = &self.slots[usize::from(slot)];
        let rest = &transfer.buffers[transfer.first..];
        let count = rest.len().min(MAX_BUFFERS) as u32;
        let entry = match (transfer.direction, rest) {
            (Direction::Read, [one]) => {
                opcode::Read::new(FILE, one.iov_base.cast(), one.iov_len as u32)
                    .offset(transfer.offset)
                    .build()
            }
            (Direction::Write, [one]) => {
                opcode::Write::new(FILE, one.iov_base.cast(), one.iov_len as u32)
                    .offset(transfer.offset)
                    .build()
            }
            (Direction::Read, many) => opcode::Readv::new(FILE, many.as_ptr(), count)
                .offset(transfer.offset)
                .build(),
            (Direction::Write, many) => opcode::Writev::new(FILE, many.as_ptr(), count)
                .offset(transfer.offset)
                .build(),
        };
        entry.user_data(slot.into())
    }

    /// Puts what waits into the submission queue.
    fn fill(&mut self) {
        while let Some(&slot) = self.waiting.front() {
            let entry = self.entry(slot);
            // SAFETY: the buffers are valid until the transfer has ended, by
            // the contract of `submit`; the list of them is in the slot, which
            // is not touched before that.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                return;
            }
            self.waiting.pop_front();
            self.in_flight += 1;
        }
    }

    /// Makes the ring poll the watched descriptor once; true when it does.
    fn poll_watched(&mut self) -> bool {
        if let (false, Some(watched)) = (self.polled, self.watched) {
            let entry = opcode::PollAdd::new(types::Fd(watched), libc::POLLIN as u32)
                .build()
                .user_data(WATCHED);
            // SAFETY: the entry names no memory.
            self.polled = unsafe { self.ring.submission().push(&entry) }.is_ok();
        }
        self.polled
    }

    /// Submits what waits, and waits for `want` completions; false when the ring has failed.
    fn enter(&mut self, want: usize) -> bool {
        self.batched = 0;
        loop {
            self.fill();
            let result = self.ring.submit_and_wait(want);
            match result {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // A full completion queue is emptied by the caller.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                    return true;
                }
                Err(error) => {
                    // The kernel accepts nothing more: waiting transfers cannot be moved.
                    tracing::error!(%error, "io_uring failed");
                    return false;
                }
                Ok(_) if self.waiting.is_empty() => return true,
                Ok(_) => {}
            }
        }
    }

    fn reap(&mut self) {
        loop {
            let Some(entry) = self.ring.completion().next() else {
                return;
            };
            if entry.user_data() == WATCHED {
                self.polled = false;
                continue;
            }
            self.in_flight -= 1;
            let slot = entry.user_data() as u16;
            let transfer = &mut self.slots[usize::from(slot)];
            let result = match entry.result() {
                moved if moved > 0 => {
                    if transfer.advance(moved as usize) {
                        Ok(())
                    } else {
                        self.waiting.push_back(slot);
                        continue;
                    }
                }
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                error if matches!(-error, libc::EAGAIN | libc::EINTR) => {
                    self.waiting.push_back(slot);
                    continue;
                }
                error => Err(io::Error::from_raw_os_error(-error)),
            };
            self.ended.push_back((transfer.token, result));
            self.free.push(slot);
        }
    }
}

impl Transfer {
    /// Notes that bytes were moved; true when all were.
    fn advance(&mut self, mut moved: usize) -> bool {
        self.offset += moved as u64;
        while let Some(buffer) = self.buffers.get_mut(self.first) {
            if moved < buffer.iov_len {
                buffer.iov_base = buffer.iov_base.cast::<u8>().wrapping_add(moved).cast();
                buffer.iov_len -= moved;
                return false;
            }
            moved -= buffer.iov_len;
            self.first += 1;
        }
        true
    }
}

impl Engine for Uring {
    fn room(&self) -> usize {
        self.free.len()
    }

    unsafe fn submit(
        &mut self,
        token: u64,
        direction: Direction,
        offset: u64,
        buffers: &mut dyn Iterator<Item = VolatileSlice<'_>>,
    ) {
        let slot = self.free.pop().expect("the caller checked for room");
        let transfer = &mut self.slots[usize::from(slot)];
        transfer.token = token;
        transfer.direction = direction;
        transfer.offset = offset;
        transfer.first = 0;
        transfer.buffers.clear();
        for slice in buffers {
            self.batched += slice.len();
            transfer.buffers.push(libc::iovec {
                iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                iov_len: slice.len(),
            });
        }
        self.waiting.push_back(slot);
        if self.in_flight == 0 || self.batched >= BATCH_BYTES {
            self.enter(0);
        }
    }

    fn may_block(&self) -> bool {
        // The kernel hands to a thread of its own what would block.
        false
    }

    fn kick(&mut self) {
        if !self.waiting.is_empty() {
            self.enter(0);
        }
    }

    fn ended(&mut self) -> Option<(u64, io::Result<()>)> {
        if self.ended.is_empty() {
            self.reap();
        }
        self.ended.pop_front()
    }

    fn wait(&mut self) {
        self.reap();
        let mut usable = true;
        while usable && self.ended.is_empty() && (self.in_flight > 0 || !self.waiting.is_empty()) {
            usable = self.enter(1);
            self.reap();
        }
    }

    fn watch(&mut self, other: RawFd) -> io::Result<()> {
        self.watched = Some(other);
        Ok(())
    }

    fn park(&mut self) -> bool {
        self.reap();
        while self.ended.is_empty() {
            // With no room for the poll, what fills the queue is submitted first.
            let polled = self.poll_watched();
            if !self.enter(usize::from(polled)) {
                break;
            }
            self.reap();
            if polled && !self.polled {
                break;
            }
        }
        !self.ended.is_empty()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The kernel may still write to buffers that are about to go away.
        self.waiting.clear();
        while self.in_flight > 0 {
            self.enter(1);
            self.reap();
            self.waiting.clear();
        }
        // The kernel takes the ring down some time later; the claim is free now. Where that
        // fails, it is free then.
        let _ = self.ring.submitter().unregister_files();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vmm_sys_util::eventfd::EventFd;

    use super::*;

    #[test]
    fn transfers_end_whatever_their_number() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..3000u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&content).unwrap();
        let mut engine = Uring::new(Arc::new(file), &[]).unwrap();
        let mut buffers = vec![[0u8; 4]; 3000];
        let slices: Vec<_> = buffers
            .iter_mut()
            .map(|b| VolatileSlice::from(&mut b[..]))
            .collect();
        let (mut next, mut ended) = (0, 0);
        while ended < slices.len() {
            while next < slices.len() && engine.room() > 0 {
                let mut parts = [
                    slices[next].subslice(0, 1).unwrap(),
                    slices[next].offset(1).unwrap(),
                ]
                .into_iter();
                // SAFETY: the buffers live to the end of the test.
                unsafe {
                    engine.submit(next as u64, Direction::Read, 4 * next as u64, &mut parts);
                }
                next += 1;
            }
            engine.wait();
            while let Some((_, result)) = engine.ended() {
                result.unwrap();
                ended += 1;
            }
        }
        assert_eq!(buffers.concat(), content);
    }

    #[test]
    fn the_end_of_the_file_is_an_error() {
        let mut engine = Uring::new(Arc::new(tempfile::tempfile().unwrap()), &[]).unwrap();
        let mut buffer = [0u8; 16];
        let slice = VolatileSlice::from(&mut buffer[..]);
        // SAFETY: the buffer lives to the end of the test.
        unsafe { engine.submit(7, Direction::Read, 0, &mut [slice].into_iter()) };
        engine.wait();
        let (token, result) = engine.ended().unwrap();
        assert_eq!(
            (token, result.unwrap_err().kind()),
            (7, io::ErrorKind::UnexpectedEof)
        );
    }

    #[test]
    fn a_parked_thread_is_woken_by_a_transfer_or_the_watched_descriptor() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 16]).unwrap();
        let mut engine = Uring::new(Arc::new(file), &[]).unwrap();
        let notifier = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        engine.watch(notifier.as_raw_fd()).unwrap();
        for _ in 0..3 {
            notifier.write(1).unwrap();
            assert!(!engine.park(), "nothing is in flight");
            assert!(!engine.park(), "it is still readable");
            notifier.read().unwrap();
            let mut buffer = [0u8; 16];
            let slice = VolatileSlice::from(&mut buffer[..]);
            // SAFETY: the buffer lives until the transfer has ended.
            unsafe { engine.submit(9, Direction::Read, 0, &mut [slice].into_iter()) };
            assert!(engine.park(), "it is not readable any more");
            let (token, result) = engine.ended().unwrap();
            assert_eq!((token, result.is_ok(), buffer), (9, true, [7; 16]));
            assert!(engine.ended().is_none());
        }
    }
}
