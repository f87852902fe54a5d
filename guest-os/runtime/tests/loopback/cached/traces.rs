//! Replays of a trace from a disk.

use std::cell::RefCell;
use std::rc::Rc;

use workloads::trace_disk::{AccessRecord, Header};

use super::{ORIGIN_BLOCKS, bytes, cached, failures, replay, run};
use crate::world::{Bytes, MemoryDisk, Twin};

/// A trace of these accesses, as long as its header says or shorter.
fn trace(accesses: &[(u32, bool)], count: u64) -> Bytes {
    let mut bytes = Header { accesses: count }.encode().to_vec();
    for (&(block, is_write), request) in accesses.iter().zip(0..) {
        bytes.extend(AccessRecord::new(block, is_write, request).encode());
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    Rc::new(RefCell::new(bytes))
}

fn with_trace(trace: Bytes, then: &'static str) -> Twin {
    let mut twin = cached(&bytes(ORIGIN_BLOCKS), vec![], then);
    twin.trace = Some(MemoryDisk::new(trace));
    twin
}

#[test]
fn a_trace_is_read_to_its_end_whatever_its_length() {
    // Around sectors, and around all buffers together.
    for len in [0_u32, 1, 63, 64, 65, 40_000] {
        let accesses: Vec<(u32, bool)> = (0..len)
            .map(|i| (i * 7 % (ORIGIN_BLOCKS + 10), i % 3 == 0))
            .collect();
        // By sectors, and by pages where these are the disk's logical blocks.
        for (start, count, logical) in [
            (0, 0, 512),
            (3, 0, 512),
            (64, 0, 4096),
            (1, 60, 512),
            (3, 200, 4096),
        ] {
            let bytes = trace(&accesses, len.into());
            let padded = bytes.borrow().len().next_multiple_of(logical);
            bytes.borrow_mut().resize(padded, 0);
            let mut twin = with_trace(bytes, "exit\n");
            twin.trace.as_mut().unwrap().logical = logical as u32;
            let script = format!("cache; replay trace=true start={start} count={count} depth=9");
            run(&mut twin, &script);
            let mut made = &accesses[(start as usize).min(accesses.len())..];
            if count > 0 {
                made = &made[..count.min(made.len())];
            }
            let found = replay(&twin);
            let writes = |access: &&(u32, bool)| access.1 && access.0 < ORIGIN_BLOCKS;
            let is_beyond = |access: &&(u32, bool)| access.0 >= ORIGIN_BLOCKS;
            let beyond = made.iter().filter(is_beyond).count() as u64;
            assert_eq!(found.beyond, beyond, "{len} {start}");
            assert_eq!(found.measured + beyond, made.len() as u64, "{len} {start}");
            let written = made.iter().filter(writes).count() as u64;
            assert_eq!(found.acknowledged, written, "{len} {start}");
            assert_eq!(found.errors + found.corrupt, 0);
        }
    }
}

#[test]
fn a_trace_that_is_none_is_refused() {
    let refused = |bytes: Bytes, bad: std::ops::Range<u64>, word: &str| {
        let mut twin = with_trace(bytes, "exit\n");
        twin.trace.as_mut().unwrap().bad = bad;
        run(&mut twin, "cache; replay trace=true");
        let failures = failures(&twin.reports);
        assert!(
            failures.len() == 1 && failures[0].contains(word),
            "{failures:?}"
        );
    };
    let whole = || trace(&[(1, false); 100], 100);
    refused(Rc::new(RefCell::new(vec![0; 1024])), 0..0, "too short");
    refused(Rc::new(RefCell::new(vec![0; 8192])), 0..0, "does not start");
    refused(trace(&[(1, false); 100], 200), 0..0, "200 accesses");
    refused(trace(&[(1, false); 100], u64::MAX), 0..0, "room for");
    refused(whole(), 0..1, "cannot be read");
    refused(whole(), 8..9, "from sector 8 on");
    let other = whole();
    other.borrow_mut()[16] = 1;
    refused(other, 0..0, "4097 bytes");
    let mut twin = with_trace(whole(), "exit\n");
    twin.trace.as_mut().unwrap().logical = 8192;
    run(&mut twin, "cache; replay trace=true");
    let failures = failures(&twin.reports);
    assert!(
        failures[0].contains("logical blocks of 8192"),
        "{failures:?}"
    );
}
