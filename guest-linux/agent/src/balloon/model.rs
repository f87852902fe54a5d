//! A file system for tests: naive, with a journal, and with a guest that dies between any two steps.
//!
//! Every change makes a new state. A guest that dies finds one of those since the last sync, as a
//! journal leaves it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::files::{Extent, Files, Piece, Space};
use crate::error::{Error, Result};

/// Bytes of a block of the file system.
pub const UNIT: u64 = 4096;

/// Who has a block of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Free,
    /// Some file of the guest's.
    User,
    /// A block of a piece, and which of its blocks.
    Piece(u32, u64),
}

#[derive(Clone, Debug)]
pub struct State {
    pub owners: Vec<Owner>,
    /// Each piece, and whether it is protected.
    pub pieces: BTreeMap<u32, bool>,
}

/// How a file system behaves.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub frees_parts: bool,
    pub granularity: u64,
    pub piece_len: u64,
}

pub struct Fs {
    pub state: State,
    /// States that a guest which dies now may find, the present one last.
    pub states: Vec<State>,
    pub kind: Kind,
    /// Steps until the guest dies.
    pub left: u32,
    pub trims: u32,
    seed: u64,
}

impl Fs {
    pub fn new(blocks: usize, kind: Kind, seed: u64) -> Self {
        let state = State {
            owners: vec![Owner::Free; blocks],
            pieces: BTreeMap::new(),
        };
        Self {
            states: vec![state.clone()],
            state,
            kind,
            left: u32::MAX,
            trims: 0,
            seed: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.left == 0
    }

    /// One more step; it fails in a guest that has died.
    pub fn step(&mut self) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        if self.is_dead() {
            return Err(Error::Failed("the guest died".to_owned()));
        }
        Ok(())
    }

    fn changed(&mut self) {
        self.states.push(self.state.clone());
    }

    fn sync(&mut self) {
        self.states = vec![self.state.clone()];
    }

    /// The guest starts again on one of the states.
    pub fn reboot(&mut self, found: usize) {
        self.state = self.states[found % self.states.len()].clone();
        self.sync();
        self.left = u32::MAX;
    }

    pub fn below(&mut self, limit: usize) -> usize {
        // splitmix64; the same seed gives the same run.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn of(&self, owner: Owner) -> Vec<usize> {
        let all = self.state.owners.iter().enumerate();
        all.filter(|(_, have)| **have == owner)
            .map(|(at, _)| at)
            .collect()
    }

    pub fn count(&self, owner: Owner) -> usize {
        self.of(owner).len()
    }

    /// The guest writes a file of `blocks` blocks; returns which.
    pub fn write_file(&mut self, blocks: usize) -> Vec<usize> {
        let mut written = Vec::new();
        for _ in 0..blocks {
            let free = self.of(Owner::Free);
            if free.is_empty() {
                break;
            }
            let at = free[self.below(free.len())];
            self.state.owners[at] = Owner::User;
            written.push(at);
        }
        self.changed();
        written
    }

    /// The guest deletes `blocks` blocks of files.
    pub fn delete(&mut self, blocks: usize) {
        for _ in 0..blocks {
            let used = self.of(Owner::User);
            if used.is_empty() {
                break;
            }
            let at = used[self.below(used.len())];
            self.state.owners[at] = Owner::Free;
        }
        self.changed();
    }

    /// A piece is deleted by hand, protected or not.
    pub fn delete_piece(&mut self, piece: u32) {
        self.state.pieces.remove(&piece);
        for owner in &mut self.state.owners {
            if matches!(owner, Owner::Piece(of, _) if *of == piece) {
                *owner = Owner::Free;
            }
        }
        self.sync();
    }

    /// Blocks of the file system that pieces have.
    pub fn ballooned(state: &State) -> Vec<usize> {
        let all = state.owners.iter().enumerate();
        all.filter(|(_, owner)| matches!(owner, Owner::Piece(..)))
            .map(|(at, _)| at)
            .collect()
    }
}

/// The same, for the balloon and the test.
#[derive(Clone)]
pub struct Shared(pub Rc<RefCell<Fs>>);

impl Files for Shared {
    fn pieces(&self) -> Vec<Piece> {
        let fs = self.0.borrow();
        fs.state.pieces.keys().copied().map(Piece).collect()
    }

    fn space(&mut self) -> Result<Space> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        Ok(Space {
            total: fs.state.owners.len() as u64 * UNIT,
            available: fs.count(Owner::Free) as u64 * UNIT,
            free: fs.count(Owner::Free) as u64 * UNIT,
        })
    }

    fn use_all(&mut self, _all: bool) -> Result<()> {
        self.0.borrow_mut().step()
    }

    fn piece_len(&self) -> u64 {
        self.0.borrow().kind.piece_len
    }

    fn granularity(&self) -> u64 {
        self.0.borrow().kind.granularity
    }

    fn frees_parts(&self) -> bool {
        self.0.borrow().kind.frees_parts
    }

    fn create(&mut self) -> Result<Option<Piece>> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        let number = (0..).find(|n| !fs.state.pieces.contains_key(n)).unwrap();
        fs.state.pieces.insert(number, false);
        fs.changed();
        Ok(Some(Piece(number)))
    }

    fn allocate(&mut self, piece: Piece, len: u64) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        for block in 0..len / UNIT {
            let free = fs.of(Owner::Free);
            if free.is_empty() {
                break;
            }
            // Runs, as most are.
            let next = (block > 0)
                .then(|| fs.of(Owner::Piece(piece.0, block - 1))[0] + 1)
                .filter(|next| free.contains(next));
            let random = free[fs.below(free.len())];
            let at = next.filter(|_| fs.below(4) > 0).unwrap_or(random);
            fs.state.owners[at] = Owner::Piece(piece.0, block);
            // Each part of it is a state of its own.
            fs.changed();
        }
        Ok(())
    }

    fn sync(&mut self, _piece: Piece) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        fs.sync();
        Ok(())
    }

    fn protect(&mut self, piece: Piece) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        fs.state.pieces.insert(piece.0, true);
        fs.changed();
        Ok(())
    }

    fn extents(&mut self, piece: Piece, each: &mut dyn FnMut(Extent)) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        let mut blocks = BTreeMap::new();
        for (at, owner) in fs.state.owners.iter().enumerate() {
            if let Owner::Piece(of, block) = owner
                && *of == piece.0
            {
                blocks.insert(*block, at as u64);
            }
        }
        for (logical, at) in blocks {
            each(Extent {
                logical: logical * UNIT,
                physical: at * UNIT,
                len: UNIT,
                is_fixed: true,
            });
        }
        Ok(())
    }

    fn free(&mut self, piece: Piece, parts: &[Range<u64>]) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        assert!(fs.kind.frees_parts, "this one frees pieces only");
        for part in parts {
            for at in 0..fs.state.owners.len() {
                if let Owner::Piece(of, block) = fs.state.owners[at]
                    && of == piece.0
                    && part.contains(&(block * UNIT))
                {
                    fs.state.owners[at] = Owner::Free;
                }
            }
            fs.changed();
        }
        Ok(())
    }

    fn remove(&mut self, piece: Piece) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        fs.state.pieces.remove(&piece.0);
        for owner in &mut fs.state.owners {
            if matches!(owner, Owner::Piece(of, _) if *of == piece.0) {
                *owner = Owner::Free;
            }
        }
        fs.changed();
        Ok(())
    }

    fn trim(&mut self) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        fs.trims += 1;
        Ok(())
    }

    fn tend(&mut self) -> Result<()> {
        let mut fs = self.0.borrow_mut();
        fs.step()?;
        for protected in fs.state.pieces.values_mut() {
            *protected = true;
        }
        fs.changed();
        Ok(())
    }

    fn watch(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
