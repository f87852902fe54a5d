//! Which threads of the backend yield to others.
//!
//! A resize of many blocks is milliseconds of work in one piece. Requests, of any guest,
//! do not wait for its thread as long as each has a processor. Where
//! there is none, a fair scheduler lets it finish its time slice, 3 ms and more, before a
//! thread that was woken by a request or its end runs. Such a thread therefore
//! asks for the longest slices there are: then every other that wakes up has an earlier
//! deadline, and goes first (Linux 6.12 and later; "EEVDF Scheduler", `sched-eevdf.rst` of the
//! kernel's documentation). And it is nice: where all processors are busy for long, it has a
//! tenth of what another has.
#![allow(unsafe_code)]

use std::io;

/// The longest slice that Linux grants, nanoseconds.
const SLICE_NS: u64 = 100_000_000;

/// A tenth of the weight of others. A thread that has waited for the disk, and so is behind
/// with its share, would keep others off until it has caught up; with this it soon has.
const NICE: i32 = 10;

/// From now on the calling thread lets others go first.
///
/// Where the system does not have it so, nothing changes: that is a matter of latency only.
pub fn let_others_first() {
    // SAFETY: it consists of integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_policy = libc::SCHED_BATCH as u32;
    attributes.sched_runtime = SLICE_NS;
    attributes.sched_nice = NICE;
    // SAFETY: the kernel reads `size` bytes of what the pointer points to, which outlives
    // the call; 0 is the calling thread.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "a thread that resizes cannot let others go first");
    }
}
