//! The commands on a range of blocks of the origin disk.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::{Cell, RefCell};
use core::ops::Range;

use guest_cache::{Advice, PageCache};
use vssd::driver::Fault;
use workloads::{Report, command, report};

use super::replay::{GuestCache, discard};
use super::writes::Writes;
use crate::guest::Guest;
use crate::hardware::Hardware;
use crate::port::Machine;
use crate::tasks::{Tasks, give_way};

/// Discards under way at a time.
const DEPTH: usize = 32;

/// Discards that a task makes before it yields, even if none of them had to wait.
const IN_ONE_GO: u32 = 64;

/// The blocks of a command: `count` from `first` on, all from there on if 0.
fn blocks(first: u32, count: u32, origin_blocks: u32) -> Result<Range<u32>, String> {
    let last = u64::from(first) + u64::from(count.max(1)) - 1;
    if last >= u64::from(origin_blocks) {
        return Err(format!(
            "blocks {first} to {last} are not all on the origin disk, which has {origin_blocks} \
             blocks"
        ));
    }
    Ok(match count {
        0 => first..origin_blocks,
        count => first..first + count,
    })
}

impl<'m, M: Machine> Guest<'m, M> {
    pub(super) fn advise(
        &mut self,
        cache: &GuestCache<'m, M>,
        origin_blocks: u32,
        command: command::Advise,
    ) -> Result<(), String> {
        let command::Advise {
            advice,
            first,
            count,
        } = command;
        let advice = match advice {
            command::Advice::Normal => Advice::Normal,
            command::Advice::Needed => Advice::Needed,
            command::Advice::Done => Advice::Done,
        };
        let range = blocks(first, count, origin_blocks)?;
        let cached = cache.advise(range.clone(), advice);
        let cached = cached.map_err(|error| error.to_string())?;
        self.report(&Report::Advised(report::Advised {
            blocks: range.end - range.start,
            cached,
        }));
        Ok(())
    }

    pub(super) fn discard(
        &mut self,
        pages: Option<&PageCache>,
        cache: &GuestCache<'m, M>,
        origin_blocks: u32,
        command: command::DiscardBlocks,
    ) -> Result<Result<(), String>, Fault> {
        let command::DiscardBlocks {
            first,
            count,
            device,
        } = command;
        if device && !self.takes_discards() {
            return Ok(Err(
                "the vSSD takes no discards: discard with device=false".to_string()
            ));
        }
        let range = match blocks(first, count, origin_blocks) {
            Ok(range) => range,
            Err(reason) => return Ok(Err(reason)),
        };
        let hardware = Rc::clone(&self.hardware);
        let writes = Rc::clone(&self.writes);
        self.block_on(discard_all(
            &hardware,
            (pages, cache),
            &writes,
            range,
            device,
        ))?;
        Ok(Ok(()))
    }
}

/// Discards the blocks of a range of the origin disk.
async fn discard_all<M: Machine>(
    hardware: &RefCell<Hardware<'_, M>>,
    tiers: (Option<&PageCache>, &GuestCache<'_, M>),
    writes: &RefCell<Writes>,
    range: Range<u32>,
    is_announced: bool,
) {
    let next = Cell::new(range.start);
    let mut tasks = Tasks::default();
    for _ in 0..DEPTH.min(range.len()) {
        tasks.push(async {
            let mut made = 0;
            while next.get() < range.end {
                let block = next.replace(next.get() + 1);
                let done = discard(tiers, writes, block, is_announced).await;
                debug_assert!(done.is_ok(), "block {block} is on the disk");
                hardware.borrow_mut().stepped();
                made += 1;
                if made % IN_ONE_GO == 0 {
                    give_way().await;
                }
            }
        });
    }
    tasks.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_on_the_disk_or_refused() {
        assert_eq!(blocks(0, 0, 10), Ok(0..10));
        assert_eq!(blocks(9, 0, 10), Ok(9..10));
        assert_eq!(blocks(3, 7, 10), Ok(3..10));
        let refused = |first, count| blocks(first, count, 10).unwrap_err();
        let sentence = refused(3, 8);
        assert!(sentence.contains("3 to 10"), "{sentence}");
        assert!(sentence.contains("which has 10 blocks"), "{sentence}");
        for (first, count) in [(10, 0), (10, 1), (0, 11), (u32::MAX, 0), (5, u32::MAX)] {
            refused(first, count);
        }
    }
}
