//! The hypervisor's side of [`Device`]: starting, steering and ending a resize.

use alloc::boxed::Box;
use core::fmt;

use super::{Device, Ownership};
use crate::block_set::{BlockSet, Complement};
use crate::encoding::{SetView, encode};
use crate::wire::Encoding;

/// Who picks the blocks of a shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PickedBy {
    /// The guest, which knows what it uses; the hypervisor only once the
    /// deadline is over.
    Guest,
    /// The hypervisor, at once and without asking.
    Host,
}

/// A request of the hypervisor. Times are nanoseconds on the caller's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResizeRequest {
    /// Number of blocks that the guest is to hold.
    pub target: u32,
    /// Who picks the blocks of a shrink; of no meaning for a grow.
    pub picked_by: PickedBy,
    /// The deadline; `None` waits until the guest is done or the resize is cancelled.
    pub deadline_ns: Option<u64>,
    /// Whether the deadline of a shrink takes the rest, or leaves it.
    pub revoke: bool,
    /// Whether blocks may be taken without a driver that could pick them and learn which are gone:
    /// they may hold data in use.
    pub force: bool,
}

impl ResizeRequest {
    /// Whether a shrink may end in blocks being taken.
    fn may_revoke(&self) -> bool {
        self.picked_by == PickedBy::Host || self.revoke && self.deadline_ns.is_some()
    }
}

/// The phase of a resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Blocks are still moving.
    Moving,
    /// No more blocks move; the driver has until `until_ns` to confirm.
    Settling {
        /// When the wait for a CONFIRM ends.
        until_ns: u64,
    },
}

/// How long the device waits for a CONFIRM once no more blocks move: 5 s, far above what a busy
/// guest needs, and the bound on how long a silent one can keep the next resize waiting. Without a
/// driver, the device does not wait for one.
pub const SETTLE_NS: u64 = 5_000_000_000;

/// Why fewer blocks moved than were requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shortfall {
    /// The guest has no more to give.
    Declined,
    /// The hypervisor cancelled it.
    Cancelled,
    /// The deadline passed.
    Deadline,
    /// The change of ownership could not be recorded.
    Storage,
}

impl Shortfall {
    /// The label of the reason.
    pub fn label(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
            Self::Storage => "storage",
        }
    }
}

/// How a resize ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The guest holds the number of blocks that was requested.
    Complete,
    /// It does not.
    Partial(Shortfall),
}

/// A resize that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resize {
    /// Counts up from 1 in the life of the device.
    pub id: u64,
    /// Blocks held when it started.
    pub from: u32,
    /// What was requested.
    pub request: ResizeRequest,
    /// When it started.
    pub started_ns: u64,
    /// How far it got.
    pub phase: Phase,
    /// Blocks taken without the guest's consent.
    pub revoked: u32,
    /// SURRENDERs and ACCEPTs that were carried out.
    pub exchanges: u32,
    pub(super) shortfall: Option<Shortfall>,
}

impl Resize {
    /// True while blocks are still moving.
    pub fn is_moving(&self) -> bool {
        self.phase == Phase::Moving
    }

    pub(super) fn is_shrink(&self) -> bool {
        self.request.target < self.from
    }

    /// When the hypervisor takes what the guest has not given up.
    pub(super) fn revokes_at(&self) -> Option<u64> {
        let may = self.is_moving() && self.is_shrink() && self.request.revoke;
        self.request.deadline_ns.filter(|_| may)
    }
}

/// A resize that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// Its [`Resize::id`].
    pub id: u64,
    /// Blocks held when it started.
    pub from: u32,
    /// Blocks that were to be held.
    pub target: u32,
    /// Blocks held when it ended.
    pub held: u32,
    /// Of these, blocks taken without the guest's consent.
    pub revoked: u32,
    /// SURRENDERs and ACCEPTs that were carried out.
    pub exchanges: u32,
    /// Whether all that was requested moved, and if not, why.
    pub end: End,
    /// True when the driver confirmed the list that resulted.
    pub agreed: bool,
    /// When it started.
    pub started_ns: u64,
    /// When it ended.
    pub finished_ns: u64,
}

/// Why a resize did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeError {
    /// Another one is under way.
    Busy {
        /// The other one's id.
        id: u64,
    },
    /// The target is beyond the device.
    BeyondCapacity {
        /// Blocks requested.
        target: u32,
        /// The capacity.
        capacity: u32,
    },
    /// A shrink that may take blocks is not forced, and no driver is there.
    NoDriver,
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { id } => write!(
                f,
                "resize {id} is still under way: wait for it or cancel it"
            ),
            Self::BeyondCapacity { target, capacity } => write!(
                f,
                "{target} blocks requested; the maximum of this vSSD is {capacity}"
            ),
            Self::NoDriver => f.write_str(
                "no vSSD driver answers in the guest, so blocks can only be taken by force",
            ),
        }
    }
}

impl core::error::Error for ResizeError {}

impl Device {
    /// The resize under way.
    pub fn resize_under_way(&self) -> Option<&Resize> {
        self.resize.as_ref()
    }

    /// Starts a resize and returns its id. Afterwards, and whenever time has
    /// passed, look at [`revocation_due`](Self::revocation_due) and
    /// [`grant_due`](Self::grant_due).
    pub fn resize(&mut self, request: ResizeRequest, now_ns: u64) -> Result<u64, ResizeError> {
        let capacity = self.geometry.capacity();
        if request.target > capacity {
            return Err(ResizeError::BeyondCapacity {
                target: request.target,
                capacity,
            });
        }
        if let Some(resize) = &self.resize {
            return Err(ResizeError::Busy { id: resize.id });
        }
        // [DEV-15] Without a driver blocks go by force, or not at all.
        let shrinks = request.target < self.granted.len();
        if shrinks && request.may_revoke() && !self.may_take(request) {
            return Err(ResizeError::NoDriver);
        }
        let id = self.next_resize;
        self.next_resize += 1;
        self.resize = Some(Resize {
            id,
            from: self.granted.len(),
            request,
            started_ns: now_ns,
            phase: Phase::Moving,
            revoked: 0,
            exchanges: 0,
            shortfall: None,
        });
        self.progress(now_ns);
        Ok(id)
    }

    /// Ends the resize under way with what has moved so far; returns its id.
    pub fn cancel(&mut self, now_ns: u64) -> Option<u64> {
        let id = self.resize.as_ref()?.id;
        self.end_early(Shortfall::Cancelled, now_ns);
        self.progress(now_ns);
        Some(id)
    }

    /// Whether blocks may be taken that the guest did not give up.
    fn may_take(&self, request: ResizeRequest) -> bool {
        request.force || self.has_session()
    }

    /// Number of blocks that the hypervisor has to take now by
    /// [`revoke`](Self::revoke): those of a shrink that does not ask the
    /// guest, or the rest of one whose deadline is over.
    pub fn revocation_due(&self, now_ns: u64) -> u32 {
        let Some(resize) = self.resize.as_ref().filter(|r| r.is_moving()) else {
            return 0;
        };
        let unasked = resize.is_shrink() && resize.request.picked_by == PickedBy::Host;
        let overdue = resize.revokes_at().is_some_and(|at| now_ns >= at);
        if (unasked || overdue) && self.may_take(resize.request) {
            self.granted.len().saturating_sub(resize.request.target)
        } else {
            0
        }
    }

    /// [DEV-11] Takes `picks` from the guest, which REVOKED reports. No I/O to them
    /// may be in flight any longer. That may take time: [`tick`](Self::tick) comes after it.
    ///
    /// # Errors
    /// The error of `ownership`, when it could not record all of it. The blocks recorded before
    /// that are taken, and the resize has ended.
    ///
    /// # Panics
    /// When a pick is not granted: the hypervisor picks from its own list.
    pub fn revoke<O: Ownership>(
        &mut self,
        picks: &BlockSet,
        now_ns: u64,
        ownership: &mut O,
    ) -> Result<(), O::Error> {
        assert!(picks.is_subset_of(&self.granted), "picked a block not held");
        let mut buffer: Box<[u8]> = alloc::vec![0; crate::wire::MAX_PAYLOAD].into();
        let mut from = 0;
        let mut result = Ok(());
        while from < picks.capacity() && result.is_ok() {
            let out = encode(
                picks,
                from,
                u32::MAX,
                Encoding::Compact,
                self.geometry,
                &mut buffer,
            );
            let blocks = SetView::parse(&buffer[..out.len], self.geometry).expect("own encoding");
            from = out.next;
            result = ownership.release(&blocks);
            if result.is_ok() {
                self.taken(&blocks);
            }
        }
        if result.is_err() {
            self.end_early(Shortfall::Storage, now_ns);
        }
        self.refresh_goal();
        result
    }

    /// Blocks were taken without the guest's consent.
    fn taken(&mut self, blocks: &SetView<'_>) {
        self.granted.remove_view(blocks);
        self.is_agreed = false;
        if let Some(resize) = &mut self.resize {
            resize.revoked += blocks.len();
        }
        // Without a session the next LIST reports it.
        let has_list = self.session.is_some();
        if self.unaccepted.is_empty() {
            if has_list {
                self.revoked.insert_view(blocks);
            }
            return;
        }
        // Blocks in no driver's list need no report; the others do.
        let mut told = BlockSet::empty(self.geometry.capacity());
        told.insert_view(blocks);
        let all = told.clone();
        told.subtract(&self.unaccepted);
        self.unaccepted.subtract(&all);
        if has_list {
            self.revoked.union_with(&told);
        }
    }

    /// Number of blocks that the hypervisor has to grant now by [`grant`](Self::grant): those
    /// of a grow without a driver that could accept them.
    pub fn grant_due(&self) -> u32 {
        match &self.resize {
            Some(resize) if resize.is_moving() && !self.has_session() => {
                resize.request.target.saturating_sub(self.granted.len())
            }
            _ => 0,
        }
    }

    /// [DEV-16] Grants what is due without an ACCEPT, lowest blocks first. Any driver of queue 0
    /// can use the blocks at once; a vSSD driver learns of them when it attaches. That may take
    /// time: [`tick`](Self::tick) comes after it.
    ///
    /// # Errors
    /// The error of `ownership`, when it could not record all of it. The blocks recorded before
    /// that are granted, and the resize has ended.
    pub fn grant<O: Ownership>(&mut self, now_ns: u64, ownership: &mut O) -> Result<(), O::Error> {
        let mut buffer: Box<[u8]> = alloc::vec![0; crate::wire::MAX_PAYLOAD].into();
        let mut result = Ok(());
        while self.grant_due() > 0 && result.is_ok() {
            let out = encode(
                &Complement(&self.granted),
                0,
                self.grant_due(),
                Encoding::Compact,
                self.geometry,
                &mut buffer,
            );
            let blocks = SetView::parse(&buffer[..out.len], self.geometry).expect("own encoding");
            result = ownership.grant(&blocks);
            if result.is_ok() {
                self.granted.insert_view(&blocks);
                self.unaccepted.insert_view(&blocks);
                self.is_agreed = false;
            }
        }
        if result.is_err() {
            self.end_early(Shortfall::Storage, now_ns);
        }
        self.refresh_goal();
        result
    }

    /// Handles elapsed deadlines.
    pub fn tick(&mut self, now_ns: u64) {
        if let Some(resize) = self.resize.as_ref().filter(|r| r.is_moving())
            && resize.request.deadline_ns.is_some_and(|at| now_ns >= at)
            && (resize.revokes_at().is_none() || !self.may_take(resize.request))
        {
            self.end_early(Shortfall::Deadline, now_ns);
        }
        self.progress(now_ns);
    }

    /// When [`tick`](Self::tick) and [`revocation_due`](Self::revocation_due)
    /// are to be called at the latest.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let resize = self.resize.as_ref()?;
        match resize.phase {
            Phase::Moving => resize.request.deadline_ns,
            Phase::Settling { until_ns } => Some(until_ns),
        }
    }

    /// The resize that ended last, once.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Number of blocks that the guest is to hold.
    pub(super) fn target(&self) -> u32 {
        // The driver has to know what it holds before it can choose what to give up.
        if !self.unaccepted.is_empty() {
            return self.granted.len();
        }
        match &self.resize {
            Some(resize) if resize.is_moving() => resize.request.target,
            _ => self.granted.len(),
        }
    }

    /// The guest has no more to give. If the hypervisor may revoke, the deadline decides: until
    /// then the guest may still find some.
    pub(super) fn declined(&mut self, now_ns: u64) {
        if self.resize.as_ref().and_then(Resize::revokes_at).is_none() {
            self.end_early(Shortfall::Declined, now_ns);
        }
    }

    /// No more blocks move; what has moved stays.
    pub(super) fn end_early(&mut self, shortfall: Shortfall, now_ns: u64) {
        if let Some(resize) = self.resize.as_mut().filter(|r| r.is_moving()) {
            resize.shortfall = Some(shortfall);
            resize.phase = Phase::Settling {
                until_ns: now_ns.saturating_add(SETTLE_NS),
            };
        }
    }

    /// Advances the resize, and the goal, after any change.
    pub(super) fn progress(&mut self, now_ns: u64) {
        let held = self.granted.len();
        if let Some(resize) = &mut self.resize
            && resize.is_moving()
            && held == resize.request.target
        {
            resize.phase = Phase::Settling {
                until_ns: now_ns.saturating_add(SETTLE_NS),
            };
        }
        if let Some(resize) = &self.resize
            && let Phase::Settling { until_ns } = resize.phase
            && (self.is_agreed || now_ns >= until_ns || !self.has_session())
        {
            self.outcome = Some(Outcome {
                id: resize.id,
                from: resize.from,
                target: resize.request.target,
                held,
                revoked: resize.revoked,
                exchanges: resize.exchanges,
                end: resize.shortfall.map_or(End::Complete, End::Partial),
                agreed: self.is_agreed,
                started_ns: resize.started_ns,
                finished_ns: now_ns,
            });
            self.resize = None;
        }
        self.refresh_goal();
    }
}
