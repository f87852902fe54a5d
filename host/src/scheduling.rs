//! Which threads of the backend yield to others.
//!
//! A resize of many blocks is milliseconds of work in one piece. Requests, of any guest, do not
//! wait for its thread as long as each has a processor. Without a free processor, a fair scheduler
//! lets it finish its time slice, 3 ms and more, before it runs a thread that a request or its
//! completion has woken. A resize thread therefore sets the longest slice: then every other thread
//! that wakes up has an earlier deadline, and runs first (Linux 6.12 and later; "EEVDF Scheduler",
//! `sched-eevdf.rst` of the kernel's documentation). It is also nice: while all processors are
//! busy, it has a tenth of the share of another thread.
#![allow(unsafe_code)]

use std::io;

/// The longest slice that Linux grants, nanoseconds.
const SLICE_NS: u64 = 100_000_000;

/// A tenth of the weight of others. A thread that has waited for the disk is behind with its share,
/// and would delay others until it has caught up; with a low weight it catches up soon.
const NICE: i32 = 10;

/// From now on the calling thread yields to others.
///
/// Where the system refuses, nothing changes: this affects latency only.
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
        tracing::debug!(%error, "the priority of a resize thread could not be lowered");
    }
}
