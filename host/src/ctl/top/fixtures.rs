//! A backend's state for tests.

use std::collections::BTreeMap;

use super::summary::{History, Row, Snapshot, Summary};
use crate::balancer::Standing;
use crate::control::protocol::{
    AdviceStatus, ArbiterStatus, Connection, CountersStatus, DecisionStatus, EncodingName,
    OperationLatency, PoolStatus, ShareStatus, Status, TrackerName, TrackerStatus, TransportName,
    UnderWay, VssdStatus,
};
use crate::latency::Operation;

/// A backend that has been up for so long.
pub(super) fn snapshot(uptime_ms: u64, vssds: Vec<VssdStatus>) -> Snapshot {
    Snapshot {
        status: Status {
            version: "0.1.0".to_owned(),
            pid: 7,
            uptime_ms,
            panics: 0,
            backing: "ssd.img".to_owned(),
            pool: PoolStatus {
                block_size: 4096,
                physical_blocks: 1 << 20,
                free: 1 << 18,
                deferred: 0,
                reserved: 0,
                committed: 3 << 18,
                limit: 1 << 20,
                commits: 0,
                journal_bytes: 0,
                compactions: 0,
                media: None,
            },
            vssds,
            unserved: Vec::new(),
        },
        arbiter: None,
    }
}

/// A vSSD of 4 GiB that holds 1 GiB of it, with a driver, and did nothing so far.
pub(super) fn vssd(name: &str) -> VssdStatus {
    VssdStatus {
        name: name.to_owned(),
        socket: format!("{name}.sock"),
        block_size: 4096,
        capacity: 1 << 20,
        held: 1 << 18,
        quota: 3 << 18,
        reservation: 0,
        used: 0,
        digest: "0".repeat(16),
        target: 1 << 18,
        agreed: true,
        connected: true,
        connection: Connection::Connected,
        peer_pid: None,
        draining: false,
        restarts: 0,
        driver: true,
        transport: TransportName::Virtqueues,
        request_queues: 1,
        agent: None,
        encoding: EncodingName::Compact,
        advice: AdviceStatus::default(),
        tracker: TrackerStatus {
            kind: TrackerName(None),
            memory_bytes: 0,
        },
        resize: None,
        last_resize: None,
        counters: CountersStatus::default(),
        rates: Vec::new(),
        latency: Operation::ALL
            .map(|operation| OperationLatency {
                operation,
                buckets: Vec::new(),
            })
            .to_vec(),
    }
}

/// What was read twice, a second apart: a busy vSSD that grows, an idle one without a driver, and
/// one that was just added.
pub(super) fn sample() -> Summary {
    let share = |name: &str, wanted, hit_ratio| ShareStatus {
        name: name.to_owned(),
        standing: Standing::Active,
        held: 1 << 18,
        wanted,
        weight: 1,
        reservation: 0,
        limit: 3 << 18,
        hit_ratio_goal: None,
        hit_ratio,
        curve: true,
        advice: AdviceStatus::default(),
        decisions: BTreeMap::new(),
        last: None,
    };
    let arbiter = ArbiterStatus {
        policy: "mrc".parse().unwrap(),
        period: "10s".parse().unwrap(),
        pick: "guest".parse().unwrap(),
        periods: 6,
        block_size: 4096,
        vssds: vec![
            share("vm1", Some(3 << 17), Some(0.25)),
            share("vm2", None, None),
        ],
        recent: vec![DecisionStatus {
            ago_ms: 3456,
            line: "vm1: 262144 -> 393216 blocks (mrc: saves 20,000 misses a period)".to_owned(),
            refused: None,
        }],
    };
    let (mut busy, mut plain, mut absent) = (vssd("vm1"), vssd("vm2"), vssd("vm3"));
    plain.driver = false;
    (absent.connection, absent.connected) = (Connection::None, false);
    let before = snapshot(64_000, vec![busy.clone(), plain.clone()]);
    busy.counters.reads = 1000;
    busy.counters.read_bytes = 1000 * 4096;
    busy.counters.writes = 250;
    busy.counters.written_bytes = 250 * 4096;
    busy.latency[0].buckets = vec![(50_000, 1000)];
    busy.latency[1].buckets = vec![(60_000, 200), (400_000, 50)];
    busy.resize = Some(UnderWay {
        id: 1,
        from: 1 << 18,
        target: 3 << 17,
        phase: "moving".to_owned(),
        elapsed_ms: 10,
    });
    let mut now = snapshot(65_000, vec![busy, plain, absent]);
    now.arbiter = Some(arbiter);
    let mut history = History::default();
    history.next(before);
    history.next(now)
}

/// A row with so many reads a second.
pub(super) fn busy(name: &str, reads: u32) -> Row {
    let mut row = sample().vssds.remove(0);
    row.name = name.to_owned();
    if let Some(rates) = &mut row.rates {
        rates.reads.requests = reads.into();
    }
    row
}
