//! What replies report: the state of the backend, of its pool and of its vSSDs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vssd::advice::Advice;
use vssd::demand::{ALL_MISS, Demand, Point};
use vssd::device::End;

use super::{EncodingName, TrackerName};
use crate::emulation::Wear;
use crate::latency::{self, Activity, Bucket, Histogram, Operation};
use crate::vssd::{COMPLETE, Vssd};

/// The result of adding a vSSD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Whether it was created: the pool did not have it.
    pub new: bool,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// How long requests of a vSSD took and had to wait, since the last reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// By what the device was doing: each activity once.
    pub activities: Vec<ActivityLatency>,
}

/// How long requests took and had to wait during one activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityLatency {
    /// The activity.
    pub activity: Activity,
    /// By what requests were for: each operation once.
    pub operations: Vec<OperationLatency>,
    /// The longest time for which a request waited for the pool's state,
    /// nanoseconds.
    pub longest_stall_ns: u64,
}

impl ActivityLatency {
    /// Service times of all its requests.
    pub fn service(&self) -> Histogram {
        let mut service = latency::histogram();
        for of in &self.operations {
            latency::add(&mut service, &of.buckets);
        }
        service
    }
}

/// How long requests of one operation took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationLatency {
    /// The operation.
    pub operation: Operation,
    /// Service times of requests that succeeded: lowest of a bucket, nanoseconds, and
    /// count.
    pub buckets: Vec<Bucket>,
}

impl OperationLatency {
    /// These times.
    pub fn new(operation: Operation, service: &Histogram) -> Self {
        Self {
            operation,
            buckets: latency::buckets(service),
        }
    }
}

/// What a guest's application demanded since its last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemandStatus {
    /// Accesses, of blocks.
    pub accesses: u64,
    /// Those that hit.
    pub hits: u64,
    /// Those that wrote.
    pub writes: u64,
    /// Its miss-ratio curve; empty if it is not known.
    pub curve: Vec<CurvePoint>,
    /// The same of reads alone, whose misses are all accesses that are no read hits.
    pub reads: Vec<CurvePoint>,
}

/// How often accesses miss with so many blocks or more, up to the next point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The number of blocks.
    pub blocks: u32,
    /// Misses in a million accesses.
    pub misses_ppm: u32,
}

impl From<&Demand> for DemandStatus {
    fn from(demand: &Demand) -> Self {
        let points = |points: &[Point]| {
            let point = |of: &Point| CurvePoint {
                blocks: of.blocks,
                misses_ppm: (u64::from(of.misses) * 1_000_000).div_ceil(ALL_MISS.into()) as u32,
            };
            points.iter().map(point).collect()
        };
        Self {
            accesses: demand.accesses,
            hits: demand.hits,
            writes: demand.writes,
            curve: points(&demand.curve),
            reads: points(&demand.reads),
        }
    }
}

/// What a vSSD did in each of the last seconds, on average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Over how many seconds.
    pub seconds: f64,
    /// Reads a second.
    pub reads: f64,
    /// Bytes read a second.
    pub read_bytes: f64,
    /// Writes a second.
    pub writes: f64,
    /// Bytes written a second.
    pub written_bytes: f64,
}

/// The state of the backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the backend.
    pub version: String,
    /// Its process.
    #[serde(default)]
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Panics of its threads.
    pub panics: u64,
    /// The backing file or device.
    pub backing: String,
    /// What is used of the pool.
    pub pool: PoolStatus,
    /// Each vSSD.
    pub vssds: Vec<VssdStatus>,
    /// Each vSSD of the pool that is not served.
    pub unserved: Vec<Unserved>,
}

/// A vSSD of the pool that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    /// Its name.
    pub name: String,
    /// Blocks at full size.
    pub capacity: u32,
    /// Blocks that it holds.
    pub held: u32,
    /// Blocks that were written.
    pub used: u32,
}

/// What is used of a pool, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Bytes in a block.
    pub block_size: u32,
    /// Physical blocks in the pool.
    pub physical_blocks: u32,
    /// Free physical blocks, which writes can take at once.
    pub free: u32,
    /// Physical blocks whose release is not durable yet. A write that needs one waits for that.
    pub deferred: u32,
    /// Physical blocks reserved for vSSDs that do not use them yet.
    pub reserved: u64,
    /// Blocks that vSSDs hold, or have reserved if that is more.
    pub committed: u64,
    /// Blocks that may be committed: physical blocks times the overcommit factor.
    pub limit: u64,
    /// Commits to the journal since the backend started.
    pub commits: u64,
    /// Bytes of these.
    pub journal_bytes: u64,
    /// Compactions of the journal.
    pub compactions: u64,
    /// Wear of the emulated medium, if there is one.
    pub media: Option<Wear>,
}

/// The state of a vSSD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VssdStatus {
    /// Its name.
    pub name: String,
    /// Where its frontend connects.
    pub socket: String,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks at full size.
    pub capacity: u32,
    /// Blocks that the guest holds.
    pub held: u32,
    /// Blocks that it may hold.
    pub quota: u32,
    /// Physical blocks that are kept for it.
    pub reservation: u32,
    /// Physical blocks that it uses: blocks that were written.
    pub used: u32,
    /// Digest of the list of these (SPEC.md, 4.9), 16 hexadecimal digits.
    pub digest: String,
    /// Blocks that it is to hold.
    pub target: u32,
    /// Whether the driver confirmed that its list is the same.
    pub agreed: bool,
    /// Whether a frontend is connected.
    pub connected: bool,
    /// The same, but distinguishing a client that has not sent anything yet.
    pub connection: Connection,
    /// The process that connected, as far as that is known.
    pub peer_pid: Option<u32>,
    /// Whether a change of ownership, a reset or a disconnect waits for requests to end.
    pub draining: bool,
    /// Restarts of its server after a thread died.
    pub restarts: u64,
    /// Whether a driver of the vSSD contract answers, an agent included.
    pub driver: bool,
    /// How it would.
    #[serde(default)]
    pub transport: TransportName,
    /// Virtqueues that carry requests.
    #[serde(default = "one")]
    pub request_queues: usize,
    /// The channel of an agent, if it has one.
    #[serde(default)]
    pub agent: Option<AgentStatus>,
    /// How block sets travel.
    pub encoding: EncodingName,
    /// What the arbiter advises the cache on it.
    #[serde(default)]
    pub advice: AdviceStatus,
    /// What is tracked of requests, and the memory that takes in bytes.
    #[serde(rename = "observer")]
    pub tracker: TrackerStatus,
    /// The resize under way.
    pub resize: Option<UnderWay>,
    /// The resize that ended last.
    pub last_resize: Option<Resized>,
    /// What it has done since the backend started.
    pub counters: CountersStatus,
    /// What it did in the last second, and in the last ten.
    pub rates: Vec<Rate>,
    /// How long its requests took since the last reset: each operation once.
    pub latency: Vec<OperationLatency>,
}

impl VssdStatus {
    /// The guest, in a word: `none`, `connecting`, `plain`, `vssd` if its driver answers, or `agent`
    /// if its agent does.
    pub fn guest(&self) -> &'static str {
        match (self.connection, self.driver) {
            (_, true) if self.agent.is_some() => "agent",
            (Connection::None, _) => "none",
            (Connection::Connecting, _) => "connecting",
            (Connection::Connected, false) => "plain",
            (Connection::Connected, true) => "vssd",
        }
    }
}

fn one() -> usize {
    1
}

/// How the messages of the contract travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportName {
    /// By virtqueues, to a driver.
    #[default]
    Virtqueues,
    /// By a byte stream, to an agent.
    Stream,
}

/// The channel of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Where the frontend connects the serial port.
    pub socket: String,
    /// What is connected there.
    pub connection: AgentConnection,
    /// The process that connected, as far as that is known.
    pub peer_pid: Option<u32>,
}

/// The client of an agent's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentConnection {
    /// No client.
    None,
    /// A frontend, and no agent has opened its port since it connected.
    Port,
    /// A frontend whose port an agent opened. Whether it still answers is `driver`.
    Agent,
}

impl AgentStatus {
    /// That of `vssd`.
    pub(in crate::control) fn of(vssd: &Vssd) -> Option<Self> {
        let socket = vssd.transport.agent_socket()?;
        let peer = vssd.agent();
        Some(Self {
            socket: socket.display().to_string(),
            connection: match (peer.connected, peer.open) {
                (false, _) => AgentConnection::None,
                (true, false) => AgentConnection::Port,
                (true, true) => AgentConnection::Agent,
            },
            peer_pid: peer.pid,
        })
    }
}

/// What a cache is advised to keep off its vSSD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdviceStatus {
    /// Written blocks.
    pub bypass_writes: bool,
    /// Blocks that miss for the first time in a while.
    pub admit_reused: bool,
}

impl From<Advice> for AdviceStatus {
    fn from(advice: Advice) -> Self {
        Self {
            bypass_writes: advice.bypass_writes,
            admit_reused: advice.admit_reused,
        }
    }
}

impl From<AdviceStatus> for Advice {
    fn from(status: AdviceStatus) -> Self {
        Self {
            bypass_writes: status.bypass_writes,
            admit_reused: status.admit_reused,
        }
    }
}

/// The client of a vSSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connection {
    /// No client.
    None,
    /// A client that has not sent anything yet, and is disconnected after a few seconds.
    Connecting,
    /// A frontend.
    Connected,
}

impl Connection {
    /// That of `vssd`.
    pub(in crate::control) fn of(vssd: &Vssd) -> Self {
        match (vssd.is_connected(), vssd.peer().connecting) {
            (_, true) => Self::Connecting,
            (true, false) => Self::Connected,
            (false, false) => Self::None,
        }
    }
}

/// What is tracked of the requests to a vSSD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerStatus {
    /// For which pick.
    pub kind: TrackerName,
    /// Memory that it takes, bytes.
    pub memory_bytes: u64,
}

/// A resize that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its number.
    pub id: u64,
    /// Blocks held when it started.
    pub from: u32,
    /// Blocks that are to be held.
    pub target: u32,
    /// `moving`, or `settling` when only the driver's confirmation is missing.
    pub phase: String,
    /// Milliseconds since it started.
    pub elapsed_ms: u64,
}

/// A resize that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// Its number.
    pub id: u64,
    /// Blocks held when it started.
    pub from: u32,
    /// Blocks that were to be held.
    pub target: u32,
    /// Blocks held when it ended.
    pub held: u32,
    /// Blocks revoked: taken without the guest's consent.
    pub revoked: u32,
    /// Bytes in a block.
    pub block_size: u32,
    /// SURRENDERs and ACCEPTs carried out.
    pub exchanges: u32,
    /// `complete`, `declined`, `cancelled`, `deadline` or `storage`.
    pub end: String,
    /// Whether the driver confirmed the list that resulted.
    pub agreed: bool,
    /// From its start to its end, nanoseconds.
    pub elapsed_ns: u64,
    /// Of that, work of the device, nanoseconds.
    pub device_ns: u64,
    /// Bytes of the commands and responses of the driver meanwhile.
    pub message_bytes: u64,
    /// Whether blocks that the guest's agent did not give were left to it, because taking them needs
    /// `force`.
    #[serde(default)]
    pub withheld: bool,
}

impl Resized {
    /// True when all that was asked for moved.
    pub fn is_complete(&self) -> bool {
        self.end == COMPLETE
    }
}

/// The label of an end.
pub(in crate::control) fn end_label(end: End) -> &'static str {
    match end {
        End::Complete => COMPLETE,
        End::Partial(shortfall) => shortfall.label(),
    }
}

/// What a vSSD has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountersStatus {
    /// Reads that succeeded.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Writes that succeeded.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Discards and write-zeroes.
    pub zeroings: u64,
    /// Flushes.
    pub flushes: u64,
    /// Requests that the backing failed.
    pub io_errors: u64,
    /// Requests that found no room in the pool.
    pub no_space: u64,
    /// Descriptor chains that were not a request.
    pub bad_chains: u64,
    /// Bytes on the agent's channel that were no frame, by the pieces that they came in.
    #[serde(default)]
    pub bad_frames: u64,
    /// Commands of the driver that were carried out.
    pub commands: u64,
    /// Waits that a busy-poll ended.
    pub polls_found: u64,
    /// Waits whose busy-poll found nothing, so that the backend slept.
    pub polls_vain: u64,
    /// Resizes that ended.
    pub resizes: u64,
    /// The same by how they ended; only ends that occurred.
    pub resize_ends: BTreeMap<String, u64>,
    /// Blocks given up or taken.
    pub surrendered: u64,
    /// Of these, blocks that were taken by force, in resizes that ended.
    #[serde(default)]
    pub revoked: u64,
    /// Blocks given back.
    pub granted: u64,
    /// Refused requests and commands, by reason; only reasons that occurred.
    pub rejects: BTreeMap<String, u64>,
}
