//! The agent in the guest.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::linux::guest::LinuxGuest;
use lab::linux::testbed::LinuxTestbed;
use lab::testbed::ResizeOptions;
use vssd_host::control::protocol::{Resized, VssdStatus};
use workloads::Pick;

use crate::experiments::linux::file_system::MOUNT;

/// The agent's job in the guest.
const JOB: &str = "agent";

/// Time for the agent to give blocks up: it may have to allocate all free space.
const DEADLINE: Duration = Duration::from_secs(120);

/// Starts the agent for the mounted file system, and waits until both lists agree.
pub(super) fn start(testbed: &mut LinuxTestbed) -> Result<VssdStatus> {
    let guest = &mut testbed.guest;
    guest.start_job(JOB, &format!("exec vssd-agent --mount {MOUNT}"))?;
    let agreed = testbed.await_agreed();
    agreed.with_context(|| format!("its log:\n{}", log(&mut testbed.guest)))
}

/// Ends the agent and waits for it.
pub(super) fn stop(guest: &mut LinuxGuest) -> Result<()> {
    guest.expect("killall vssd-agent", Duration::from_secs(30))?;
    guest.finish_job(JOB, Duration::from_secs(60)).map(drop)
}

/// What it has logged.
fn log(guest: &mut LinuxGuest) -> String {
    guest
        .job_output(JOB)
        .unwrap_or_else(|error| format!("{error:#}"))
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
