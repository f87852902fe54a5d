//! A pool file with bytes that another program wrote: it is refused, or opens in a sound state.
//! Checksums count as right here.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vm_memory::VolatileSlice;
use vssd_host::backing::{Backing, MemoryBacking};
use vssd_host::io::EngineName;
use vssd_host::pool::allocator::Bounds;
use vssd_host::pool::journal::BootId;
use vssd_host::pool::{Pool, Shape};

const SHAPE: Shape = Shape {
    block_size: 4096,
    physical_blocks: 16,
    overcommit_permille: 1500,
};

fuzz_target!(|changes: Vec<(u32, [u8; 8])>| {
    let len = SHAPE.backing_len();
    let backing = Arc::new(MemoryBacking::new(len).expect("memory"));
    let boot = BootId([1; 16]);
    let pool = Pool::create(backing.clone(), SHAPE, EngineName::Sync, boot).expect("a pool");
    let bounds = Bounds {
        quota: 12,
        reservation: 2,
    };
    drop(pool.add("vm1", 12, bounds, 8).expect("a vSSD"));
    drop(pool);
    for (at, mut word) in changes {
        let at = u64::from(at) * 8 % (len - 8);
        let word = VolatileSlice::from(&mut word[..]);
        backing.write(at, &[word]).expect("memory");
    }
    if let Ok(pool) = Pool::open(backing, EngineName::Sync, BootId([2; 16])) {
        let usage = pool.usage();
        assert!(usage.free <= SHAPE.physical_blocks);
        for member in pool.members() {
            let found = pool.attach(&member.name, member.capacity, None, None);
            assert!(found.is_ok_and(|volume| volume.is_some()));
        }
    }
});
