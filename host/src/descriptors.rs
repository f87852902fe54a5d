//! How many file descriptors the backend needs, and whether its limit allows that.
//!
//! A backend that runs out of them serves some vSSDs and not others, and a frontend that is not
//! served hangs. So the limit is checked for all vSSDs before any of them is served.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a vSSD without a connection.
pub const IDLE: u64 = 2;

/// Further descriptors of one whose frontend is connected and has set up all queues, without those
/// of the guest's memory.
pub const CONNECTED: u64 = 22;

/// Memory regions that are allowed for, each with a descriptor. A frontend has no more unless
/// memory is plugged in (`VHOST_USER_MEMORY_BASELINE_NREGIONS`).
pub const REGIONS: u64 = 8;

/// Those of the process: standard streams, the pool, the control socket and its like; and for
/// what comes and goes, such as the regions of a memory table that replaces another.
pub const PROCESS: u64 = 64;

/// Clients of the control socket at a time.
pub const CONTROL_CLIENTS: usize = 64;

/// Clients of the metrics at a time; more are disconnected.
pub const METRICS_CLIENTS: usize = 16;

/// Raises the limit of this process as far as permitted.
///
/// # Errors
/// When the system refuses.
pub fn raise_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).with_context(|| {
        let shown = |limit: Option<u64>| limit.map_or("none".to_owned(), |n| n.to_string());
        let (soft, hard) = (shown(limit.current), shown(limit.maximum));
        format!("raise the limit of open files from {soft} to {hard}")
    })
}

/// What `vssds` vSSDs need, all of them connected.
pub fn needed(vssds: usize) -> u64 {
    let clients = CONTROL_CLIENTS + METRICS_CLIENTS;
    PROCESS + clients as u64 + vssds as u64 * (IDLE + CONNECTED + REGIONS)
}

/// Makes sure that `vssds` vSSDs can all be served.
///
/// # Errors
/// When the limit of this process is lower than what they need.
pub fn ensure_enough(vssds: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current;
    check(vssds, limit)
}

fn check(vssds: usize, limit: Option<u64>) -> Result<()> {
    let needed = needed(vssds);
    ensure!(
        limit.is_none_or(|limit| needed <= limit),
        "{vssds} vSSDs need {needed} file descriptors, but the limit is {}: raise it with \
         `ulimit -n {needed}` or LimitNOFILE={needed}",
        limit.unwrap_or_default()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_has_the_numbers() {
        let [none, one] = [0, 1].map(needed);
        let text = format!("{none} + {} N file descriptors", one - none);
        assert!(
            include_str!("../../docs/src/start/operate.md").contains(&text),
            "{text}"
        );
    }

    #[test]
    fn the_limit_is_exact() {
        check(60, None).unwrap();
        check(60, Some(needed(60))).unwrap();
        let refusal = check(60, Some(needed(60) - 1)).unwrap_err().to_string();
        let begin = format!("60 vSSDs need {} file descriptors, but", needed(60));
        assert!(refusal.starts_with(&begin), "{refusal}");
    }
}
