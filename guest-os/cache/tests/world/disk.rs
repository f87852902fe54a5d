//! A disk whose requests end when the test says so, in any order, and which loses
//! what a disk may lose.
//!
//! What it promises, and nothing beyond it:
//! - A write takes effect at its end; a read gives what is there at its end.
//! - A flush makes durable the writes that had ended when it was submitted.
//! - A write that fails has written any of its blocks, or none; a flush that fails
//!   has made nothing durable. A transfer that is dropped before its end ends then and
//!   there, as if it had failed.
//! - A transfer that touches a block that is not held ends in [`IoError::Gone`],
//!   also when the block was revoked while the transfer was under way. Its other
//!   blocks are as after a failure.
//! - A block that is granted reads as zeros. A discard is a write of zeros.
//!
//! What it asks of its user: no transfer is submitted that overlaps a write under
//! way, or a write that overlaps a read (either would be undefined), and none to a
//! block that was handed out by a surrender.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

use guest_cache::device::{BLOCK_LEN, BlockDevice, IoError};

use crate::common::Rng;

/// The bytes of a block; images share those that they have in common.
pub type Page = Rc<[u8; BLOCK_LEN]>;

/// Blocks by number; those that are not there are zeros.
#[derive(Clone, Default)]
pub struct Contents(BTreeMap<u32, Page>);

impl Contents {
    pub fn get(&self, block: u32) -> Option<&Page> {
        self.0.get(&block)
    }

    pub fn set(&mut self, block: u32, page: Page) {
        self.0.insert(block, page);
    }

    pub fn clear(&mut self, block: u32) {
        self.0.remove(&block);
    }

    pub fn read(&self, block: u32, out: &mut [u8]) {
        match self.get(block) {
            Some(page) => out.copy_from_slice(&page[..]),
            None => out.fill(0),
        }
    }
}

/// What a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Flush,
}

/// Requests that are to fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// Transfers of that kind that still succeed before.
    pub after: u32,
    /// Whether only the one fails, or all from then on.
    pub once: bool,
}

/// A write of one block that has ended and that no flush has covered.
#[derive(Clone)]
pub(super) struct Unflushed {
    /// The place in the order of all block writes of this disk.
    order: u64,
    pub(super) block: u32,
    pub(super) page: Page,
}

/// A request under way.
struct Request {
    id: u64,
    kind: Kind,
    blocks: Range<u32>,
    /// What a write writes.
    pages: Vec<Page>,
    /// Block writes that a flush covers: those before this one.
    covers: u64,
    /// A block of it was revoked.
    gone: bool,
}

impl Request {
    fn overlaps(&self, blocks: &Range<u32>) -> bool {
        self.blocks.start < blocks.end && blocks.start < self.blocks.end
    }
}

/// How a request ended, and what a read gave.
type Ended = Result<Vec<u8>, IoError>;

#[derive(Default)]
pub(super) struct State {
    name: &'static str,
    blocks: u32,
    max_run: u32,
    /// Blocks that are the guest's; `None` for a disk that keeps all of its own.
    held: Option<BTreeSet<u32>>,
    /// Blocks that the guest handed out and has not got back.
    handed_out: BTreeSet<u32>,
    pub(super) durable: Contents,
    pub(super) visible: Contents,
    pub(super) unflushed: Vec<Unflushed>,
    requests: Vec<Request>,
    writes: u64,
    /// Block writes before the guest that uses it now.
    inherited: u64,
    ended: BTreeMap<u64, Ended>,
    next_id: u64,
    faults: Vec<Fault>,
}

/// Ascending blocks as runs.
pub fn runs(blocks: impl IntoIterator<Item = u32>) -> Vec<Range<u32>> {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for block in blocks {
        match runs.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => runs.push(block..block + 1),
        }
    }
    runs
}

/// A simulated disk. A clone is the same disk.
#[derive(Clone)]
pub struct Disk(pub(super) Rc<RefCell<State>>);

impl Disk {
    /// A disk of zeros. With `held`, other blocks are not the guest's.
    pub fn new(name: &'static str, blocks: u32, max_run: u32, held: Option<BTreeSet<u32>>) -> Self {
        Self::of(State {
            name,
            blocks,
            max_run,
            held,
            ..State::default()
        })
    }

    pub(super) fn of(state: State) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    /// Blocks that are the guest's, as runs.
    pub fn held(&self) -> Vec<Range<u32>> {
        let state = self.0.borrow();
        runs((0..state.blocks).filter(|block| state.holds(*block)))
    }

    /// Whether a block is the guest's.
    pub fn holds(&self, block: u32) -> bool {
        self.0.borrow().holds(block)
    }

    /// Takes blocks away, with what is in them.
    pub fn revoke(&self, blocks: impl IntoIterator<Item = u32>) {
        let mut state = self.0.borrow_mut();
        for block in blocks {
            state.take_away(block);
            for request in &mut state.requests {
                request.gone |= request.blocks.contains(&block);
            }
        }
    }

    /// Takes blocks that the guest hands out.
    ///
    /// # Panics
    /// If one is not the guest's or still in use.
    pub fn surrender(&self, blocks: impl IntoIterator<Item = u32>) {
        let mut state = self.0.borrow_mut();
        for block in blocks {
            let name = state.name;
            let used = state
                .requests
                .iter()
                .find(|request| !request.gone && request.blocks.contains(&block));
            if let Some(request) = used {
                panic!(
                    "{name}: block {block} is handed out during a {:?} of {:?}",
                    request.kind, request.blocks
                );
            }
            let held = state.held.as_ref().expect("a disk that gives blocks up");
            assert!(held.contains(&block), "{name}: block {block} is not held");
            state.take_away(block);
            state.handed_out.insert(block);
        }
    }

    /// Gives blocks, as zeros.
    pub fn grant(&self, blocks: impl IntoIterator<Item = u32>) {
        let mut state = self.0.borrow_mut();
        for block in blocks {
            state.handed_out.remove(&block);
            let held = state.held.as_mut().expect("a disk that gets blocks");
            assert!(held.insert(block), "block {block} is held already");
        }
    }

    /// Makes requests fail.
    pub fn fail(&self, fault: Fault) {
        self.0.borrow_mut().faults.push(fault);
    }

    /// Lets no more requests fail.
    pub fn heal(&self) {
        self.0.borrow_mut().faults.clear();
    }

    /// Whether no read will succeed until the disk is healed, now or soon.
    pub fn has_no_reads(&self) -> bool {
        let state = self.0.borrow();
        let mut faults = state.faults.iter();
        faults.any(|fault| fault.kind == Kind::Read && !fault.once)
    }

    /// Whether a loss of power can still take back what an earlier guest wrote.
    pub fn has_inherited(&self) -> bool {
        let state = self.0.borrow();
        let mut unflushed = state.unflushed.iter();
        unflushed.any(|write| write.order < state.inherited)
    }

    /// Number of requests under way.
    pub fn under_way(&self) -> usize {
        self.0.borrow().requests.len()
    }

    /// Number of requests ever submitted.
    pub fn submitted(&self) -> u64 {
        self.0.borrow().next_id
    }

    /// What a block reads as now.
    pub fn peek(&self, block: u32, out: &mut [u8]) {
        self.0.borrow().visible.read(block, out);
    }

    /// What a block is sure to read as after a loss of power, if no write of it is under
    /// way or unflushed.
    pub fn peek_durable(&self, block: u32, out: &mut [u8]) {
        self.0.borrow().durable.read(block, out);
    }

    /// Writes a block by another way than a request, durably.
    pub fn poke(&self, block: u32, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let page: Page = Rc::new(bytes.try_into().expect("a block"));
        state.durable.set(block, page.clone());
        state.visible.set(block, page);
    }

    /// Ends one request, any of those under way, if there is one.
    pub fn complete_one(&self, rng: &mut Rng) -> bool {
        let mut state = self.0.borrow_mut();
        if state.requests.is_empty() {
            return false;
        }
        let chosen = rng.below(state.requests.len() as u32);
        let request = state.requests.remove(chosen as usize);
        let id = request.id;
        let failed = if request.gone {
            Some(IoError::Gone)
        } else {
            state.fails(request.kind).then_some(IoError::Failed)
        };
        let ended = state.end(request, failed, rng);
        state.ended.insert(id, ended);
        true
    }

    fn submit(&self, kind: Kind, blocks: Range<u32>, data: &[u8]) -> u64 {
        let mut state = self.0.borrow_mut();
        let (name, count) = (state.name, blocks.end - blocks.start);
        assert!(
            blocks.end <= state.blocks && count <= state.max_run,
            "{name}: no {kind:?} of {blocks:?} can be made"
        );
        for request in state.requests.iter().filter(|request| !request.gone) {
            let conflict = kind == Kind::Write || request.kind == Kind::Write;
            assert!(
                !(conflict && request.overlaps(&blocks)),
                "{name}: a {kind:?} of {blocks:?} overlaps a {:?} of {:?}",
                request.kind,
                request.blocks
            );
        }
        for block in blocks.clone() {
            assert!(
                !state.handed_out.contains(&block),
                "{name}: a {kind:?} of block {block}, which was handed out"
            );
        }
        let gone = blocks.clone().any(|block| !state.holds(block));
        let (pages, rest) = data.as_chunks::<BLOCK_LEN>();
        assert!(rest.is_empty(), "{name}: a part of a block");
        let request = Request {
            id: state.next_id,
            kind,
            blocks,
            pages: pages.iter().map(|page| Rc::new(*page)).collect(),
            covers: state.writes,
            gone,
        };
        state.next_id += 1;
        state.requests.push(request);
        state.next_id - 1
    }

    async fn transfer(&self, kind: Kind, blocks: Range<u32>, data: &[u8]) -> Ended {
        let id = self.submit(kind, blocks, data);
        let _submitted = Submitted { disk: self, id };
        poll_fn(|_| match self.0.borrow_mut().ended.remove(&id) {
            Some(ended) => Poll::Ready(ended),
            None => Poll::Pending,
        })
        .await
    }
}

/// A request that someone waits for.
struct Submitted<'a> {
    disk: &'a Disk,
    id: u64,
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        self.disk.0.borrow_mut().cancel(self.id);
    }
}

impl State {
    /// The same disk, its requests forgotten.
    pub(super) fn restarted(&self) -> Self {
        Self {
            name: self.name,
            blocks: self.blocks,
            max_run: self.max_run,
            held: self.held.clone(),
            durable: self.durable.clone(),
            visible: self.visible.clone(),
            unflushed: self.unflushed.clone(),
            writes: self.writes,
            inherited: self.writes,
            ..Self::default()
        }
    }

    /// The blocks that writes under way would write.
    pub(super) fn being_written(&self) -> impl Iterator<Item = (u32, &Page)> {
        let blocks = self.requests.iter();
        let blocks = blocks.flat_map(|request| request.blocks.clone().zip(&request.pages));
        blocks.filter(|(block, _)| self.holds(*block))
    }

    pub(super) fn write(&mut self, block: u32, page: Page) {
        self.visible.set(block, page.clone());
        let order = self.writes;
        self.writes += 1;
        self.unflushed.push(Unflushed { order, block, page });
    }

    fn take_away(&mut self, block: u32) {
        if let Some(held) = &mut self.held {
            held.remove(&block);
        }
        self.durable.clear(block);
        self.visible.clear(block);
        self.unflushed.retain(|write| write.block != block);
    }

    fn holds(&self, block: u32) -> bool {
        self.held.as_ref().is_none_or(|held| held.contains(&block))
    }

    fn fails(&mut self, kind: Kind) -> bool {
        let Some(at) = self.faults.iter().position(|fault| fault.kind == kind) else {
            return false;
        };
        let fault = &mut self.faults[at];
        if fault.after > 0 {
            fault.after -= 1;
            return false;
        }
        if fault.once {
            self.faults.remove(at);
        }
        true
    }

    /// Ends a request whose future was dropped, as if it had failed.
    fn cancel(&mut self, id: u64) {
        self.ended.remove(&id);
        let mut requests = self.requests.iter();
        if let Some(at) = requests.position(|request| request.id == id) {
            let request = self.requests.remove(at);
            drop(self.end(request, Some(IoError::Failed), &mut Rng::new(id)));
        }
    }

    fn end(&mut self, request: Request, failed: Option<IoError>, rng: &mut Rng) -> Ended {
        match request.kind {
            Kind::Read => {
                let count = request.blocks.clone().count();
                let mut bytes = vec![0xa5; count * BLOCK_LEN];
                if failed.is_none() {
                    let blocks = bytes.chunks_exact_mut(BLOCK_LEN);
                    for (block, out) in request.blocks.zip(blocks) {
                        self.visible.read(block, out);
                    }
                }
                failed.map_or(Ok(bytes), Err)
            }
            Kind::Write => {
                for (block, page) in request.blocks.zip(request.pages) {
                    if failed.is_some() && (!self.holds(block) || rng.below(2) == 0) {
                        continue;
                    }
                    self.write(block, page);
                }
                failed.map_or(Ok(Vec::new()), Err)
            }
            Kind::Flush => {
                if let Some(error) = failed {
                    return Err(error);
                }
                let covered = |write: &Unflushed| write.order < request.covers;
                for write in self.unflushed.iter().filter(|write| covered(write)) {
                    self.durable.set(write.block, write.page.clone());
                }
                self.unflushed.retain(|write| !covered(write));
                Ok(Vec::new())
            }
        }
    }
}

impl BlockDevice for Disk {
    fn blocks(&self) -> u32 {
        self.0.borrow().blocks
    }

    fn max_run(&self) -> u32 {
        self.0.borrow().max_run
    }

    async fn read(&self, first: u32, out: &mut [u8]) -> Result<(), IoError> {
        let count = (out.len() / BLOCK_LEN) as u32;
        let blocks = first..first + count;
        let bytes = self.transfer(Kind::Read, blocks, &[]).await?;
        out.copy_from_slice(&bytes);
        Ok(())
    }

    async fn write(&self, first: u32, data: &[u8]) -> Result<(), IoError> {
        let count = (data.len() / BLOCK_LEN) as u32;
        let blocks = first..first + count;
        self.transfer(Kind::Write, blocks, data).await.map(drop)
    }

    async fn flush(&self) -> Result<(), IoError> {
        self.transfer(Kind::Flush, 0..0, &[]).await.map(drop)
    }

    async fn discard(&self, block: u32) -> Result<(), IoError> {
        self.write(block, &[0; BLOCK_LEN]).await
    }
}
