//! The command thread of a worker: commands of the driver, and events for it.

use std::io;

use vhost_user_backend::VringT;
use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemoryMmap};
use vssd::wire::{EVENT_LEN, MAX_MESSAGE, MAX_PAYLOAD, REQUEST_HEADER_LEN};

use super::vring::Vring;
use super::{COMMANDS, EVENTS, QUEUE_SIZE, WAKE, Worker, broken};
use crate::request::{Chain, MemoryGuard};
use crate::scheduling::let_others_first;

impl Worker {
    /// Serves the commands that the guest has made available, at most as many as a queue holds, so
    /// that other events are served too. Commands are few, and so are events: the guest is notified
    /// of each, whatever it asked for.
    fn serve_commands(&self, vring: &Vring, buffer: &mut Vec<u8>) -> io::Result<()> {
        let memory = self.memory.memory();
        for _ in 0..QUEUE_SIZE {
            let Some(chain) = pop(vring, &memory)? else {
                return Ok(());
            };
            let head = chain.head_index();
            let len = self.command(chain, &memory, buffer);
            self.memory_is_intact()?;
            self.give_back(vring, head, len);
            vring.signal_used_queue()?;
        }
        self.vssd.wake().wake();
        Ok(())
    }

    /// Publishes a used entry of a command or event.
    fn give_back(&self, vring: &Vring, head: u16, len: u32) {
        if vring.add_used(head, len).is_err() {
            self.bad_chain();
        }
    }

    fn bad_chain(&self) {
        self.vssd.stats().counters.bad_chains += 1;
    }

    /// Executes the command of a chain: request in the readable part, response in the writable one.
    fn command(
        &self,
        chain: DescriptorChain<MemoryGuard>,
        memory: &GuestMemoryMmap,
        buffer: &mut Vec<u8>,
    ) -> u32 {
        let Chain {
            readable,
            writable,
            broken,
            ..
        } = Chain::collect(chain, memory);
        if broken || readable.len() > REQUEST_HEADER_LEN + MAX_PAYLOAD {
            self.bad_chain();
            return 0;
        }
        buffer.resize(readable.len(), 0);
        readable.copy_to(buffer);
        let mut written = 0;
        let room = writable.len().min(MAX_MESSAGE);
        self.vssd.command(buffer, room, |response| {
            writable.copy_from(response);
            written = response.len() as u32;
        });
        written
    }

    /// Sends the events that are due, as far as the guest left buffers. A
    /// buffer is taken only for an event that there is: one held back would
    /// be lost in a reconnect.
    fn send_events(&self, vring: &Vring) -> io::Result<()> {
        let running = {
            let state = vring.get_ref();
            state.is_enabled() && state.get_queue().ready()
        };
        if !running || !self.vssd.lock().device.has_event() {
            return Ok(());
        }
        let memory = self.memory.memory();
        let mut sent = false;
        while self.vssd.lock().device.has_event() {
            let Some(chain) = pop(vring, &memory)? else {
                break;
            };
            let head = chain.head_index();
            let chain = Chain::collect(chain, &memory);
            let mut len = 0;
            if chain.broken || chain.writable.len() < EVENT_LEN {
                self.bad_chain();
            } else {
                let event = self.vssd.take_event();
                if event.is_some_and(|event| chain.writable.copy_from(&event)) {
                    len = EVENT_LEN as u32;
                }
            }
            self.memory_is_intact()?;
            self.give_back(vring, head, len);
            sent = true;
        }
        if sent {
            vring.signal_used_queue()?;
        }
        Ok(())
    }

    pub(super) fn handle_command_event(&self, event: u16, vrings: &[Vring]) -> io::Result<()> {
        let mut command = self.command.lock();
        let buffer = command.get_or_insert_with(|| {
            let_others_first();
            Vec::new()
        });
        if event == WAKE {
            self.vssd.wake().clear();
        }
        if !self.is_serving(&vrings[usize::from(COMMANDS)]) {
            return Ok(());
        }
        let served = self.serve_commands(&vrings[usize::from(COMMANDS)], buffer);
        self.send_events(&vrings[usize::from(EVENTS)])?;
        served
    }
}

/// The next chain that the guest made available. When there is none, the guest notifies of the
/// next.
///
/// # Errors
/// When it claims to have made more available than its ring holds: the ring is then meaningless,
/// and nothing is served before the next kick.
fn pop(vring: &Vring, memory: &MemoryGuard) -> io::Result<Option<DescriptorChain<MemoryGuard>>> {
    let next = || {
        let mut state = vring.get_mut();
        let mut chains = state.get_queue_mut().iter(memory.clone()).map_err(broken)?;
        Ok(chains.next())
    };
    match next()? {
        None if vring.enable_notification().map_err(broken)? => next(),
        chain => Ok(chain),
    }
}
