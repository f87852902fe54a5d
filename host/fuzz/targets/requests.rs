//! Descriptor chains and requests of any guest: each ends, and nothing of another vSSD changes.
#![no_main]

use std::path::PathBuf;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, VolatileSlice};
use vssd::wire::Encoding;
use vssd_host::backing::MemoryBacking;
use vssd_host::clock::Clock;
use vssd_host::notifier::Notifier;
use vssd_host::pool::Pool;
use vssd_host::pool::allocator::Bounds;
use vssd_host::request::{Chain, Origin, Pass, RequestQueue};
use vssd_host::transport::Transport;
use vssd_host::vssd::{Context, Place, Vssd};

#[derive(Arbitrary, Debug)]
struct Descriptor {
    addr: Address,
    len: u32,
    flags: u16,
    next: u16,
}

#[derive(Arbitrary, Debug)]
enum Address {
    Data(u16),
    Table(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
struct Header {
    kind: u8,
    sector: u8,
    range: (u8, u8, u8),
}

const MEMORY: usize = 256 << 10;
const SIZE: u16 = 16;
const TABLE: u64 = 0;
const AVAIL: u64 = 0x1000;
const USED: u64 = 0x2000;
const DATA: u64 = 0x4000;
const BLOCKS: u32 = 8;

/// A vSSD of the pool.
fn vssd(pool: &Arc<Pool>, name: &str) -> Vssd {
    let bounds = Bounds {
        quota: BLOCKS,
        reservation: 0,
    };
    let volume = pool.add(name, BLOCKS, bounds, BLOCKS / 2).expect("room");
    let place = Place {
        name: name.to_owned(),
        socket: PathBuf::new(),
        transport: Transport::default(),
    };
    let context = Context {
        notifier: Arc::new(Notifier::default()),
        clock: Clock::monotonic(),
    };
    Vssd::new(place, pool.clone(), volume, Encoding::Compact, 1, context).expect("a vSSD")
}

/// Serves a request made of these buffers.
fn exchange(vssd: &Vssd, queue: &mut RequestQueue, out: &mut [&mut [u8]], into: &mut [&mut [u8]]) {
    let chain = Chain::new(
        out.iter_mut()
            .map(|bytes| VolatileSlice::from(&mut **bytes)),
        into.iter_mut()
            .map(|bytes| VolatileSlice::from(&mut **bytes)),
    );
    Pass::begin(vssd, queue).serve(chain);
}

fuzz_target!(|input: (Vec<Descriptor>, Vec<u16>, Vec<Header>)| {
    let (descriptors, heads, headers) = input;
    let backing = Arc::new(MemoryBacking::new(1 << 20).expect("memory"));
    let pool = Arc::new(Pool::volatile(backing, 4096, 1000));
    let neighbour = vssd(&pool, "quiet");
    let mut quiet = RequestQueue::new(&neighbour).expect("a queue");
    let mut status = [0xff];
    let mut write = [0; 16];
    write[0] = 1;
    exchange(
        &neighbour,
        &mut quiet,
        &mut [&mut write, &mut [0x51; 8192]],
        &mut [&mut status],
    );
    assert_eq!(status, [0]);

    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), MEMORY)]).expect("memory");
    let put = |bytes: &[u8], at: u64| drop(memory.write_slice(bytes, GuestAddress(at)));
    for (number, header) in headers.iter().take(32).enumerate() {
        let mut bytes = [0; 32];
        let (sector, count, flags) = header.range;
        bytes[0] = header.kind % 16;
        bytes[8] = header.sector;
        (bytes[16], bytes[24], bytes[28]) = (sector, count, flags);
        put(&bytes, DATA + 0x100 * number as u64);
    }
    for (number, descriptor) in descriptors.iter().take(64).enumerate() {
        let addr = match descriptor.addr {
            Address::Data(at) => DATA + u64::from(at),
            Address::Table(at) => TABLE + 16 * u64::from(at % 64),
            Address::Any(at) => at,
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&descriptor.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&descriptor.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&descriptor.next.to_le_bytes());
        put(&bytes, TABLE + 16 * number as u64);
    }
    let count = heads.len().min(SIZE.into()) as u16;
    put(&count.to_le_bytes(), AVAIL + 2);
    for (number, head) in (0..).zip(heads.iter().take(SIZE.into())) {
        put(&(head % SIZE).to_le_bytes(), AVAIL + 4 + 2 * number);
    }
    let mut vring = Queue::new(SIZE).expect("a queue");
    vring.set_size(SIZE);
    vring.set_desc_table_address(Some(TABLE as u32), None);
    vring.set_avail_ring_address(Some(AVAIL as u32), None);
    vring.set_used_ring_address(Some(USED as u32), None);
    vring.set_ready(true);

    let guest = vssd(&pool, "hostile");
    let mut queue = RequestQueue::new(&guest).expect("a queue");
    let Ok(chains) = vring.iter(&memory) else {
        return;
    };
    let mut pushed = 0;
    let mut pass = Pass::begin(&guest, &mut queue);
    for chain in chains {
        let chain = Chain::collect(chain, &memory);
        // SAFETY: the memory outlives the queue, which is emptied below.
        unsafe { pass.push(Origin::default(), chain, None) };
        pushed += 1;
    }
    while pushed > 0 {
        pass.poll();
        while pass.pop().is_some() {
            pushed -= 1;
        }
    }
    drop(pass);
    assert!(queue.is_empty());

    let (mut read, mut data) = ([0; 16], [0; 8192]);
    exchange(
        &neighbour,
        &mut quiet,
        &mut [&mut read],
        &mut [&mut data, &mut status],
    );
    assert_eq!(
        (status, data),
        ([0], [0x51; 8192]),
        "a neighbour's blocks changed"
    );
});
