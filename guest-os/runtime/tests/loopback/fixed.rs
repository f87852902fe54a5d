//! Disks of fixed size: no vSSD, one with too few queues, or one of another version.

use guest_runtime::port::{Exit, feature};
use guest_runtime::shape::{DiskKind, discover};
use vssd::units::Geometry;
use vssd::wire::{Encoding, mark};
use workloads::{Report, report};

use crate::world::{Bytes, MemoryDisk, Twin, twin};

const BLOCKS: u32 = 1000;

/// A guest on a disk of this kind.
fn fixed(kind: DiskKind, then: &'static str) -> Twin {
    let mut twin = twin(BLOCKS, Encoding::Compact, vec![], then);
    match kind {
        DiskKind::Vssd => {}
        DiskKind::VssdOfQueues(queues) => twin.port.queues = queues,
        DiskKind::VssdOfVersion(version) => {
            twin.port.mark[4..6].copy_from_slice(&version.to_le_bytes());
            twin.port.queues = 1;
        }
        DiskKind::Plain => {
            twin.port.mark = [0; 8];
            twin.port.queues = 1;
        }
    }
    twin
}

fn kinds() -> [DiskKind; 4] {
    [
        DiskKind::VssdOfQueues(1),
        DiskKind::VssdOfQueues(2),
        DiskKind::VssdOfVersion(9),
        DiskKind::Plain,
    ]
}

fn failures(reports: &[Report]) -> Vec<&str> {
    let reasons = reports.iter().filter_map(|report| match report {
        Report::Failed(report::Failed { reason, .. }) => Some(reason.as_str()),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn a_disk_of_fixed_size_is_filled_checked_read_and_flushed() {
    for kind in kinds() {
        let mut twin = fixed(kind, "exit\n");
        let script = "info; fill seed=3; verify; read workload=uniform count=500; \
                      stress count=300 writes=50; flush; verify enforce=device";
        assert_eq!(guest_runtime::run(&mut twin, script), Exit::Success);
        assert_eq!(failures(&twin.reports), [""; 0], "{kind}");
        let of = |wanted: fn(&Report) -> bool| {
            let mut found = twin.reports.iter().filter(|report| wanted(report));
            found.next_back().unwrap().clone()
        };
        assert!(matches!(
            of(|report| matches!(report, Report::Ready(_))),
            Report::Ready(report::Ready { disk, capacity: BLOCKS, held: BLOCKS, .. }) if disk == kind
        ));
        let info = of(|report| matches!(report, Report::Info(_)));
        assert!(
            matches!(info, Report::Info(report::Info { disk, held: BLOCKS, read_only: false, .. }) if disk == kind)
        );
        assert!(info.to_string().contains(&kind.to_string()), "{info}");
        assert!(matches!(
            of(|report| matches!(report, Report::Verified(_))),
            Report::Verified(report::Verified { ok: BLOCKS, .. })
        ));
        assert!(matches!(
            of(|report| matches!(report, Report::Read(_))),
            Report::Read(report::Read { hits: 500, .. })
        ));
        assert!(matches!(
            of(|report| matches!(report, Report::Stressed(_))),
            Report::Stressed(report::Stressed { errors: 0, corrupt: 0, reads, writes, .. }) if reads + writes == 300
        ));
    }
}

#[test]
fn what_needs_a_resizable_disk_says_what_that_needs() {
    for (kind, words) in kinds().into_iter().zip([
        ["1 queue ", "num-queues=3 on its vhost-user-blk-pci device"],
        ["2 queues", "num-queues=3 on its vhost-user-blk-pci device"],
        ["version 9", "the same release"],
        ["not a vSSD", "num-queues=3"],
    ]) {
        for command in ["wait held=10", "policy pick=random", "hint count=10"] {
            let mut twin = fixed(kind, "exit\n");
            assert_eq!(guest_runtime::run(&mut twin, command), Exit::Success);
            let failures = failures(&twin.reports);
            assert_eq!(failures.len(), 1, "{kind}: {command}");
            for word in words {
                assert!(failures[0].contains(word), "{command}: {failures:?}");
            }
        }
    }
}

/// Of a disk whose size is no number of pages the guest uses all.
#[test]
fn a_disk_that_ends_within_a_page_is_counted_in_smaller_blocks() {
    for (sectors, block_size) in [(7995, 512), (7994, 1024), (7996, 2048), (8000, 4096)] {
        let mut twin = fixed(DiskKind::Plain, "exit\n");
        twin.port.features = feature::FLUSH;
        twin.port.sectors = sectors;
        guest_runtime::run(&mut twin, "fill; verify");
        let blocks = (sectors * 512 / block_size) as u32;
        let verified = twin.reports.iter().any(
            |report| matches!(report, Report::Verified(report::Verified { ok, errors: 0, .. }) if *ok == blocks),
        );
        assert!(verified, "{sectors}: {:?}", twin.reports);
    }
}

#[test]
fn a_read_only_disk_refuses_what_writes() {
    let mut twin = fixed(DiskKind::Plain, "exit\n");
    twin.port.features |= feature::RO;
    let script = "info; verify; stress count=50 writes=0; fill; stress count=9 writes=1";
    guest_runtime::run(&mut twin, script);
    assert_eq!(failures(&twin.reports), ["the disk is read-only"; 2]);
    let read_only = |report: &Report| {
        matches!(
            report,
            Report::Info(report::Info {
                read_only: true,
                ..
            })
        )
    };
    assert!(twin.reports.iter().any(read_only));
    let verified = |report: &Report| {
        matches!(
            report,
            Report::Verified(report::Verified { zeros: BLOCKS, .. })
        )
    };
    assert!(twin.reports.iter().any(verified), "{:?}", twin.reports);
}

#[test]
fn a_disk_that_cannot_be_used_is_refused_with_a_sentence() {
    let refused = |alter: fn(&mut Twin), word: &str| {
        let mut twin = fixed(DiskKind::Plain, "exit\n");
        alter(&mut twin);
        assert_eq!(guest_runtime::run(&mut twin, ""), Exit::Failure);
        let failures = failures(&twin.reports);
        assert!(
            failures.len() == 1 && failures[0].contains(word),
            "{failures:?}"
        );
    };
    refused(|twin| twin.port.sectors = 0, "less than one block");
    refused(|twin| twin.port.sectors = 7, "less than one block");
    refused(|twin| twin.port.sectors = u64::MAX, "capacity");
    // The mark of a vSSD whose blocks are larger than a buffer, or none.
    refused(
        |twin| twin.port.mark = mark(Geometry::new(1 << 20, 3).unwrap()),
        "1048576 bytes do not fit",
    );
    refused(
        |twin| {
            twin.port.mark = mark(Geometry::new(4096, 3).unwrap());
            twin.port.mark[6] = 8;
        },
        "block size 256",
    );
}

/// Not `blk_size`, which stands for no more than a page.
#[test]
fn the_unit_of_a_vssd_is_that_of_its_mark() {
    let mut twin = twin(BLOCKS, Encoding::Compact, vec![], "exit\n");
    let geometry = Geometry::new(65536, 62).unwrap();
    twin.port.mark = mark(geometry);
    twin.port.sectors = geometry.capacity_sectors();
    assert_eq!(discover(&mut twin.port).unwrap().geometry, geometry);
}

fn with_origin(alter: fn(&mut MemoryDisk)) -> Twin {
    let mut twin = fixed(DiskKind::Plain, "exit\n");
    let bytes: Bytes = std::rc::Rc::new(std::cell::RefCell::new(vec![0; 3000 * 4096]));
    let mut origin = MemoryDisk::new(bytes);
    alter(&mut origin);
    twin.origin = Some(origin);
    twin
}

#[test]
fn a_cache_is_kept_on_a_disk_of_fixed_size_too() {
    let mut twin = with_origin(|_| {});
    let script = "cache evict=lru write=write-back; \
                  replay workload=zipf:0.9 count=3000 writes=30 flush=100; close";
    guest_runtime::run(&mut twin, script);
    assert_eq!(failures(&twin.reports), [""; 0]);
    let replayed = |report: &Report| {
        matches!(
            report,
            Report::Replayed(report::Replayed {
                read_hits: 1..,
                lost: 0,
                errors: 0,
                corrupt: 0,
                ..
            })
        )
    };
    assert!(twin.reports.iter().any(replayed), "{:?}", twin.reports);
}

#[test]
fn a_cache_respects_what_its_disks_do_not_do() {
    let read_only: fn(&mut MemoryDisk) = |origin| origin.features |= feature::RO;
    let script = "cache write=write-through; cache write=read-only; \
                  replay workload=uniform count=100";
    let mut twin = with_origin(read_only);
    guest_runtime::run(&mut twin, script);
    let found = failures(&twin.reports);
    assert!(
        found.len() == 1 && found[0].contains("write=read-only"),
        "{found:?}"
    );
    let replayed =
        |report: &Report| matches!(report, Report::Replayed(report::Replayed { errors: 0, .. }));
    assert!(twin.reports.iter().any(replayed));

    let mut twin = with_origin(|origin| origin.logical = 8192);
    guest_runtime::run(&mut twin, "cache");
    let found = failures(&twin.reports);
    assert!(found[0].contains("logical blocks of 8192"), "{found:?}");

    let mut twin = with_origin(|_| {});
    twin.port.features |= feature::RO;
    guest_runtime::run(&mut twin, "cache");
    assert_eq!(failures(&twin.reports), ["the disk is read-only"]);
}
