//! How changes of a pool are committed to its journal.
//!
//! A thread that changes ownership records the change before it takes effect. Changes of maps,
//! which requests make, are collected in the pool state; a thread commits them on request, in one
//! commit for all that wait. The journal's lock is taken before that of the pool state, and held
//! from the cut of what is to be committed until it is settled: so the records are never ahead of
//! the pool state that a compaction writes.

use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use vssd::block_set::BlockSet;
use vssd::encoding::{SetView, encode};
use vssd::units::Geometry;
use vssd::wire::{Encoding, MAX_PAYLOAD};

use super::allocator::VolumeId;
use super::group_commit::{Group, GroupCommit, Next, PendingCommit, Subscription};
use super::journal::{Batch, Journal, JournalError, Sink, Work};
use super::state::{Delta, PoolState};
use super::volume::Volume;
use super::{Pool, PoolError, Strength};
use crate::causes::Causes;
use crate::log_limit::LogLimit;
use crate::threads::vital;

/// Windows that a compaction writes together, during which requests that change maps wait.
const WINDOWS_AT_A_TIME: u32 = 64;

/// The least interval between checks, before a commit, that no other backend has the pool. A check
/// reads 19 pages, which at this rate is negligible.
const VERIFIED: Duration = Duration::from_millis(100);

/// The interval of the same check while nothing is committed.
const QUIET: Duration = Duration::from_secs(1);

/// The log of a durable pool.
pub(super) struct Log {
    journal: Mutex<Recorder>,
    /// The counters of the journal, for readers that cannot wait for the backing.
    work: Mutex<Work>,
    commits: Arc<GroupCommit>,
}

struct Recorder {
    journal: Journal,
    /// A compaction may have recorded a release that did not happen.
    mistrusted: bool,
    batch: Batch,
    log_limit: LogLimit,
    /// When the last check found no other backend.
    verified: Option<Instant>,
}

impl Recorder {
    /// Checks at intervals that no other backend has the pool.
    fn verify(&mut self) -> Result<(), JournalError> {
        let recent = |verified: Instant| verified.elapsed() < VERIFIED;
        if !self.verified.is_some_and(recent) {
            self.journal.verify()?;
            self.verified = Some(Instant::now());
        }
        Ok(())
    }

    fn log_error(&self, error: &JournalError) {
        if let Some(times) = self.log_limit.due() {
            let error = Causes(error);
            tracing::error!(%error, times, "changes of the pool could not be recorded");
        }
    }
}

impl Log {
    pub(super) fn new(journal: Journal) -> Self {
        Self {
            work: Mutex::new(journal.work()),
            journal: Mutex::new(Recorder {
                journal,
                mistrusted: false,
                batch: Batch::default(),
                log_limit: LogLimit::default(),
                verified: None,
            }),
            commits: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.journal.lock()
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock()
    }
}

/// Adds records that blocks are held.
pub(super) fn granted(batch: &mut Batch, id: VolumeId, blocks: &BlockSet, geometry: Geometry) {
    let mut buffer = vec![0; MAX_PAYLOAD];
    let mut from = 0;
    while from < blocks.capacity() {
        let out = encode(
            blocks,
            from,
            u32::MAX,
            Encoding::Compact,
            geometry,
            &mut buffer,
        );
        let view = SetView::parse(&buffer[..out.len], geometry).expect("own encoding");
        if !view.is_empty() {
            batch.granted(id, &view);
        }
        from = out.next;
    }
}

fn add_delta(batch: &mut Batch, delta: Delta) {
    match delta {
        Delta::Mapped {
            volume,
            block,
            physical,
            count,
        } => batch.mapped(volume, block, physical, count),
        Delta::Unmapped {
            volume,
            block,
            count,
        } => batch.unmapped(volume, block, count),
    }
}

impl Pool {
    /// Starts the thread that commits, if the pool is durable.
    pub(super) fn start_commits(self: &Arc<Self>) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        if log.lock().journal.wants_compaction() {
            log.commits.request(Strength::Soft);
        }
        let (commits, pool) = (log.commits.clone(), Arc::downgrade(self));
        vital("commits", move || serve(&commits, &pool))
    }

    /// Compacts the journal and forgets the session that overlapped.
    pub(super) fn forget_overlap(&self) -> Result<(), JournalError> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut recorder = log.lock();
        self.compact(&mut recorder)?;
        recorder.journal.forget_overlap()
    }

    /// Calls `end` when another backend has taken the pool over: from then on nothing is recorded,
    /// and reads may return another vSSD's data.
    pub fn on_loss(&self, end: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_loss.set(Box::new(end));
    }

    /// Reports that the pool is lost, if that is why something failed.
    fn noticed<T>(&self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let (Err(JournalError::Foreign(_)), Some(end)) = (&result, self.on_loss.get()) {
            end();
        }
        result
    }

    /// A listener for commits.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn subscribe(&self) -> io::Result<Subscription> {
        match &self.log {
            Some(log) => log.commits.subscribe(),
            None => GroupCommit::default().subscribe(),
        }
    }

    /// Requests that all changes so far survive the end of this process; `None` when there is
    /// nothing to wait for.
    pub fn note(&self) -> Option<PendingCommit> {
        self.log
            .as_ref()
            .map(|log| log.commits.request(Strength::Soft))
    }

    /// Requests that everything so far survives the loss of power; `Ok(None)` when it does already.
    ///
    /// # Errors
    /// When the backing fails at once.
    pub fn flush(&self) -> io::Result<Option<PendingCommit>> {
        match &self.log {
            Some(log) => Ok(Some(log.commits.request(Strength::Hard))),
            None => self.backing.flush().map(|()| None),
        }
    }

    /// The commit that makes deferred physical blocks free.
    pub fn pending_free(&self) -> Option<PendingCommit> {
        self.log
            .as_ref()
            .map(|log| log.commits.request(Strength::Hard))
    }

    /// The outcome of a commit; `None` while it is under way.
    pub fn outcome(&self, pending: PendingCommit) -> Option<io::Result<()>> {
        match &self.log {
            Some(log) => log.commits.outcome(pending),
            None => Some(Ok(())),
        }
    }

    /// Waits for a commit.
    ///
    /// # Errors
    /// When it failed.
    pub fn wait(&self, pending: PendingCommit) -> io::Result<()> {
        match &self.log {
            Some(log) => log.commits.wait(pending),
            None => Ok(()),
        }
    }

    /// Makes everything so far survive the loss of power.
    ///
    /// # Errors
    /// When the backing failed, or another backend has the pool now.
    pub fn close(&self) -> io::Result<()> {
        let closed = match self.flush()? {
            Some(pending) => self.wait(pending),
            None => Ok(()),
        };
        let Some(log) = self.log.as_ref().filter(|_| closed.is_err()) else {
            return closed;
        };
        match log.lock().journal.verify() {
            Err(error @ JournalError::Foreign(_)) => Err(io::Error::other(error)),
            _ => closed,
        }
    }

    /// Commits and compactions since it was opened.
    pub fn work(&self) -> Work {
        let log = self.log.as_ref();
        log.map(|log| *log.work()).unwrap_or_default()
    }

    fn publish(&self, recorder: &Recorder) {
        if let Some(log) = &self.log {
            *log.work() = recorder.journal.work();
        }
    }

    /// Records a change of ownership. Then `apply` lets it take effect; or, if it could not be
    /// recorded, `undo` reverts what was done for it.
    pub(super) fn record(
        &self,
        describe: impl FnOnce(&mut Batch),
        apply: impl FnOnce(&mut PoolState),
        undo: impl FnOnce(),
    ) -> Result<(), PoolError> {
        let Some(log) = &self.log else {
            apply(&mut self.state());
            return Ok(());
        };
        self.flush_ahead(log);
        // Held to the end, so that no compaction sees half of the change.
        let mut recorder = log.lock();
        match self.commit(&mut recorder, Strength::Hard, false, describe) {
            Ok(()) => {
                apply(&mut self.state());
                if recorder.journal.wants_compaction() {
                    // The commit thread does it in the background.
                    log.commits.request(Strength::Soft);
                }
                Ok(())
            }
            Err(error) => {
                // A compaction may have recorded what was done for it.
                recorder.mistrusted = true;
                undo();
                Err(error.into())
            }
        }
    }

    /// Flushes the data that a hard commit is about to flush, without the lock of the journal:
    /// first writes are committed meanwhile, and later wait only for what they wrote since.
    fn flush_ahead(&self, log: &Log) {
        let is_clean = !log.lock().journal.is_unsealed() && self.state().is_clean();
        if !is_clean && self.backing.flush().is_err() {
            log.lock().journal.poison();
        }
    }

    /// Commits what has changed, and what `describe` adds. With `sync` it also
    /// makes all data durable.
    fn commit(
        &self,
        recorder: &mut Recorder,
        strength: Strength,
        sync: bool,
        describe: impl FnOnce(&mut Batch),
    ) -> Result<(), JournalError> {
        self.noticed(recorder.verify())?;
        if recorder.mistrusted {
            self.compact(recorder)?;
        }
        let mut batch = std::mem::take(&mut recorder.batch);
        batch.clear();
        let cut = {
            let mut state = self.state();
            if strength == Strength::Hard {
                state.allocator.cut();
            }
            state.cut()
        };
        cut.iter().for_each(|delta| add_delta(&mut batch, *delta));
        describe(&mut batch);
        let sync = sync || !cut.is_empty();
        let mut result = recorder.journal.commit(&batch, strength, sync);
        if let Err(JournalError::Full { .. }) = result {
            result = self
                .compact(recorder)
                .and_then(|()| recorder.journal.commit(&batch, strength, sync));
        }
        recorder.batch = batch;
        self.publish(recorder);
        let mut state = self.state();
        match result {
            Ok(()) if strength == Strength::Hard => state.allocator.settle(),
            Ok(()) => {}
            Err(_) => state.put_back(cut),
        }
        result
    }

    /// Writes the whole state to the other area.
    fn compact(&self, recorder: &mut Recorder) -> Result<(), JournalError> {
        let (volumes, next): (Vec<_>, _) = {
            let volumes = self.volumes();
            let all = volumes.by_name.iter();
            let all = all.map(|(name, volume)| (name.clone(), volume.clone()));
            (all.collect(), volumes.next)
        };
        let compacted = recorder.journal.compact(|sink| {
            let mut batch = Batch::default();
            batch.next(VolumeId(next));
            sink.push(&batch)?;
            volumes
                .iter()
                .try_for_each(|(name, volume)| self.describe(sink, name, volume))
        });
        recorder.mistrusted &= compacted.is_err();
        self.publish(recorder);
        self.noticed(compacted)
    }

    /// Makes the next commit find the area full.
    #[cfg(test)]
    pub(super) fn be_full(&self) {
        let log = self.log.as_ref().expect("a pool that lasts");
        log.lock().mistrusted = true;
    }

    /// Compacts the journal now.
    #[cfg(test)]
    pub(super) fn compact_now(&self) -> Result<(), JournalError> {
        let log = self.log.as_ref().expect("a pool that lasts");
        self.compact(&mut log.lock())
    }

    /// Makes the next commit check for another backend.
    #[cfg(test)]
    pub(super) fn verify_now(&self) {
        let log = self.log.as_ref().expect("a pool that lasts");
        log.lock().verified = None;
    }

    /// Ends the thread that commits: from now on only [`serve_all`](Self::serve_all) does.
    #[cfg(test)]
    pub(super) fn stop_serving(&self) {
        let log = self.log.as_ref().expect("a pool that lasts");
        log.commits.close();
    }

    /// Commits for all waiting requests, after [`stop_serving`](Self::stop_serving).
    #[cfg(test)]
    pub(super) fn serve_all(&self) {
        let log = self.log.as_ref().expect("a pool that lasts");
        while let Next::Group(group) = log.commits.next(Duration::MAX) {
            self.serve_group(log, group);
        }
    }

    fn describe(
        &self,
        sink: &mut Sink<'_>,
        name: &str,
        volume: &Volume,
    ) -> Result<(), JournalError> {
        let id = volume.id();
        let capacity = volume.capacity();
        let geometry = Geometry::new(self.block_size, capacity.into()).map_err(io::Error::other)?;
        let mut batch = Batch::default();
        let bounds = self.state().allocator.account(id).bounds;
        batch.volume(id, capacity, bounds, name);
        granted(&mut batch, id, &volume.held(), geometry);
        sink.push(&batch)?;
        for first in (0..volume.windows()).step_by(WINDOWS_AT_A_TIME as usize) {
            batch.clear();
            let state = self.state();
            for index in first..volume.windows().min(first + WINDOWS_AT_A_TIME) {
                if let Some(map) = volume.window_map(&state.allocator, index) {
                    batch.window(id, index, &map);
                }
            }
            drop(state);
            if !batch.is_empty() {
                sink.push(&batch)?;
            }
        }
        Ok(())
    }

    /// Verifies at intervals that no other backend has the pool, where nothing is committed.
    ///
    /// # Errors
    /// When another has it.
    pub(super) fn verify_quietly(&self) -> Result<(), JournalError> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut recorder = log.lock();
        let verified = recorder.verify();
        self.noticed(verified)
            .inspect_err(|error| recorder.log_error(error))
    }

    /// Commits for the requests that wait.
    fn serve_group(&self, log: &Log, group: Group) {
        let mut recorder = log.lock();
        let committed = self.commit(&mut recorder, group.strength, true, |_| ());
        if let Err(error) = &committed {
            recorder.log_error(error);
        }
        log.commits.serve(group, committed.is_ok());
        if recorder.journal.wants_compaction()
            && let Err(error) = self.compact(&mut recorder)
        {
            recorder.log_error(&error);
        }
    }
}

/// The loop of the thread that commits.
fn serve(commits: &GroupCommit, pool: &Weak<Pool>) {
    loop {
        let next = commits.next(QUIET);
        let Some(pool) = pool.upgrade() else { return };
        let Some(log) = &pool.log else { return };
        match next {
            Next::Group(group) => pool.serve_group(log, group),
            // It is logged, and what is to be done then is done.
            Next::Quiet => drop(pool.verify_quietly()),
            Next::Closed => return,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(log) = &self.log {
            log.commits.close();
        }
    }
}
