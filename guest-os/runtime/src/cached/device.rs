//! The two disks of a cache: futures over request slots.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use guest_cache::device::{BlockDevice, IoError};
use vssd::driver::Doubt;

use crate::disk::BlockRequest;
use crate::hardware::{Hardware, ORIGIN_BLOCK, Shared, Side};
use crate::port::{BlkOp, BlkPort, BlkStatus, Machine};
use crate::slots::Ticket;

/// A disk of a cache.
pub struct CacheDisk<'m, M: Machine> {
    hardware: Shared<'m, M>,
    side: Side,
    blocks: u32,
    max_run: u32,
}

impl<'m, M: Machine> CacheDisk<'m, M> {
    /// The vSSD.
    pub fn vssd(hardware: &Shared<'m, M>) -> Self {
        let hw = &mut *hardware.borrow_mut();
        Self {
            hardware: Rc::clone(hardware),
            side: Side::Vssd,
            blocks: hw.disk.driver().geometry().capacity(),
            max_run: run_of(hw.machine.port()),
        }
    }

    /// The origin disk; `None` where there is none.
    pub fn origin(hardware: &Shared<'m, M>) -> Option<Self> {
        let hw = &mut *hardware.borrow_mut();
        let blocks = hw.origin_blocks()?;
        Some(Self {
            hardware: Rc::clone(hardware),
            side: Side::Origin,
            blocks,
            max_run: run_of(hw.machine.origin()?),
        })
    }

    fn transfer<'a>(&'a self, op: BlkOp, first: u32, data: Data<'a>) -> Transfer<'a, 'm, M> {
        let bytes = match &data {
            Data::In(out) => out.len(),
            Data::Out(data) => data.len(),
            Data::None => 0,
        };
        self.start(Hardware::<M>::request(op, first, bytes), data)
    }

    fn start<'a>(&'a self, request: BlockRequest, data: Data<'a>) -> Transfer<'a, 'm, M> {
        Transfer {
            hardware: &self.hardware,
            side: self.side,
            request,
            data,
            state: State::Waiting(None),
        }
    }
}

/// Blocks that fit into a slot's buffer.
fn run_of(port: &impl BlkPort) -> u32 {
    (port.slot_len() / ORIGIN_BLOCK) as u32
}

impl<M: Machine> BlockDevice for CacheDisk<'_, M> {
    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn max_run(&self) -> u32 {
        self.max_run
    }

    async fn read(&self, first: u32, out: &mut [u8]) -> Result<(), IoError> {
        self.transfer(BlkOp::Read, first, Data::In(out)).await
    }

    async fn write(&self, first: u32, data: &[u8]) -> Result<(), IoError> {
        self.transfer(BlkOp::Write, first, Data::Out(data)).await
    }

    async fn flush(&self) -> Result<(), IoError> {
        self.transfer(BlkOp::Flush, 0, Data::None).await
    }

    async fn discard(&self, block: u32) -> Result<(), IoError> {
        let request = BlockRequest {
            op: BlkOp::Discard,
            first: block,
            count: 1,
        };
        self.start(request, Data::None).await
    }
}

enum Data<'a> {
    In(&'a mut [u8]),
    Out(&'a [u8]),
    None,
}

enum State {
    /// No slot yet.
    Waiting(Option<Ticket>),
    InFlight(usize),
    /// It failed, and may have been to a block that was revoked.
    Doubtful(Doubt),
    Over,
}

/// One request. It is on its way from the first poll that finds a slot.
struct Transfer<'a, 'm, M: Machine> {
    hardware: &'a RefCell<Hardware<'m, M>>,
    side: Side,
    request: BlockRequest,
    data: Data<'a>,
    state: State,
}

impl<M: Machine> Transfer<'_, '_, M> {
    fn step(&mut self) -> Poll<Result<(), IoError>> {
        let hw = &mut *self.hardware.borrow_mut();
        let BlockRequest { first, count, .. } = self.request;
        match &mut self.state {
            State::Waiting(ticket) => {
                if !hw.has(self.side, first, count) {
                    if let Some(ticket) = ticket.take() {
                        hw.leave(self.side, ticket);
                    }
                    return Poll::Ready(Err(IoError::Gone));
                }
                if hw.admits(self.side, ticket) {
                    let data: &[u8] = match &self.data {
                        Data::Out(data) => data,
                        Data::In(_) | Data::None => &[],
                    };
                    let slot = hw.submit(self.side, self.request, data);
                    self.state = State::InFlight(slot);
                }
                Poll::Pending
            }
            State::InFlight(slot) => {
                let slot = *slot;
                let Some((status, revoked)) = hw.collect(self.side, slot) else {
                    return Poll::Pending;
                };
                self.state = State::Over;
                match status {
                    _ if revoked => Poll::Ready(Err(IoError::Gone)),
                    BlkStatus::Ok => {
                        if let Data::In(out) = &mut self.data {
                            out.copy_from_slice(&hw.buffer(self.side, slot)[..out.len()]);
                        }
                        Poll::Ready(Ok(()))
                    }
                    _ => match hw.doubt(self.side) {
                        Some(doubt) => {
                            self.state = State::Doubtful(doubt);
                            Poll::Pending
                        }
                        None => Poll::Ready(Err(IoError::Failed)),
                    },
                }
            }
            State::Doubtful(doubt) => {
                if !hw.has(self.side, first, count) {
                    return Poll::Ready(Err(IoError::Gone));
                }
                if hw.disk.driver().is_resolved(*doubt) {
                    Poll::Ready(Err(IoError::Failed))
                } else {
                    Poll::Pending
                }
            }
            State::Over => panic!("a transfer was polled after its end"),
        }
    }
}

impl<M: Machine> Future for Transfer<'_, '_, M> {
    type Output = Result<(), IoError>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.step();
        if result.is_ready() {
            self.state = State::Over;
        }
        result
    }
}

impl<M: Machine> Drop for Transfer<'_, '_, M> {
    fn drop(&mut self) {
        match self.state {
            State::Waiting(Some(ticket)) => self.hardware.borrow_mut().leave(self.side, ticket),
            State::InFlight(slot) => self.hardware.borrow_mut().abandon(self.side, slot),
            _ => {}
        }
    }
}
