//! The vSSDs of a pool, driven without virtqueues.

use std::path::PathBuf;
use std::sync::Arc;

use vm_memory::VolatileSlice;
use vssd::block_set::BlockSet;
use vssd::device::Ownership;
use vssd::encoding::{SetView, encode};
use vssd::units::Geometry;
use vssd::wire::Encoding;

use super::BLOCKS;
use crate::clock::Clock;
use crate::notifier::Notifier;
use crate::pool::allocator::Bounds;
use crate::pool::{Pool, Store};
use crate::request::{Chain, Origin, Pass, RequestQueue};
use crate::transport::Transport;
use crate::vssd::{Context, Place, Vssd};

/// A pool, and each vSSD with its queue.
pub(in crate::pool) struct Host {
    pub(in crate::pool) pool: Arc<Pool>,
    pub(in crate::pool) guests: Vec<(Arc<Vssd>, RequestQueue)>,
    /// Blocks of each.
    blocks: u32,
}

pub(in crate::pool) fn name(vssd: usize) -> String {
    format!("vm{vssd}")
}

impl Host {
    /// A pool, and vSSDs that hold all of their [`BLOCKS`] if they are new.
    pub(in crate::pool) fn new(pool: Arc<Pool>, vssds: usize) -> Self {
        let held = vec![BLOCKS; vssds];
        Self::with(pool, BLOCKS, &held)
    }

    /// A pool, and vSSDs of so many blocks, each of which holds so many if it is new.
    pub(in crate::pool) fn with(pool: Arc<Pool>, blocks: u32, held: &[u32]) -> Self {
        let guests = held.iter().enumerate().map(|(vssd, held)| {
            let found = pool.attach(&name(vssd), blocks, None, None).unwrap();
            let volume = found.unwrap_or_else(|| {
                let bounds = Bounds {
                    quota: blocks,
                    reservation: 0,
                };
                pool.add(&name(vssd), blocks, bounds, *held).unwrap()
            });
            let place = Place {
                name: name(vssd),
                socket: PathBuf::new(),
                transport: Transport::default(),
            };
            let context = Context {
                notifier: Arc::new(Notifier::default()),
                clock: Clock::monotonic(),
            };
            let encoding = Encoding::Compact;
            let vssd = Vssd::new(place, pool.clone(), volume, encoding, 1, context).unwrap();
            let queue = RequestQueue::new(&vssd).unwrap();
            (Arc::new(vssd), queue)
        });
        let guests = guests.collect();
        Self {
            pool,
            guests,
            blocks,
        }
    }

    /// Makes a request; true when it succeeded.
    fn request(&mut self, vssd: usize, kind: u32, sector: u32, out: &mut [u8], fill: bool) -> bool {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..12].copy_from_slice(&sector.to_le_bytes());
        let mut status = [0xff];
        let (vssd, queue) = &mut self.guests[vssd];
        let (header, data) = (header.as_mut_slice().into(), VolatileSlice::from(out));
        let end = VolatileSlice::from(&mut status[..]);
        let chain = if fill {
            Chain::new([header], [data, end])
        } else {
            Chain::new([header, data], [end])
        };
        Pass::begin(vssd, queue).serve(chain);
        status[0] == 0
    }

    pub(in crate::pool) fn read(
        &mut self,
        vssd: usize,
        sector: u32,
        sectors: u32,
    ) -> Option<Vec<u8>> {
        let mut bytes = vec![0xee; sectors as usize * 512];
        let read = self.request(vssd, 0, sector, &mut bytes, true);
        read.then_some(bytes)
    }

    pub(in crate::pool) fn write(&mut self, vssd: usize, sector: u32, bytes: &mut [u8]) -> bool {
        self.request(vssd, 1, sector, bytes, false)
    }

    /// A write whose data have been moved, and which ends only after `meanwhile`: by then
    /// what it changed is not on record. Nothing else serves the pool's commits.
    pub(in crate::pool) fn write_during<R>(
        &mut self,
        vssd: usize,
        sector: u32,
        bytes: &mut [u8],
        meanwhile: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&1u32.to_le_bytes());
        header[8..12].copy_from_slice(&sector.to_le_bytes());
        let mut status = [0xff];
        let chain = Chain::new(
            [header.as_mut_slice().into(), VolatileSlice::from(bytes)],
            [VolatileSlice::from(&mut status[..])],
        );
        let (guest, queue) = &mut self.guests[vssd];
        let mut pass = Pass::begin(guest, queue);
        // SAFETY: header, data and status outlive the loop below, which ends when the
        // request has been popped.
        #[allow(unsafe_code)]
        unsafe {
            pass.push(Origin::default(), chain, None);
        }
        pass.poll();
        drop(pass);
        let result = meanwhile(self);
        self.pool.serve_all();
        loop {
            let (guest, queue) = &mut self.guests[vssd];
            let mut pass = Pass::begin(guest, queue);
            pass.poll();
            let ended = pass.pop().is_some();
            drop(pass);
            if ended {
                assert_eq!(status, [0]);
                return result;
            }
            queue.wait(guest);
        }
    }

    pub(in crate::pool) fn flush(&mut self, vssd: usize) -> bool {
        self.request(vssd, 4, 0, &mut [], false)
    }

    pub(in crate::pool) fn discard(&mut self, vssd: usize, sector: u32, sectors: u32) -> bool {
        let mut range = [0; 16];
        range[..4].copy_from_slice(&sector.to_le_bytes());
        range[8..12].copy_from_slice(&sectors.to_le_bytes());
        self.request(vssd, 11, 0, &mut range, false)
    }

    pub(in crate::pool) fn resize(
        &mut self,
        vssd: usize,
        blocks: &BlockSet,
        release: bool,
    ) -> bool {
        let geometry = Geometry::new(self.pool.block_size(), self.blocks.into()).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let encoding = Encoding::Compact;
        let out = encode(blocks, 0, u32::MAX, encoding, geometry, &mut buffer);
        let view = SetView::parse(&buffer[..out.len], geometry).unwrap();
        let vssd = &self.guests[vssd].0;
        let mut store = Store {
            pool: self.pool.clone(),
            volume: vssd.volume.clone(),
        };
        if release {
            store.release(&view).is_ok()
        } else {
            store.grant(&view).is_ok()
        }
    }
}
