//! The agent in the guest.

use std::ops::Sub;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::linux::guest::LinuxGuest;
use lab::linux::testbed::LinuxTestbed;
use lab::testbed::ResizeOptions;
use vssd_host::control::protocol::{Resized, VssdStatus};
use workloads::Pick;

use super::scripts;
use crate::experiments::linux::file_system::MOUNT;

/// The agent's job in the guest.
const JOB: &str = "agent";

/// Time for the agent to give blocks up: it may have to allocate all free space.
const DEADLINE: Duration = Duration::from_secs(120);

/// Starts the agent for the mounted file system, and waits until both lists agree.
pub(super) fn start(testbed: &mut LinuxTestbed) -> Result<VssdStatus> {
    start_with(testbed, &format!("--mount {MOUNT}"))
}

/// The same for what other options name.
pub(super) fn start_with(testbed: &mut LinuxTestbed, options: &str) -> Result<VssdStatus> {
    let guest = &mut testbed.guest;
    guest.start_job(JOB, &format!("exec vssd-agent {options}"))?;
    let agreed = testbed.await_agreed();
    agreed.with_context(|| format!("its log:\n{}", log(&mut testbed.guest)))
}

/// Ends the agent and waits for it.
pub(super) fn stop(guest: &mut LinuxGuest) -> Result<()> {
    guest.expect("killall vssd-agent", Duration::from_secs(30))?;
    guest.finish_job(JOB, Duration::from_secs(60)).map(drop)
}

/// What it has logged.
pub(super) fn log(guest: &mut LinuxGuest) -> String {
    guest
        .job_output(JOB)
        .unwrap_or_else(|error| format!("{error:#}"))
}

/// Time of the agent for its balloon files, by the guest's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) allocate_ns: u64,
    pub(super) sync_ns: u64,
    pub(super) map_ns: u64,
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            allocate_ns: self.allocate_ns - before.allocate_ns,
            sync_ns: self.sync_ns - before.sync_ns,
            map_ns: self.map_ns - before.map_ns,
        }
    }
}

/// What it says to have spent on shrinks since it was started.
pub(super) fn spent(guest: &mut LinuxGuest) -> Result<Spent> {
    let script = format!(
        "awk '/: allocated in / {{ a += $6; s += $10; m += $15 }} \
         END {{ printf \"%.0f %.0f %.0f\\n\", a, s, m }}' /run/jobs/{JOB}.out"
    );
    let text = guest.expect(&script, Duration::from_secs(30))?;
    let [allocate, sync, map] = scripts::numbers::<3>(&text)
        .with_context(|| format!("the agent's log has no times: {text}"))?;
    Ok(Spent {
        allocate_ns: 1000 * allocate,
        sync_ns: 1000 * sync,
        map_ns: 1000 * map,
    })
}

/// Its resident memory, bytes.
pub(super) fn memory(guest: &mut LinuxGuest) -> Result<u64> {
    let script = "awk '/^VmRSS:/ { print $2 }' /proc/$(pidof vssd-agent)/status";
    let text = guest.expect(script, Duration::from_secs(30))?;
    let kib: u64 = text.trim().parse().context("read the agent's memory")?;
    Ok(kib << 10)
}

/// Has the guest hold `blocks`.
pub(super) fn resize(testbed: &mut LinuxTestbed, blocks: u32) -> Result<Resized> {
    let options = ResizeOptions {
        pick: Pick::Guest,
        deadline: DEADLINE,
        seed: 0,
    };
    let resized = testbed.vssd.resize_to(blocks, options);
    resized.with_context(|| {
        format!(
            "resize to {blocks} blocks; log of the agent:\n{}",
            log(&mut testbed.guest)
        )
    })
}
