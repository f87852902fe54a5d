//! Which write each block of the origin disk is from, read through the cache.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use guest_cache::CacheError;
use workloads::{Report, report};

use super::replay::GuestCache;
use super::writes::Writes;
use crate::guest::send_report;
use crate::hardware::{Hardware, ORIGIN_BLOCK};
use crate::port::Machine;
use crate::tasks::Tasks;

/// Blocks in one [`Report::Stamps`]: a line of at most 80 KiB.
const NUMBERS_PER_LINE: usize = 4096;

/// Reads under way at a time.
const DEPTH: usize = 32;

/// Stands for a block without a stamp of its place.
const BAD: u64 = u64::MAX;

/// Stands for a block whose last write is lost.
const LOST: u64 = u64::MAX - 1;

/// Reads the first `span` blocks and reports what they are from, line by line.
pub async fn read_stamps<M: Machine>(
    hardware: &RefCell<Hardware<'_, M>>,
    cache: &GuestCache<'_, M>,
    writes: &RefCell<Writes>,
    span: u32,
) {
    let (mut bad, mut lost) = (0, 0);
    for first in (0..span).step_by(NUMBERS_PER_LINE) {
        let count = NUMBERS_PER_LINE.min((span - first) as usize);
        let numbers = read_line(hardware, cache, writes, first, count).await;
        let of = |mark| numbers.iter().filter(|number| **number == mark).count() as u32;
        bad += of(BAD);
        lost += of(LOST);
        let line = Report::Stamps(report::Stamps { first, numbers });
        send_report(hardware.borrow_mut().machine, &line);
    }
    let end = Report::StampsRead(report::StampsRead {
        blocks: span,
        bad,
        lost,
    });
    send_report(hardware.borrow_mut().machine, &end);
}

/// The numbers of some blocks in a row.
async fn read_line<M: Machine>(
    hardware: &RefCell<Hardware<'_, M>>,
    cache: &GuestCache<'_, M>,
    writes: &RefCell<Writes>,
    first: u32,
    count: usize,
) -> Vec<u64> {
    let numbers = RefCell::new(vec![BAD; count]);
    let next = Cell::new(0);
    let mut tasks = Tasks::default();
    for _ in 0..DEPTH.min(count) {
        tasks.push(async {
            let mut buffer = vec![0; ORIGIN_BLOCK];
            while next.get() < count {
                let place = next.replace(next.get() + 1);
                let block = first + place as u32;
                let done = cache.read(block, &mut buffer).await;
                numbers.borrow_mut()[place] = match done {
                    Ok(_) => writes.borrow().number(block, &buffer).unwrap_or(BAD),
                    Err(CacheError::Lost) => LOST,
                    Err(CacheError::Failed | CacheError::Beyond) => BAD,
                };
                hardware.borrow_mut().stepped();
            }
        });
    }
    tasks.await;
    numbers.into_inner()
}
