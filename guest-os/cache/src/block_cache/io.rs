//! Access to the disks: counted, and ordered by what must be durable first.

use core::cell::RefCell;

use super::BlockCache;
use super::state::Core;
use crate::device::{BlockDevice, IoError};
use crate::metadata::{MetaError, MetaLog, Plan, Record, SlotState, Snapshot, Step};
use crate::origin_journal::Transaction;

/// How often a commit is tried before it has failed.
const TRIES: u32 = 3;

/// Polls for which the news of a revocation is waited for.
const PATIENCE: u32 = 1024;

/// A plan of the log that is finished even if its writer is dropped.
struct Planned<'a> {
    log: &'a RefCell<MetaLog>,
    plan: Option<Plan>,
}

impl Planned<'_> {
    fn finish(mut self, written: Result<(), IoError>) -> Result<Step, MetaError> {
        let plan = self.plan.take().expect("a plan is finished once");
        self.log.borrow_mut().finish(plan, written)
    }
}

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        if let Some(plan) = self.plan.take() {
            // Whether it was written is not known, which is what an error says.
            let _ = self.log.borrow_mut().finish(plan, Err(IoError::Failed));
        }
    }
}

/// Records that a commit has taken: put back if it is dropped.
struct Taken<'a> {
    core: &'a RefCell<Core>,
    records: alloc::vec::Vec<Record>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let records = core::mem::take(&mut self.records);
        self.core.borrow_mut().metadata.put_back(records);
    }
}

impl<S: BlockDevice, O: BlockDevice> BlockCache<S, O> {
    pub(crate) async fn read_slot(&self, slot: u32, out: &mut [u8]) -> Result<(), IoError> {
        let done = self.ssd.read(slot, out).await;
        self.core.borrow_mut().stats.vssd_errors += u64::from(done.is_err());
        done
    }

    pub(crate) async fn write_slot(&self, slot: u32, data: &[u8]) -> Result<(), IoError> {
        let done = self.ssd.write(slot, data).await;
        self.vssd_writes.set(self.vssd_writes.get() + 1);
        self.core.borrow_mut().stats.vssd_errors += u64::from(done.is_err());
        done
    }

    /// The slot is of no value, whether the vSSD learns of it or not.
    pub(crate) async fn discard_slot(&self, slot: u32) {
        let done = self.ssd.discard(slot).await;
        self.core.borrow_mut().stats.vssd_errors += u64::from(done.is_err());
    }

    pub(crate) async fn read_origin(&self, block: u32, out: &mut [u8]) -> Result<(), IoError> {
        let done = self.origin.read(block, out).await;
        let stats = &mut self.core.borrow_mut().stats;
        stats.origin_errors += u64::from(done.is_err());
        stats.origin_reads += u64::from(done.is_ok());
        done
    }

    /// Writes to the origin disk, once no record is left that would say something else of
    /// the block [C3]. What is kept dirty lives until the next flush only, which sees to
    /// that; so there a log that cannot be written does not stop this.
    pub(crate) async fn write_origin(&self, block: u32, data: &[u8]) -> Result<(), IoError> {
        let has_stale = self.core.borrow().metadata.has_stale();
        if has_stale && !self.commit().await && self.is_strict() {
            // The time of an error is not the latency of a block.
            let is_on_record = self.core.borrow().outdated.values().any(|&it| it == block);
            if is_on_record {
                self.until_nothing_recorded().await?;
            }
        }
        self.write_version_to_origin(block, data).await
    }

    /// The same of a version that is recorded itself, if at all, and newer than any other.
    pub(crate) async fn write_version_to_origin(
        &self,
        block: u32,
        data: &[u8],
    ) -> Result<(), IoError> {
        let done = self.origin.write(block, data).await;
        self.origin_writes.set(self.origin_writes.get() + 1);
        let stats = &mut self.core.borrow_mut().stats;
        stats.origin_errors += u64::from(done.is_err());
        stats.origin_writes += u64::from(done.is_ok());
        done
    }

    /// Whether a write is final when it is on the origin disk: then a record that
    /// contradicts it must be gone. What is kept dirty lives until the next flush only.
    pub(crate) fn is_strict(&self) -> bool {
        !self.config.write.keeps_dirty()
    }

    /// Makes durable what was written to the origin disk, if anything was.
    pub(crate) async fn flush_origin(&self) -> bool {
        if self.origin_flushed.get() >= self.origin_writes.get() {
            return true;
        }
        let flush = || async {
            let written = self.origin_writes.get();
            let done = self.origin.flush().await;
            self.core.borrow_mut().stats.origin_errors += u64::from(done.is_err());
            if done.is_ok() {
                self.origin_flushed.set(written);
            }
            done.is_ok()
        };
        self.origin_flushes.join(flush).await
    }

    /// Makes durable what was written to slots, if anything was.
    pub(crate) async fn flush_vssd(&self) -> bool {
        if self.vssd_flushed.get() >= self.vssd_writes.get() {
            return true;
        }
        let flush = || async {
            let written = self.vssd_writes.get();
            let is_done = self.ssd.flush().await.is_ok();
            if is_done {
                self.vssd_flushed.set(written);
            }
            is_done
        };
        self.vssd_flushes.join(flush).await
    }

    /// Makes durable all records that are waiting now.
    pub(crate) async fn commit(&self) -> bool {
        self.commits.join(|| self.run_commit()).await
    }

    async fn run_commit(&self) -> bool {
        loop {
            let mut failures = 0;
            loop {
                let before = self.revocations.get();
                let Err(error) = self.commit_some().await else {
                    break;
                };
                match error {
                    MetaError::Full { .. } => {
                        self.log_is_full.set(true);
                        self.erase_log().await;
                        return false;
                    }
                    // With what is left, it is another commit.
                    MetaError::Device(IoError::Gone) if self.await_revocation(before).await => {}
                    MetaError::Device(_) => failures += 1,
                }
                if failures == TRIES {
                    return false;
                }
            }
            if self.core.borrow().metadata.is_empty() {
                return true;
            }
        }
    }

    /// One commit of the log.
    async fn commit_some(&self) -> Result<(), MetaError> {
        let len = self.core.len();
        let (is_void, is_durable) = {
            let log = self.log.borrow();
            (log.is_void(), log.is_durable(len))
        };
        if is_void && !is_durable {
            // One that could be begun, but not go on, would have to be erased.
            let held = self.log.borrow().held();
            return if self.core.borrow().metadata.is_empty() && !self.core.borrow().has_marks() {
                Ok(())
            } else {
                Err(MetaError::Full { held, records: len })
            };
        }
        let records = self.core.borrow_mut().take_records();
        let mut taken = Taken {
            core: &self.core,
            records,
        };
        let is_due = self.log.borrow().needs_checkpoint(len);
        if taken.records.is_empty() && !is_due {
            return Ok(());
        }
        // [C4] A record describes data that are durable.
        let has_data = taken.records.iter().any(is_of_data);
        let has_data = has_data || self.core.borrow().metadata.is_doubtful();
        if has_data && !self.flush_vssd().await {
            return Err(MetaError::Device(IoError::Failed));
        }
        // What a record calls free or clean must be durable on the origin: no reader may see
        // the vSSD's content first and an older one of the origin later.
        let has_clean = taken.records.iter().any(is_clean);
        if (has_clean || self.has_versions()) && !self.flush_origin().await {
            return Err(MetaError::Device(IoError::Failed));
        }
        match self.write_log(&taken.records).await {
            // There was nothing to make durable; erasing what was there is done.
            Err(MetaError::Full { .. }) if taken.records.is_empty() => return Ok(()),
            written => written?,
        }
        // There was room after all, if only after what was there had been erased.
        self.log_is_full.set(false);
        let records = core::mem::take(&mut taken.records);
        let mut core = self.core.borrow_mut();
        core.stats.commits += 1;
        core.committed(&records);
        Ok(())
    }

    async fn write_log(&self, records: &[Record]) -> Result<(), MetaError> {
        loop {
            let plan = self.log.borrow_mut().plan(records, &self.core)?;
            if let Step::Committed = self.write_plan(plan).await? {
                return Ok(());
            }
        }
    }

    /// Writes blocks to the origin disk, all or none, and then to their places, durably. To be
    /// called again with the same blocks when that failed, or was dropped.
    pub(crate) async fn write_transaction(&self, transaction: &mut Transaction) -> bool {
        let Some(journal) = &self.journal else {
            return false;
        };
        // One that has been committed, and did not come to its places, has these blocks too.
        let is_written = async {
            if journal.pending() < 2 {
                journal.write(&self.origin, transaction).await?;
            }
            transaction.write_in_place(&self.origin).await
        };
        let done = is_written.await;
        // The flush is to be one that begins after this.
        self.origin_writes.set(self.origin_writes.get() + 1);
        {
            let stats = &mut self.core.borrow_mut().stats;
            stats.origin_errors += u64::from(done.is_err());
            stats.origin_writes += done.map_or(0, |()| transaction.len() as u64);
        }
        if done.is_err() || !self.flush_origin().await {
            return false;
        }
        while journal.pending() > 0 {
            journal.applied();
        }
        true
    }

    /// Erases a log that cannot be kept up to date, unless a version is recorded there that
    /// the origin does not have.
    async fn erase_log(&self) {
        let is_void = self.log.borrow().is_void();
        if !is_void && self.core.borrow().has_recorded_versions() {
            return;
        }
        self.log.borrow_mut().forget();
        while !self.log.borrow().is_void() {
            let before = self.revocations.get();
            let Ok(plan) = self.log.borrow_mut().plan(&[], &self.core) else {
                break;
            };
            match self.write_plan(plan).await {
                Err(MetaError::Device(IoError::Gone)) if self.await_revocation(before).await => {}
                Err(_) => return,
                Ok(_) => {}
            }
        }
        if self.log.borrow().is_void() {
            self.core.borrow_mut().nothing_recorded();
        }
    }

    async fn write_plan(&self, plan: Plan) -> Result<Step, MetaError> {
        let planned = Planned {
            log: &self.log,
            plan: Some(plan),
        };
        let plan = planned.plan.as_ref().expect("just made");
        let written = plan.write(&self.ssd).await;
        planned.finish(written)
    }

    /// Whether writes may be on the vSSD only.
    fn has_versions(&self) -> bool {
        self.config.write.keeps_dirty() || self.has_restored_dirty.get()
    }

    /// Waits until there were more revocations than `before`, the count when a transfer began that
    /// found a block gone: its revocation has not been reported yet. Returns whether it was. The
    /// wait is bounded, since a disk may also fail like this for another reason.
    pub(crate) async fn await_revocation(&self, before: u64) -> bool {
        let mut polls = 0;
        let is_told = || self.revocations.get() != before;
        super::wait::until(|| {
            polls += 1;
            is_told() || polls > PATIENCE
        })
        .await;
        is_told()
    }

    /// Returns when nothing is recorded any longer, if the log cannot be written for lack of
    /// blocks. The caller may hold a lock, so this writes nothing back.
    pub(crate) async fn until_nothing_recorded(&self) -> Result<(), IoError> {
        while self.log_is_full.get() && !self.log.borrow().is_void() {
            self.commit().await;
            super::wait::turn_over().await;
        }
        // Should there be blocks enough again by now, what is waiting is recorded.
        if self.commit().await || self.log.borrow().is_void() {
            Ok(())
        } else {
            Err(IoError::Failed)
        }
    }
}

fn is_of_data(record: &Record) -> bool {
    matches!(record, Record::Slot { state, .. } if *state != SlotState::Free)
}

fn is_clean(record: &Record) -> bool {
    matches!(
        record,
        Record::Slot {
            state: SlotState::Clean { .. },
            ..
        }
    )
}
