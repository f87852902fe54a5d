//! Rows of synthetic runs.

use crate::experiments::blockcache::rows::{BlockCacheRow, BlockCacheSimRow, BlockCacheTimingRow};
use crate::experiments::correctness::rows::{CorrectnessRow, Direction};
use crate::experiments::direct_io::rows::DirectIoRow;
use crate::experiments::eviction::picker::Picker;
use crate::experiments::eviction::rows::{EvictionBlockRow, EvictionRow, PickerRow};
use crate::experiments::eviction::sweep_table::{SweepRow, SweepTable};
use crate::experiments::latency::rows::{
    LatencyBucketRow, LatencyCycleRow, LatencyPhase, LatencyRow, Side,
};
use crate::experiments::media::rows::MediaRow;
use crate::experiments::overhead::rows::OverheadTimingRow;
use crate::experiments::sharing::rows::{SharingCheckRow, SharingRow};
use crate::experiments::writepolicy::rows::{
    WritePolicyCrashRow, WritePolicyRow, WritePolicySampleRow,
};
use workloads::{GuestPick, HostPick};

pub(super) const CAPACITY: u32 = 262_144;

pub(super) fn correctness_rows(steps: &[(&str, f64)]) -> Vec<CorrectnessRow> {
    let mut rows: Vec<CorrectnessRow> = Vec::new();
    for (i, (part, share)) in steps.iter().enumerate() {
        let balloon = (f64::from(CAPACITY) * share) as u32;
        rows.push(CorrectnessRow {
            step: i as u32,
            part: (*part).to_owned(),
            pick: "random".to_owned(),
            direction: Direction::Shrink,
            capacity_blocks: CAPACITY,
            balloon_wanted_blocks: balloon,
            balloon_blocks: balloon,
            digest: String::new(),
            enforce: "driver".to_owned(),
            read_errors: balloon,
            refused_by_driver: balloon,
            refused_by_device: 0,
            intact_blocks: CAPACITY - balloon,
            corrupt_blocks: 0,
            unexpected_blocks: 0,
            lists_equal: true,
            inflight_errors: 0,
        });
    }
    rows
}

pub(super) fn quick_walk() -> Vec<CorrectnessRow> {
    let walk = [
        0.0, 0.06, 0.12, 0.25, 0.5, 0.75, 0.94, 1.0, 0.62, 0.31, 0.12, 0.0,
    ];
    let mut steps: Vec<(&str, f64)> = walk.map(|share| ("walk", share)).to_vec();
    steps.push(("refill", 0.0));
    steps.extend([0.55, 0.2, 0.43, 0.07, 0.6, 0.31].map(|share| ("random", share)));
    correctness_rows(&steps)
}

/// A bell of reads over the block numbers, a share of which misses.
pub(super) fn eviction_blocks(step: usize) -> Vec<EvictionBlockRow> {
    (0..56_000)
        .step_by(step)
        .map(|block: u32| {
            let distance = (f64::from(block) - 20_000.0) / 8192.0;
            let reads = (12.0 * (-distance * distance / 2.0).exp()) as u32;
            let missed = block % 4 == 1;
            EvictionBlockRow {
                block,
                guest_hits: if reads == 0 { 0 } else { reads },
                guest_misses: u32::from(reads == 0),
                hypervisor_hits: if missed { 0 } else { reads.max(1) },
                hypervisor_misses: if missed { reads.max(1) } else { 0 },
            }
        })
        .collect()
}

pub(super) fn eviction_rows() -> Vec<EvictionRow> {
    [("guest", 212), ("hypervisor", 49_873)]
        .map(|(who, misses)| EvictionRow {
            managed_by: who.to_owned(),
            capacity_blocks: CAPACITY,
            held_blocks: CAPACITY / 4 * 3,
            surrendered_blocks: 0,
            revoked_blocks: 0,
            sample_draws: 0,
            reads: 200_000,
            hits: 200_000 - misses,
            misses,
            errors: 0,
        })
        .to_vec()
}

pub(super) fn overhead_rows() -> Vec<OverheadTimingRow> {
    let mut rows = Vec::new();
    for (encoding, pick, cost) in [
        ("compact", "highest", 0.02),
        ("compact", "scattered", 0.6),
        ("list-4096", "highest", 210.0),
        ("list-4096", "scattered", 260.0),
    ] {
        for mib in [64u32, 256, 1024, 4096, 16_384, 31 * 1024] {
            let blocks = mib << 8;
            let ns = (400_000.0 + f64::from(blocks) * cost) as u64;
            rows.push(OverheadTimingRow {
                encoding: encoding.to_owned(),
                pick: pick.to_owned(),
                repetition: 2,
                block_size_bytes: 4096,
                capacity_blocks: 8 << 20,
                blocks,
                shrink_ns: ns,
                shrink_device_ns: ns / 2,
                shrink_exchanges: 1,
                grow_ns: ns * 9 / 10,
                grow_device_ns: ns / 2,
            });
        }
    }
    rows
}

/// Stalls of each phase, the longest during the shrink.
pub(super) fn latency_rows() -> Vec<LatencyRow> {
    let mut rows = Vec::new();
    for encoding in ["compact", "list-4096"] {
        for side in Side::ALL {
            for phase in LatencyPhase::ALL {
                let resizes = matches!(phase, LatencyPhase::Shrink | LatencyPhase::Grow);
                rows.push(LatencyRow {
                    encoding: encoding.to_owned(),
                    cycle: 0,
                    side,
                    phase,
                    requests: 0,
                    p50_ns: 0,
                    p99_ns: 0,
                    p999_ns: 0,
                    max_ns: 0,
                    longest_stall_ns: match (side, resizes) {
                        (Side::Backend, false) => 0,
                        _ => 1_000_000 * (3 - (phase as u64).min(2)),
                    },
                    phase_ns: 1,
                });
            }
        }
    }
    rows
}

pub(super) fn latency_buckets() -> Vec<LatencyBucketRow> {
    let mut rows = Vec::new();
    for encoding in ["compact", "list-4096"] {
        for side in Side::ALL {
            for step in 0..40u32 {
                let count = 100_000 >> (step / 2);
                rows.push(LatencyBucketRow {
                    encoding: encoding.to_owned(),
                    side,
                    value_ns: 100_000 + 20_000 * u64::from(step),
                    before: count,
                    shrink: count / 50,
                    between: count,
                    grow: count / 50,
                    after: count,
                });
            }
        }
    }
    rows
}

pub(super) fn latency_cycles() -> Vec<LatencyCycleRow> {
    vec![LatencyCycleRow {
        encoding: "compact".to_owned(),
        cycle: 0,
        pick: "scattered".to_owned(),
        filled: false,
        block_size_bytes: 4096,
        blocks: 1 << 19,
        depth: 32,
        requests: 1,
        failed: 0,
        shrink_ns: 1,
        shrink_exchanges: 1,
        grow_ns: 1,
        grow_exchanges: 1,
        agreed: true,
    }]
}

/// Two VMs, of which the one gives what the other takes.
pub(super) fn sharing_rows() -> Vec<SharingRow> {
    let mut rows = Vec::new();
    for step in 0..40u32 {
        for (vssd, kind) in [("vm1", "shrink"), ("vm2", "grow")] {
            let (from, to) = match kind {
                "shrink" => (100_000 - 1000 * step, 99_000 - 1000 * step),
                _ => (50_000 + 1000 * step, 51_000 + 1000 * step),
            };
            rows.push(SharingRow {
                round: step / 10,
                vssd: vssd.to_owned(),
                kind: kind.to_owned(),
                cancelled: false,
                from_blocks: from,
                target_blocks: to,
                held_blocks: to,
                revoked_blocks: 0,
                ended: "complete".to_owned(),
                agreed: true,
                at_ns: 1_000_000 * u64::from(step + 1),
                elapsed_ns: 100_000,
            });
        }
    }
    rows
}

pub(super) fn sharing_checks() -> Vec<SharingCheckRow> {
    let mut rows = Vec::new();
    for (round, after) in (0..).zip(["start", "calm", "rebooted", "backend-restarted"]) {
        for vssd in ["vm1", "vm2"] {
            rows.push(SharingCheckRow {
                round,
                after: after.to_owned(),
                vssd: vssd.to_owned(),
                at_ns: 10_000_000 * u64::from(round),
                capacity_blocks: CAPACITY,
                held_blocks: 75_000,
                held_by_all_blocks: 150_000,
                limit_blocks: 160_000,
                lists_equal: true,
                own_blocks: 70_000,
                zero_blocks: 5_000,
                foreign_blocks: 0,
                unexpected_blocks: 0,
                inflight_requests: 1000,
                inflight_errors: 0,
            });
        }
    }
    rows
}

pub(super) fn direct_io_rows() -> Vec<DirectIoRow> {
    let mut rows = Vec::new();
    for mode in ["direct", "buffered"] {
        for (step, phase) in (0..).zip(["before", "write", "write", "read", "after"]) {
            let moved = (64 << 20) * step;
            rows.push(DirectIoRow {
                mode: mode.to_owned(),
                phase: phase.to_owned(),
                at_ns: 20_000_000 * step,
                resident_bytes: if mode == "direct" { 0 } else { moved },
                moved_bytes: moved,
                vssd_bytes: 256 << 20,
            });
        }
    }
    rows
}

pub(super) fn media_rows() -> Vec<MediaRow> {
    let mut rows = Vec::new();
    for (medium, ns) in [("none", 80_000), ("hdd", 5_000_000), ("pcm", 500)] {
        for side in ["model", "client", "guest"] {
            for op in ["read", "write"] {
                rows.push(MediaRow {
                    medium: medium.to_owned(),
                    side: side.to_owned(),
                    op: op.to_owned(),
                    depth: 1,
                    requests: 100,
                    elapsed_ns: 100 * ns,
                    min_ns: ns,
                    p50_ns: ns,
                    p99_ns: ns,
                });
            }
        }
    }
    rows
}

/// Ten policies that differ a little, at four sizes, with two workloads.
pub(super) fn block_cache_rows() -> Vec<BlockCacheRow> {
    let mut rows = Vec::new();
    for workload in ["gaussian:8192,1024", "zipf:0.99"] {
        for slots in [500u32, 1010, 2030, 4070] {
            for (place, policy) in (0u64..).zip(guest_cache::Policy::ALL) {
                rows.push(BlockCacheRow {
                    workload: workload.to_owned(),
                    policy: policy.to_string(),
                    capacity_blocks: slots + 20,
                    metadata_blocks: 20,
                    slots,
                    origin_blocks: 1 << 20,
                    reads: 8000,
                    read_misses: (7000 - 1500 * u64::from(slots.ilog2() - 8)) - 120 * place,
                    writes: 2000,
                    write_misses: 500,
                    beyond: 0,
                    failed: 0,
                    memory_bytes_per_1000: 14_000,
                });
            }
        }
    }
    rows
}

pub(super) fn block_cache_sims() -> Vec<BlockCacheSimRow> {
    let rows = block_cache_rows();
    let bound = |row: &BlockCacheRow| BlockCacheSimRow {
        workload: row.workload.clone(),
        policy: "belady".to_owned(),
        slots: row.slots,
        reads: row.reads,
        read_misses: row.read_misses.saturating_sub(500),
        writes: row.writes,
        write_misses: 400,
    };
    let last = rows.iter().filter(|row| row.policy == "lirs");
    last.map(bound).collect()
}

pub(super) fn block_cache_timings() -> Vec<BlockCacheTimingRow> {
    let mut rows = Vec::new();
    for (slots, hits) in [(1010, 200), (4070, 420)] {
        for (policy, medium) in [("lru", "hdd"), ("s3-fifo", "hdd"), ("lru", "none")] {
            rows.push(BlockCacheTimingRow {
                medium: medium.to_owned(),
                workload: "zipf:0.99".to_owned(),
                policy: policy.to_owned(),
                slots,
                depth: 1,
                accesses: 500,
                failed: 0,
                elapsed_ns: 1_000_000_000,
                hits,
                hit_p50_ns: 180_000,
                hit_p99_ns: 600_000,
                misses: 500 - hits,
                miss_p50_ns: 5_300_000,
                miss_p99_ns: 6_100_000,
            });
        }
    }
    rows
}

pub(super) const WRITE_POLICIES: [(&str, bool); 6] = [
    ("write-through", false),
    ("write-around", false),
    ("read-only", false),
    ("write-back", true),
    ("ordered", true),
    ("journaled", true),
];

pub(super) fn write_policy_rows() -> Vec<WritePolicyRow> {
    WRITE_POLICIES
        .map(|(policy, back)| WritePolicyRow {
            policy: policy.to_owned(),
            medium: "hdd".to_owned(),
            depth: 4,
            slots: 2000,
            reads: 300,
            read_hits: 100,
            writes: 700,
            failed: 0,
            elapsed_ns: if back { 900_000_000 } else { 4_800_000_000 },
            hit_p50_ns: 300_000,
            miss_p50_ns: 5_300_000,
            write_p50_ns: if back { 500_000 } else { 20_100_000 },
            write_p99_ns: if back { 8_000_000 } else { 30_000_000 },
            stale_ns_max: if back { 500_000_000 } else { 0 },
            dirty_max_blocks: if back { 400 } else { 0 },
            written_back_blocks: 10,
            write_back_ns: 1,
        })
        .to_vec()
}

pub(super) fn write_policy_samples() -> Vec<WritePolicySampleRow> {
    let mut rows = Vec::new();
    for (place, (policy, back)) in (1u64..).zip(WRITE_POLICIES) {
        for step in 1..=20u64 {
            rows.push(WritePolicySampleRow {
                policy: policy.to_owned(),
                accesses: 50 * step,
                at_ns: 40_000_000 * step * if back { 1 } else { 6 },
                dirty_blocks: if back { (place * 5 * step) as u32 } else { 0 },
                stale_ns: if back { 30_000_000 * step } else { 0 },
            });
        }
    }
    rows
}

pub(super) fn write_policy_crashes() -> Vec<WritePolicyCrashRow> {
    let mut rows = Vec::new();
    for crash in 0..3 {
        for (place, (policy, back)) in (0u64..).zip(WRITE_POLICIES) {
            for looked in ["origin", "warm", "recovered"] {
                if looked == "recovered" && policy != "journaled" {
                    continue;
                }
                let alone = back && looked != "warm";
                rows.push(WritePolicyCrashRow {
                    policy: policy.to_owned(),
                    crash,
                    place: looked.to_owned(),
                    depth: 1,
                    acknowledged: 500,
                    flushed: 450,
                    blocks: 1500,
                    bad_blocks: 0,
                    lost_blocks: 0,
                    newest: 501,
                    missing: if alone {
                        300 + 10 * place + u64::from(crash)
                    } else {
                        0
                    },
                    missing_flushed: 0,
                    stale_blocks: 0,
                    is_prefix: policy != "write-back",
                    restored: 0,
                    restored_dirty: 0,
                });
            }
        }
    }
    rows
}

pub(super) fn picker_rows(seeds: u64) -> Vec<PickerRow> {
    let misses = [
        1_800, 1_700, 1_750, 1_650, 0, 49_900, 1_810, 6_200, 0, 36_800,
    ];
    let of_seed = |seed| {
        Picker::ALL
            .into_iter()
            .zip(misses)
            .map(move |(picker, misses)| {
                let misses = misses + misses / 97 * seed;
                PickerRow {
                    seed,
                    picker,
                    capacity_blocks: CAPACITY,
                    held_blocks: CAPACITY / 4 * 3,
                    reads: 200_000,
                    hits: 200_000 - misses,
                    misses,
                }
            })
    };
    (0..seeds).flat_map(of_seed).collect()
}

/// A sweep over as many axes as there are names, of three values each but the
/// last, which lacks its last value at one point.
pub(super) fn sweep_table(axes: &[&str]) -> SweepTable {
    let mut rows = Vec::new();
    let points = 3u32.pow(axes.len() as u32);
    for point in 0..points - 1 {
        let value = |axis: usize| point / 3u32.pow((axes.len() - 1 - axis) as u32) % 3;
        let values: Vec<u32> = (0..axes.len()).map(value).collect();
        for seed in 0..4 {
            let saved = 3_000 * u64::from(values.iter().sum::<u32>()) + 10 * seed;
            for (picker, misses) in [
                (Picker::Guest(GuestPick::Sample), 11_000 - saved.min(11_000)),
                (Picker::Host(HostPick::Uniform), 5_000),
            ] {
                rows.push(SweepRow {
                    point,
                    values: values.iter().map(|v| format!("v{v}")).collect(),
                    seed,
                    picker,
                    reads: 20_000,
                    hits: 20_000 - misses,
                    misses,
                });
            }
        }
    }
    SweepTable {
        axes: axes.iter().map(|axis| (*axis).to_owned()).collect(),
        rows,
    }
}
