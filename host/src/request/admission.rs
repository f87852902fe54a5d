//! The admission of a request: it is parsed, and checked against what the guest may use.

use smallvec::SmallVec;
use virtio_bindings::virtio_blk::{VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_UNSUPP};
use vssd::error::Reject;

use super::chain::{Chain, MemoryGuard, Origin};
use super::parse::{Op, Request, parse};
use super::pass::Pass;
use super::slot::{Slot, Step};
use super::zeros::zeros;

/// A request that may start, and its blocks.
#[derive(Default)]
struct Admitted {
    request: Request,
    first: u32,
    count: u32,
}

impl Pass<'_> {
    /// Admits a request.
    ///
    /// # Safety
    /// The buffers stay valid until the request has been popped; `memory`, if
    /// given, is what keeps them so.
    #[allow(unsafe_code)]
    pub unsafe fn push(&mut self, origin: Origin, chain: Chain<'_>, memory: Option<MemoryGuard>) {
        self.begun += 1;
        // SAFETY: only the lifetime changes, and the caller promises that the
        // buffers live as long as the slot does.
        let mut chain = unsafe { std::mem::transmute::<Chain<'_>, Chain<'static>>(chain) };
        // The last writable byte is the status; without one there is no answer.
        let status = chain.writable.split_last().filter(|_| chain.answerable);
        let admitted = match status {
            Some(_) => self.admit(&mut chain),
            None => {
                self.stats.counters.bad_chains += 1;
                Err(Step::Ended { status: 0, len: 0 })
            }
        };
        let (admitted, step) = match admitted {
            Ok(admitted) => (admitted, Step::Parked),
            Err(ended) => (Admitted::default(), ended),
        };
        let Admitted {
            request,
            first,
            count,
        } = admitted;
        // A slot is large, so it is made where it stays.
        self.queue.slots.push_back(Slot {
            origin,
            request,
            first,
            count,
            data: match request.op {
                Op::Write if request.zeros => zeros(request.bytes as usize),
                Op::Write => chain.readable,
                _ => chain.writable,
            },
            status,
            _memory: memory,
            step,
            transfers: 0,
            failure: None,
            exclusive: false,
            fresh: SmallVec::new(),
            changed: false,
            began_ns: self.now_ns,
        });
        if step == Step::Parked {
            self.queue.parked += 1;
            self.start(self.queue.slots.len() - 1);
        }
    }

    /// Parses and checks a chain, whose status byte was split off; an error is the state of a
    /// request that ends here.
    fn admit(&mut self, chain: &mut Chain<'static>) -> Result<Admitted, Step> {
        let parsed = if chain.broken {
            Err(Reject::Malformed)
        } else {
            parse(&mut chain.readable, &chain.writable)
        };
        let checked = parsed.and_then(|request| {
            let mut admitted = Admitted {
                request,
                ..Admitted::default()
            };
            if matches!(request.op, Op::Read | Op::Write | Op::Zero) {
                let blocks = self.vssd.geometry.blocks_of(request.sector, request.bytes);
                (admitted.first, admitted.count) = blocks.ok_or(Reject::OutOfRange)?;
                if !self.vssd.volume.holds(admitted.first, admitted.count) {
                    return Err(Reject::NotHeld);
                }
            }
            Ok(admitted)
        });
        match checked {
            Ok(admitted) => {
                self.track(&admitted);
                Ok(admitted)
            }
            Err(reject) => {
                self.stats
                    .refused(&self.vssd.name, self.vssd.notifier(), reject);
                let status = match reject {
                    Reject::Unsupported => VIRTIO_BLK_S_UNSUPP,
                    _ => VIRTIO_BLK_S_IOERR,
                };
                Err(Step::Ended { status, len: 1 })
            }
        }
    }

    /// Shows the tracker a request, in the order of admission, which is that of requests to the
    /// same blocks.
    fn track(&mut self, admitted: &Admitted) {
        let Some(tracker) = &mut self.stats.tracker else {
            return;
        };
        let Admitted {
            request,
            first,
            count,
        } = *admitted;
        match request.op {
            Op::Read | Op::Write if !request.zeros => tracker.accessed(first, count),
            Op::Zero => {
                let whole = request.whole_blocks(self.vssd.geometry.block_size());
                tracker.discarded(whole.start, whole.len() as u32);
            }
            _ => {}
        }
    }
}
