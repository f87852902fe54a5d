//! A vSSD with an agent has as many request queues as its description says, as a stock
//! vhost-user-blk frontend sees them.

mod support;

use std::sync::atomic::Ordering;

use support::agent::Agent;
use support::daemon::{Daemon, Site};
use support::frontend::{Frontend, IN, IOERR, OK, OUT, SCRATCH, readable, writable};
use support::resizing::{BLOCKS, SECTORS, own, to};
use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_TOPOLOGY};
use vm_memory::{Bytes, GuestAddress};
use vssd::wire::{MARK_LEN, MARK_OFFSET, marked_version};
use vssd_host::control::protocol::Request;
use vssd_host::descriptors::{AGENT_SOCKET, CONNECTED_TO_AGENT, IDLE, QUEUE};

fn start(rest: &str) -> (Site, Daemon) {
    let site = Site::new();
    let agent = site.path("agent.sock");
    let spec = site.spec("vm1", &format!("size=4MiB,agent={}{rest}", agent.display()));
    let daemon = site.start(&[spec]);
    (site, daemon)
}

#[test]
fn a_frontend_sees_the_queues_and_no_mark() {
    for (rest, queues) in [
        ("", 1),
        (",queues=1", 1),
        (",queues=4", 4),
        (",queues=64", 64),
    ] {
        let (site, daemon) = start(rest);
        let disk = Frontend::connect_with(&site.path("vm1.sock"), 1);
        assert_eq!(disk.queue_num, queues, "{rest}");
        let has = |bit: u32| disk.features & 1 << bit != 0;
        assert_eq!(has(VIRTIO_BLK_F_MQ), queues > 1, "{rest}");
        assert!(!has(VIRTIO_BLK_F_TOPOLOGY));
        let num_queues = u16::from_le_bytes(disk.config[34..36].try_into().unwrap());
        assert_eq!(u64::from(num_queues), queues, "{rest}");
        // A driver of vSSDs would use the last two queues for something else.
        let mark: &[u8; MARK_LEN] = disk.config[MARK_OFFSET..][..MARK_LEN].try_into().unwrap();
        assert_eq!(marked_version(mark), None);
        assert_eq!(daemon.vssd().request_queues as u64, queues);
    }
    // Without an agent there are three, one of them for requests, and a mark.
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    let disk = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(
        (disk.queue_num, disk.features & 1 << VIRTIO_BLK_F_MQ),
        (3, 0)
    );
    assert!(marked_version(disk.config[MARK_OFFSET..][..MARK_LEN].try_into().unwrap()).is_some());
}

/// A request of one block by `queue`, in memory of its own; not waited for.
fn begin(disk: &mut Frontend, queue: usize, kind: u32, block: u32) {
    let at = area(queue);
    let mut header = [0; 16];
    header[0..4].copy_from_slice(&kind.to_le_bytes());
    header[8..16].copy_from_slice(&(u64::from(block) * SECTORS).to_le_bytes());
    disk.write(at, &header);
    disk.write(at + 16, &[0xee]);
    let data = if kind == OUT {
        readable(at + 0x1000, 4096)
    } else {
        writable(at + 0x1000, 4096)
    };
    let chain = [readable(at, 16), data, writable(at + 16, 1)];
    let ring = &mut disk.rings[queue];
    ring.chain(&disk.memory, 0, &chain);
    ring.publish(&disk.memory, 0);
    ring.kick();
}

/// Waits for the request of `queue`; returns its status.
fn end(disk: &mut Frontend, queue: usize) -> u8 {
    let (head, _) = disk.rings[queue].wait_used(&disk.memory);
    assert_eq!(head, 0);
    disk.read(area(queue) + 16, 1)[0]
}

fn area(queue: usize) -> u64 {
    SCRATCH + 0x2000 * queue as u64
}

#[test]
fn requests_go_by_every_queue_at_once() {
    let (site, daemon) = start(",queues=4");
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 4);
    for round in 0..20 {
        let block = |queue: usize| round * 4 + queue as u32;
        for queue in 0..4 {
            disk.write(area(queue) + 0x1000, &own(block(queue)));
            begin(&mut disk, queue, OUT, block(queue));
        }
        for queue in [2, 0, 3, 1] {
            assert_eq!(end(&mut disk, queue), OK);
        }
        // Each is read by another queue than it was written by.
        for queue in 0..4 {
            begin(&mut disk, queue, IN, block(3 - queue));
        }
        for queue in 0..4 {
            assert_eq!(end(&mut disk, queue), OK);
            assert_eq!(disk.read(area(queue) + 0x1000, 4096), own(block(3 - queue)));
        }
    }
    let counters = daemon.vssd().counters;
    assert_eq!((counters.writes, counters.reads), (80, 80));
}

/// First writes to the parts of one block, by several queues: one physical block holds all of them.
#[test]
fn requests_to_one_block_by_several_queues_wait_for_each_other() {
    let site = Site::new();
    let agent = site.path("agent.sock");
    let rest = format!(
        "size=4MiB,block-size=64KiB,agent={},queues=4",
        agent.display()
    );
    let daemon = site.start(&[site.spec("vm1", &rest)]);
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 4);
    for block in 0..16 {
        for queue in 0..4 {
            // Four pages of the block.
            let page = block * 16 + queue as u32;
            disk.write(area(queue) + 0x1000, &own(page));
            begin(&mut disk, queue, OUT, page);
        }
        for queue in 0..4 {
            assert_eq!(end(&mut disk, queue), OK);
        }
    }
    assert_eq!(daemon.vssd().used, 16);
    for page in (0..16).flat_map(|block| (0..4).map(move |queue| block * 16 + queue)) {
        begin(&mut disk, 0, IN, page);
        assert_eq!(end(&mut disk, 0), OK);
        assert_eq!(disk.read(area(0) + 0x1000, 4096), own(page));
    }
}

/// Fewer queues than there are: what QEMU does with a smaller `num-queues`.
#[test]
fn queues_that_are_not_set_up_are_not_missed() {
    let (site, _daemon) = start(",queues=4");
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 2);
    begin(&mut disk, 1, IN, 0);
    assert_eq!(end(&mut disk, 1), OK);
    begin(&mut disk, 0, IN, 0);
    assert_eq!(end(&mut disk, 0), OK);
}

/// A queue is stopped while the others go on: whoever waits for its requests is not kept waiting by
/// the thread that sleeps until there are others.
#[test]
fn queues_are_stopped_one_by_one() {
    let (site, _daemon) = start(",queues=4");
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 4);
    for round in 0..50 {
        for queue in 0..4 {
            begin(&mut disk, queue, IN, 0);
            assert_eq!(end(&mut disk, queue), OK, "round {round}");
        }
        disk.reset_rings();
    }
}

/// The descriptors of a vSSD with an agent are as many as are planned for.
#[test]
fn descriptors_are_planned_for() {
    let site = Site::new();
    let agent = site.path("agent.sock");
    let spec = site.spec(
        "vm1",
        &format!("size=1MiB,agent={},queues=4", agent.display()),
    );
    let daemon = site.start_with(&[spec], &["--create", "--media", "dram"]);
    let none = daemon.descriptors();
    let disk = Frontend::connect_with(&site.path("vm1.sock"), 4);
    let present = Agent::boot(&agent, 1);
    let planned = CONNECTED_TO_AGENT + 4 * QUEUE;
    // One more for the memory of the guest.
    daemon.wait_for_descriptors(none + planned as usize + 1);
    drop((disk, present));
    daemon.wait_for_descriptors(none);
    let more = [0, 1].map(|i| {
        let agent = site.path(&format!("idle{i}-agent.sock"));
        let name = format!("idle{i}");
        site.spec(
            &name,
            &format!("size=4KiB,held=0B,create=true,agent={}", agent.display()),
        )
    });
    for spec in more {
        daemon.client().call(&Request::Add { spec }).unwrap();
    }
    daemon.wait_for_descriptors(none + 2 * (IDLE + AGENT_SOCKET) as usize);
}

/// A backend that is killed leaves requests on each queue; the frontend makes them available again
/// behind the last published one of each.
#[test]
fn every_queue_is_replayed_after_a_backend_was_killed() {
    let site = Site::new();
    let agent = site.path("agent.sock");
    let spec = site.spec(
        "vm1",
        &format!("size=4MiB,agent={},queues=3", agent.display()),
    );
    let daemon = site.start_with(std::slice::from_ref(&spec), &["--create", "--media", "hdd"]);
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 3);
    for queue in 0..3 {
        disk.write(area(queue) + 0x1000, &own(queue as u32));
        begin(&mut disk, queue, OUT, queue as u32);
    }
    daemon.kill();
    disk.unplug();
    let _daemon = site.start(&[spec]);
    disk.plug(&site.path("vm1.sock"));
    for queue in 0..3 {
        disk.rings[queue].kick();
    }
    for queue in 0..3 {
        assert_eq!(end(&mut disk, queue), OK);
        begin(&mut disk, queue, IN, queue as u32);
        assert_eq!(end(&mut disk, queue), OK);
        assert_eq!(disk.read(area(queue) + 0x1000, 4096), own(queue as u32));
    }
}

/// A guest that breaks one of its rings has the others.
#[test]
fn a_ring_without_meaning_stops_no_other() {
    let (site, _daemon) = start(",queues=3");
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 3);
    let claimed = disk.rings[1].next_avail.wrapping_add(1000);
    let avail = GuestAddress(disk.rings[1].avail() + 2);
    disk.memory
        .store(claimed, avail, Ordering::Release)
        .unwrap();
    disk.rings[1].kick();
    disk.rings[1].wait_kick_read();
    for _ in 0..50 {
        for queue in [0, 2] {
            begin(&mut disk, queue, IN, 0);
        }
        disk.rings[1].kick();
        for queue in [0, 2] {
            assert_eq!(end(&mut disk, queue), OK);
        }
    }
    // It is well again once its index is.
    disk.memory.store(0_u16, avail, Ordering::Release).unwrap();
    begin(&mut disk, 1, IN, 0);
    assert_eq!(end(&mut disk, 1), OK);
}

/// A resize waits for the requests of every queue that it takes blocks from.
#[test]
fn a_resize_sees_the_requests_of_every_queue() {
    let (site, daemon) = start(",queues=4");
    let mut disk = Frontend::connect_with(&site.path("vm1.sock"), 4);
    let mut agent = Agent::boot(&site.path("agent.sock"), 1);
    let last = BLOCKS - 1;
    for round in 0..5 {
        for queue in 0..4 {
            disk.write(area(queue) + 0x1000, &own(last - queue as u32));
            begin(&mut disk, queue, OUT, last - queue as u32);
        }
        let id = daemon.begin(to(BLOCKS - 8));
        agent.settle_at(BLOCKS - 8);
        assert!(daemon.ended(id).is_complete());
        for queue in 0..4 {
            // Either before the blocks went, or after.
            let status = end(&mut disk, queue);
            assert!([OK, IOERR].contains(&status), "round {round}: {status}");
            begin(&mut disk, queue, IN, last - queue as u32);
            assert_eq!(end(&mut disk, queue), IOERR);
        }
        let id = daemon.begin(to(BLOCKS));
        agent.settle_at(BLOCKS);
        assert!(daemon.ended(id).is_complete());
        for queue in 0..4 {
            begin(&mut disk, queue, IN, last - queue as u32);
            assert_eq!(end(&mut disk, queue), OK);
            assert_eq!(disk.read(area(queue) + 0x1000, 4096), [0; 4096]);
        }
    }
}
