//! The owner of each physical block of the pool: bookkeeping without I/O.
//!
//! A *physical block* holds the contents of a block; there are as many as fit the
//! data area. A physical block is free or owned by one volume, or its free is *deferred*: its
//! owner gave it up, but no durable record says so yet. If it were reused before that, a crash
//! would return it to its old owner with the new owner's bytes in it.
//!
//! Physical blocks are grouped in regions of [`REGION`]. A region of which every physical block
//! is free can become the home of a window of a volume
//! ([`Volume`](super::volume::Volume)), which keeps neighbours together.
//!
//! ```text
//!            take                    give(Fate::Deferred)          settle
//!   free ──────────▶ owned ──────────────────────────▶ deferred ──────────▶ free
//!     ▲                │ give(Fate::Free)
//!     └────────────────┘
//!            begin_punch             end_punch
//!   free ──────────▶ being punched ──────────▶ free
//! ```
//!
//! What a volume may hold is bounded three ways. Its *quota* bounds it alone.
//! The *commitment*, the sum over all volumes of what is held or reserved,
//! whichever is more, is bounded by the physical blocks there are times the pool's
//! *overcommit* factor. With a factor above one, physical blocks can run out although
//! every volume is within its bounds; a *reservation* is the number of physical blocks
//! that other volumes cannot use up then.

mod refusal;
mod stale;

use std::collections::BTreeMap;

use vssd::block_set::{BlockSet, spans};

pub use self::refusal::{Denied, Refusal};
use self::stale::Stale;

/// Physical blocks in a region, and blocks in a window: 2 MiB of 4 KiB blocks. Small
/// enough that a sparse volume does not use up the regions, and larger than most
/// requests.
pub const REGION: u32 = 512;

/// Words of a bitmap in a region.
pub const REGION_WORDS: u32 = REGION / 64;

/// Number of a volume, never used again in the life of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId(pub u32);

/// What a volume may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Blocks that it may hold at most.
    pub quota: u32,
    /// Physical blocks that are kept for it.
    pub reservation: u32,
}

/// What a volume may use and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What it may use.
    pub bounds: Bounds,
    /// Blocks that its guest holds.
    pub held: u32,
    /// Physical blocks that it owns.
    pub owned: u32,
}

impl Account {
    fn committed(&self) -> u64 {
        u64::from(self.held.max(self.bounds.reservation))
    }

    /// Physical blocks that are reserved for it and not yet owned by it.
    fn owed(&self) -> u64 {
        u64::from(self.bounds.reservation.saturating_sub(self.owned))
    }
}

/// What happens to a physical block that its owner gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is free at once: a durable record says so already, or no record ever said that it was
    /// owned.
    Free,
    /// It is free once a durable record says so.
    Deferred,
}

/// Physical blocks of a word of the bitmap: index and bits.
type Word = (usize, u64);

/// See the module.
#[derive(Debug)]
pub struct Allocator {
    free: BlockSet,
    /// Regions all physical blocks of which are free.
    whole: BlockSet,
    /// Free physical blocks of each region.
    region_free: Vec<u16>,
    /// Where the search for a single physical block goes on.
    cursor: u32,
    /// Given up since the last cut of a commit.
    deferred: Vec<Word>,
    /// Given up before that.
    settling: Vec<Word>,
    /// Where holes are punched: the free physical blocks that may take space on the backing.
    stale: Option<Stale>,
    accounts: BTreeMap<VolumeId, Account>,
    overcommit_permille: u32,
    committed: u64,
    owed: u64,
}

/// What is used of a pool, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The number of physical blocks.
    pub physical_blocks: u32,
    /// Physical blocks without an owner.
    pub free: u32,
    /// Physical blocks whose release waits for a commit.
    pub deferred: u32,
    /// Physical blocks reserved for volumes that do not own them yet.
    pub owed: u64,
    /// Blocks that volumes hold or have reserved.
    pub committed: u64,
    /// Blocks that may be committed.
    pub limit: u64,
}

impl Allocator {
    /// An allocator of `physical_blocks` physical blocks, all free, of which `overcommit_permille`
    /// thousandths may be committed.
    pub fn new(physical_blocks: u32, overcommit_permille: u32) -> Self {
        // The physical blocks behind the last whole region are found one by one.
        let regions = physical_blocks / REGION;
        Self {
            free: BlockSet::full(physical_blocks),
            whole: BlockSet::full(regions),
            region_free: vec![REGION as u16; regions as usize],
            cursor: 0,
            deferred: Vec::new(),
            settling: Vec::new(),
            stale: None,
            accounts: BTreeMap::new(),
            overcommit_permille,
            committed: 0,
            owed: 0,
        }
    }

    /// The number of physical blocks.
    pub fn physical_blocks(&self) -> u32 {
        self.free.capacity()
    }

    /// Blocks that may be committed.
    fn limit(&self) -> u64 {
        u64::from(self.physical_blocks()) * u64::from(self.overcommit_permille) / 1000
    }

    /// The usage of the pool.
    pub fn usage(&self) -> Usage {
        let waiting = self.deferred.iter().chain(&self.settling);
        Usage {
            physical_blocks: self.physical_blocks(),
            free: self.without_owner(),
            deferred: waiting.map(|(_, bits)| bits.count_ones()).sum(),
            owed: self.owed,
            committed: self.committed,
            limit: self.limit(),
        }
    }

    /// The account of a volume.
    ///
    /// # Panics
    /// When there is no such volume: its handle outlived it.
    pub fn account(&self, id: VolumeId) -> &Account {
        &self.accounts[&id]
    }

    /// The account of a volume, if there is such a volume.
    pub fn find(&self, id: VolumeId) -> Option<Account> {
        self.accounts.get(&id).copied()
    }

    /// Changes an account, and the sums over all accounts with it.
    fn update<R>(&mut self, id: VolumeId, change: impl FnOnce(&mut Account) -> R) -> R {
        let account = self.accounts.get_mut(&id).expect("the volume exists");
        let (committed, owed) = (account.committed(), account.owed());
        let result = change(account);
        self.committed = self.committed - committed + account.committed();
        self.owed = self.owed - owed + account.owed();
        result
    }

    fn check_bounds(&self, account: &Account, bounds: Bounds) -> Result<(), Denied> {
        let Bounds { quota, reservation } = bounds;
        if reservation > quota {
            return Err(Denied::Bounds { reservation, quota });
        }
        if quota < account.held {
            return Err(Denied::Quota {
                quota,
                held: account.held,
                asked: 0,
            });
        }
        let new = Account { bounds, ..*account };
        let asked = new.committed().saturating_sub(account.committed());
        let left = self.limit().saturating_sub(self.committed);
        if asked > left {
            return Err(Denied::Commitment { left, asked });
        }
        let asked = new.owed().saturating_sub(account.owed());
        let free = u64::from(self.without_owner()).saturating_sub(self.owed);
        if asked > free {
            return Err(Denied::Reservation { free, asked });
        }
        Ok(())
    }

    /// Adds a volume that holds nothing.
    pub fn open(&mut self, id: VolumeId, bounds: Bounds) -> Result<(), Denied> {
        let account = Account {
            bounds: Bounds {
                quota: 0,
                reservation: 0,
            },
            held: 0,
            owned: 0,
        };
        self.check_bounds(&account, bounds)?;
        let before = self.accounts.insert(id, Account { bounds, ..account });
        assert!(before.is_none(), "the volume exists already");
        self.committed += u64::from(bounds.reservation);
        self.owed += u64::from(bounds.reservation);
        Ok(())
    }

    /// Changes what a volume may use.
    pub fn set_bounds(&mut self, id: VolumeId, bounds: Bounds) -> Result<(), Denied> {
        self.check_bounds(self.account(id), bounds)?;
        self.update(id, |account| account.bounds = bounds);
        Ok(())
    }

    /// Removes a volume that neither holds nor owns anything any more.
    ///
    /// # Panics
    /// When it does.
    pub fn close(&mut self, id: VolumeId) {
        let account = self.accounts.remove(&id).expect("the volume exists");
        assert_eq!((account.held, account.owned), (0, 0), "closed while in use");
        self.committed -= account.committed();
        self.owed -= account.owed();
    }

    /// Makes sure that a volume may hold `asked` more blocks.
    pub fn may_hold(&self, id: VolumeId, asked: u32) -> Result<(), Denied> {
        let account = self.account(id);
        let held = account.held;
        let quota = account.bounds.quota;
        if asked > quota.saturating_sub(held) {
            return Err(Denied::Quota { quota, held, asked });
        }
        let new = Account {
            held: held + asked,
            ..*account
        };
        let more = new.committed() - account.committed();
        let left = self.limit().saturating_sub(self.committed);
        if more > left {
            return Err(Denied::Commitment { left, asked: more });
        }
        Ok(())
    }

    /// A volume holds `more` more blocks.
    pub fn hold(&mut self, id: VolumeId, more: u32) {
        self.update(id, |account| account.held += more);
    }

    /// A volume holds `fewer` blocks fewer.
    pub fn let_go(&mut self, id: VolumeId, fewer: u32) {
        self.update(id, |account| account.held -= fewer);
    }

    /// Makes sure that a volume may own one more physical block.
    pub fn may_own(&self, id: VolumeId) -> Result<(), Denied> {
        let reserved = self.account(id).owed() > 0;
        let others = if reserved { self.owed - 1 } else { self.owed };
        if u64::from(self.without_owner()) > others {
            let punching = self.free.is_empty();
            return if punching {
                Err(Denied::Punching)
            } else {
                Ok(())
            };
        }
        let settling = !self.deferred.is_empty() || !self.settling.is_empty();
        Err(Denied::Full { settling })
    }

    /// Gives `physical` to a volume that [may own](Self::may_own) one more; false
    /// when it is not free.
    pub fn take(&mut self, id: VolumeId, physical: u32) -> bool {
        if !self.free.remove(physical) {
            return false;
        }
        if let Some(stale) = &mut self.stale {
            stale.remove(physical);
        }
        let region = physical / REGION;
        if let Some(free) = self.region_free.get_mut(region as usize) {
            *free -= 1;
            self.whole.remove(region);
        }
        self.update(id, |account| account.owned += 1);
        true
    }

    /// Gives physical blocks to a volume, as a recovery found: each the first of so many in a row.
    ///
    /// # Panics
    /// When one of them is not free.
    pub fn restore(&mut self, id: VolumeId, physical_blocks: impl Iterator<Item = (u32, u32)>) {
        let mut owned = 0;
        for (physical, count) in physical_blocks {
            let words = spans(physical, count);
            let taken: u32 = words
                .map(|(at, bits)| self.free.remove_bits(at, bits))
                .sum();
            assert_eq!(taken, count, "a checked physical block is free");
            owned += count;
            self.no_longer_free(physical, count);
        }
        self.update(id, |account| account.owned += owned);
    }

    /// These physical blocks were removed from the free ones: counts that for their regions.
    fn no_longer_free(&mut self, physical: u32, count: u32) {
        let (mut at, end) = (physical, physical + count);
        while at < end {
            let region = at / REGION;
            let part = (REGION - at % REGION).min(end - at);
            if let Some(free) = self.region_free.get_mut(region as usize) {
                if u32::from(*free) == REGION {
                    self.whole.remove(region);
                }
                *free -= part as u16;
            }
            at += part;
        }
    }

    /// A region of which every physical block is free: `next` if it is one, so that
    /// neighbouring windows are neighbours on the backing.
    pub fn whole_region(&self, next: Option<u32>) -> Option<u32> {
        let next = next.filter(|region| self.whole.contains(*region));
        next.or_else(|| self.whole.next_in(0))
    }

    /// A free physical block: `wanted` if it is one, else the next after the one that
    /// was found last, so that what is written in a row lies in a row.
    pub fn find_free(&mut self, wanted: Option<u32>) -> Option<u32> {
        let wanted = wanted.filter(|physical| self.free.contains(*physical));
        let found = wanted
            .or_else(|| self.free.next_in(self.cursor))
            .or_else(|| self.free.next_in(0))?;
        self.cursor = found + 1;
        Some(found)
    }

    /// A volume gives up the physical blocks `bits` of word `index`.
    ///
    /// # Panics
    /// When one of them is free.
    pub fn give(&mut self, id: VolumeId, (index, bits): Word, fate: Fate) {
        match fate {
            Fate::Free => self.set_free((index, bits)),
            Fate::Deferred => self.deferred.push((index, bits)),
        }
        self.update(id, |account| account.owned -= bits.count_ones());
    }

    fn set_free(&mut self, word: Word) {
        self.put_free(word);
        if let Some(stale) = &mut self.stale {
            stale.add(word);
        }
    }

    fn put_free(&mut self, (index, bits): Word) {
        let count = bits.count_ones();
        let freed = self.free.insert_bits(index, bits);
        assert_eq!(
            freed, count,
            "a physical block without an owner was given up"
        );
        let region = index / REGION_WORDS as usize;
        if let Some(free) = self.region_free.get_mut(region) {
            *free += count as u16;
            if u32::from(*free) == REGION {
                self.whole.insert(region as u32);
            }
        }
    }

    /// Words of deferred frees that no commit covers yet.
    pub fn deferred_words(&self) -> usize {
        self.deferred.len()
    }

    /// A commit was cut: what is deferred now is free once it is durable.
    pub fn cut(&mut self) {
        self.settling.append(&mut self.deferred);
    }

    /// The commit that was cut last is durable.
    pub fn settle(&mut self) {
        for word in std::mem::take(&mut self.settling) {
            self.set_free(word);
        }
    }

    /// Compares the running counts with a recount.
    ///
    /// # Panics
    /// When they differ, or when free, owned and waiting physical blocks are not all.
    pub fn assert_consistent(&self) {
        assert_eq!(self.free.len(), self.free.recount());
        for (region, &free) in (0..).zip(&self.region_free) {
            let start = region * REGION;
            let count = (start..start + REGION).filter(|physical| self.free.contains(*physical));
            assert_eq!(count.count(), usize::from(free), "region {region}");
            assert_eq!(self.whole.contains(region), u32::from(free) == REGION);
        }
        if let Some(stale) = &self.stale {
            stale.assert_free(&self.free);
        }
        let sum = |of: fn(&Account) -> u64| self.accounts.values().map(of).sum::<u64>();
        assert_eq!(sum(Account::committed), self.committed);
        assert_eq!(sum(Account::owed), self.owed);
        let usage = self.usage();
        let owned = sum(|account| account.owned.into());
        let all = owned + u64::from(usage.free) + u64::from(usage.deferred);
        assert_eq!(
            all,
            u64::from(usage.physical_blocks),
            "a physical block is lost"
        );
        let promised = u64::from(usage.free) + u64::from(usage.deferred);
        assert!(
            promised >= self.owed,
            "reserved physical blocks were used up"
        );
    }
}
