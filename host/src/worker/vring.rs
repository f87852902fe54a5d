//! A queue of vhost-user-backend whose kick is read without blocking.
//!
//! vhost-user-backend 0.24 reads the kick on an event of epoll, with the queue locked. That event
//! may be stale: a guest that is reset has a new kick by then, which is not due. The read then
//! fails, which ends the thread, or it blocks, and every later message of the frontend with it.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use vhost_user_backend::{VringRwLock, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error;

use super::Memory;

/// See the module; all but [`read_kick`](VringT::read_kick) is as the crate has it.
#[derive(Clone)]
pub struct Vring(VringRwLock);

impl<'a> VringStateGuard<'a, Memory> for Vring {
    type G = <VringRwLock as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Vring {
    type G = <VringRwLock as VringStateMutGuard<'a, Memory>>::G;
}

impl VringT<Memory> for Vring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        VringRwLock::new(memory, max_queue_size).map(Self)
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.0.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.0.get_mut()
    }

    fn add_used(&self, head: u16, len: u32) -> Result<(), Error> {
        self.0.add_used(head, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.0.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.0.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.0.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.0.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.0.set_enabled(enabled);
    }

    fn set_queue_info(&self, descriptors: u64, available: u64, used: u64) -> Result<(), Error> {
        self.0.set_queue_info(descriptors, available, used)
    }

    fn queue_next_avail(&self) -> u16 {
        self.0.queue_next_avail()
    }

    fn set_queue_next_avail(&self, index: u16) {
        self.0.set_queue_next_avail(index);
    }

    fn set_queue_next_used(&self, index: u16) {
        self.0.set_queue_next_used(index);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.0.queue_used_idx()
    }

    fn set_queue_size(&self, entries: u16) {
        self.0.set_queue_size(entries);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.0.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.0.set_queue_ready(ready);
    }

    fn set_kick(&self, file: Option<File>) {
        self.0.set_kick(file);
    }

    /// True when the queue is to be served.
    ///
    /// The flag is one of the read, as the descriptor's own belong to the frontend too.
    ///
    /// # Errors
    /// When the kick cannot be read at all.
    #[allow(unsafe_code)]
    fn read_kick(&self) -> io::Result<bool> {
        let state = self.0.get_ref();
        if let Some(kick) = state.get_kick() {
            // SAFETY: the descriptor is the kick's, which `state` keeps open.
            let kick = unsafe { BorrowedFd::borrow_raw(kick.as_raw_fd()) };
            let mut count = [0; 8];
            let mut buffers = [IoSliceMut::new(&mut count)];
            match preadv2(kick, &mut buffers, u64::MAX, ReadWriteFlags::NOWAIT) {
                Err(Errno::AGAIN) => return Ok(false),
                read => read?,
            };
        }
        Ok(state.is_enabled())
    }

    fn set_call(&self, file: Option<File>) {
        self.0.set_call(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.0.set_err(file);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd, IntoRawFd};

    use vm_memory::GuestMemoryMmap;
    use vmm_sys_util::eventfd::EventFd;

    use super::*;

    #[allow(unsafe_code)]
    fn kicked_by(event: &EventFd) -> Vring {
        let vring = Vring::new(Memory::new(GuestMemoryMmap::new()), 8).unwrap();
        let descriptor = event.try_clone().unwrap().into_raw_fd();
        // SAFETY: the descriptor was just made, and given away by its owner.
        vring.set_kick(Some(unsafe { File::from_raw_fd(descriptor) }));
        vring.set_enabled(true);
        vring
    }

    /// A blocking one would hang here.
    #[test]
    fn a_kick_that_is_not_due_is_none() {
        for flags in [0, libc::EFD_NONBLOCK] {
            let event = EventFd::new(flags).unwrap();
            let vring = kicked_by(&event);
            assert!(!vring.read_kick().unwrap());
            event.write(3).unwrap();
            assert!(vring.read_kick().unwrap());
            assert!(!vring.read_kick().unwrap(), "it was not consumed");
            event.write(1).unwrap();
            vring.set_enabled(false);
            assert!(!vring.read_kick().unwrap());
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let vring = Vring::new(Memory::new(GuestMemoryMmap::new()), 8).unwrap();
        vring.set_enabled(true);
        vring.set_kick(Some(File::open("/").unwrap()));
        assert!(vring.read_kick().is_err());
    }
}
