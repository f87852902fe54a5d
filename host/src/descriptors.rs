//! How many file descriptors the backend needs, and whether its limit allows that.
//!
//! A backend that runs out of them serves some vSSDs and not others, and a frontend that is not
//! served hangs. So the limit is checked for all vSSDs before any of them is served.

use crate::transport::Transport;
use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a vSSD without a connection.
pub const IDLE: u64 = 2;

/// Further descriptors of one whose frontend is connected and has set up all queues, without those
/// of the guest's memory.
pub const CONNECTED: u64 = 22;

/// The same of one with an agent and no request queue yet, the connection of the agent included.
pub const CONNECTED_TO_AGENT: u64 = 13;

/// The socket of an agent.
pub const AGENT_SOCKET: u64 = 1;

/// Those of a request queue of a vSSD with an agent: its kick and its call.
pub const QUEUE: u64 = 2;

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

/// What vSSDs with these transports need, all of them connected.
pub fn needed<'a>(vssds: impl IntoIterator<Item = &'a Transport>) -> u64 {
    let clients = CONTROL_CLIENTS + METRICS_CLIENTS;
    let of = |vssd: &Transport| match vssd {
        Transport::Virtqueues => IDLE + CONNECTED,
        Transport::Stream { queues, .. } => {
            IDLE + AGENT_SOCKET + CONNECTED_TO_AGENT + u64::from(*queues) * QUEUE
        }
    };
    let vssds = vssds.into_iter().map(|vssd| of(vssd) + REGIONS);
    PROCESS + clients as u64 + vssds.sum::<u64>()
}

/// Makes sure that vSSDs with these transports can all be served.
///
/// # Errors
/// When the limit of this process is lower than what they need.
pub fn ensure_enough<'a>(vssds: impl IntoIterator<Item = &'a Transport>) -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current;
    check(vssds, limit)
}

fn check<'a>(vssds: impl IntoIterator<Item = &'a Transport>, limit: Option<u64>) -> Result<()> {
    let mut count = 0_usize;
    let needed = needed(vssds.into_iter().inspect(|_| count += 1));
    ensure!(
        limit.is_none_or(|limit| needed <= limit),
        "{count} vSSDs need {needed} file descriptors, but the limit is {}: raise it with \
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
        let [none, one] = [0, 1].map(|count| needed(&vec![Transport::Virtqueues; count]));
        let agent = |queues| Transport::Stream {
            agent: "agent.sock".into(),
            queues,
        };
        let [first, second] = [1, 2].map(|queues| needed([&agent(queues)]) - none);
        let each = second - first;
        for text in [
            format!("{none} + {} N file descriptors", one - none),
            format!("{} + {each} Q", first - each),
        ] {
            let page = include_str!("../../docs/src/start/operate.md");
            assert!(page.contains(&text), "{text}");
        }
    }

    #[test]
    fn the_limit_is_exact() {
        let vssds = [const { Transport::Virtqueues }; 60];
        let most = needed(&vssds);
        check(&vssds, None).unwrap();
        check(&vssds, Some(most)).unwrap();
        let refusal = check(&vssds, Some(most - 1)).unwrap_err().to_string();
        let begin = format!("60 vSSDs need {most} file descriptors, but");
        assert!(refusal.starts_with(&begin), "{refusal}");
    }
}
