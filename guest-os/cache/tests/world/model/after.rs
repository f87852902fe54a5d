//! What may be found after a crash: block by block, and on the origin disk as a whole.

use guest_cache::device::BLOCK_LEN;
use guest_cache::{CacheError, Served};

use super::super::disk::Disk;
use super::{Block, Crash, Found, Model, Outcome, PerCrash, Sectors, Version, describe};

impl Model {
    /// What was read after a crash, or why not.
    pub fn found(&self, block: u32, result: Result<Served, CacheError>, bytes: &[u8]) -> Found {
        result.map(|_| self.decode(block, bytes))
    }

    /// Checks what was found in a block after a crash, with both disks or with the origin
    /// disk alone.
    pub fn check(&self, number: u32, found: Found, crash: Crash, origin_alone: bool) {
        let block = &self.blocks[number as usize];
        let forgotten = origin_alone || self.unmended.is_some();
        let floor = if forgotten {
            block.origin_floor.of(crash)
        } else {
            block.floor.of(crash)
        };
        let first = match block.lost {
            Some(lost) if block.lost_for_good && !forgotten => floor.max(lost + 1),
            _ => floor,
        };
        let allowed = &block.versions[first.min(block.versions.len())..];
        match found {
            Ok(sectors) => {
                let is_whole = crash == Crash::Kill && first >= block.torn;
                let sound = if is_whole {
                    allowed.iter().any(|version| version.sectors == sectors)
                } else {
                    // A disk is no better than this without a cache.
                    sectors.iter().enumerate().all(|(at, number)| {
                        let mut allowed = allowed.iter();
                        allowed.any(|version| version.sectors[at] == *number)
                    })
                };
                assert!(
                    sound,
                    "block {number} is {sectors:?} after a {crash:?}, which is not {}",
                    describe(block, first..=block.newest(), None)
                );
            }
            Err(CacheError::Lost) => {
                let risk = block.risk.crash.max(block.risk.now);
                assert!(
                    !origin_alone && risk >= Some(floor),
                    "block {number} is lost after a {crash:?}, but at risk was only {risk:?} of {}",
                    describe(block, floor..=block.newest(), None)
                );
            }
            Err(error) => panic!("block {number} after a {crash:?}: {error}"),
        }
    }

    /// Goes on after a crash with what was found.
    pub fn restart(&mut self, found: &[Found], crash: Crash) {
        let now = self.tick();
        let number = self.next_number;
        self.next_number += 1;
        for (block, found) in self.blocks.iter_mut().zip(found) {
            match crash {
                Crash::Kill if block.is_one_write(*found) => {
                    block.go_on_after_kill(*found, self.unmended.is_none())
                }
                _ => block.go_on_after_cut(*found, now, number),
            }
            let newest = block.newest();
            let version = &mut block.versions[newest];
            version.outcome = Outcome::Done;
            version.ended = version.ended.min(now);
            block.lost = found.is_err().then_some(newest);
            block.risk.now = block.lost;
            block.risk.crash = block.lost.max(block.risk.crash.min(Some(newest)));
            block.risk.since = self.revocations;
            block.discarded = None;
        }
        // What was acknowledged and not flushed can be lost in any order.
        self.in_order = false;
        self.unmended = None;
        self.told = self.revocations;
        self.faulty = false;
        self.cut_short = false;
    }

    /// Checks that the origin disk alone has the writes up to some moment: none that arrived
    /// after one had been acknowledged that is not there. With `whole`, none that arrived
    /// after one that is not there at all.
    pub fn check_order(&self, blocks: &[Sectors], whole: bool) {
        if !self.in_order {
            return;
        }
        let mut latest = (0, None);
        let mut earliest = (u64::MAX, None);
        // Ends of missing writes, and when their blocks were discarded.
        let mut dropped = Vec::new();
        for (number, (block, sectors)) in self.blocks.iter().zip(blocks).enumerate() {
            for (at, sector) in sectors.iter().enumerate() {
                let Some(version) = block.version_of(at, *sector) else {
                    continue;
                };
                let there = block.versions[version];
                let there = if whole { there.number } else { there.arrived };
                latest = latest.max((there, Some((number, *sector))));
                // What may be lost never comes.
                let skipped = version.max(block.risk.crash.max(block.risk.now).unwrap_or(0));
                let missing = block.versions.iter().skip(skipped + 1);
                let missing = missing.filter(|version| version.outcome != Outcome::Failed);
                let (discarded, missing): (Vec<&Version>, Vec<_>) =
                    missing.partition(|version| version.discarded.is_some());
                dropped.extend(discarded.into_iter().map(|version| (number, *version)));
                if let Some(missing) = missing.first() {
                    let until = if whole { missing.number } else { missing.ended };
                    earliest = earliest.min((until, Some((number, missing.number))));
                }
            }
        }
        assert!(
            latest.0 < earliest.0,
            "out of order: (block, write) {:?} is on the origin disk, {:?} before it is not",
            latest.1,
            earliest.1
        );
        // The end of a group may be after a discard. Else a write is not dropped that another
        // is ordered after.
        for (block, version) in dropped.iter().filter(|_| !whole) {
            let is_ordered = version.ended <= latest.0 && Some(latest.0) < version.discarded;
            assert!(
                !is_ordered,
                "out of order: {:?} is on the origin disk, {:?} before it was dropped",
                latest.1,
                (block, version.number)
            );
        }
    }

    /// What the origin disk has of each block.
    pub fn peek(&self, origin: &Disk) -> Vec<Sectors> {
        let mut bytes = [0; BLOCK_LEN];
        let read = |number| {
            origin.peek(number, &mut bytes);
            self.decode(number, &bytes)
        };
        (0..self.blocks()).map(read).collect()
    }
}

impl Block {
    /// Whether what was found is what one write left, or nothing: not what a loss of power
    /// before made of several.
    fn is_one_write(&self, found: Found) -> bool {
        let Ok(sectors) = found else {
            return true;
        };
        self.versions
            .iter()
            .any(|version| version.sectors == sectors)
    }

    /// What was under way and is not found is nowhere.
    fn go_on_after_kill(&mut self, found: Found, has_metadata: bool) {
        if let Ok(sectors) = found {
            let same = |version: &Version| version.sectors == sectors;
            let newest = self.versions.iter().rposition(same);
            self.versions.truncate(1 + newest.expect("it was checked"));
        }
        if !has_metadata {
            self.floor = self.origin_floor;
        }
        self.lost_for_good &= has_metadata && found.is_err();
    }

    /// What is found is durable; it can be made of parts of several writes. The origin disk
    /// alone may have any that it had before.
    fn go_on_after_cut(&mut self, found: Found, now: u64, number: u64) {
        if let Ok(sectors) = found {
            self.versions.push(Version {
                sectors,
                number,
                outcome: Outcome::Done,
                arrived: now,
                ended: now,
                discarded: None,
            });
        }
        self.torn = self.newest();
        self.floor = PerCrash::default();
        self.floor.raise(self.newest());
        self.origin_floor.kill = self.origin_floor.cut;
        self.risk.crash = None;
        self.lost_for_good = found.is_err();
    }
}
