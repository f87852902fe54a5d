//! Two guests with caches on a backend that divides its pool: blocks move to the one that uses them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use lab::accel::Accel;
use lab::backend::{Backend, BackendConfig, Sharing};
use lab::guest::Guest;
use lab::qemu::{Drives, Machine};
use lab::testbed::GuestChannel;
use vssd_host::control::protocol::{Reply, Request, Status};
use vssd_host::size::ByteSize;
use workloads::{Report, report};

use super::{BLOCK, PATIENCE, vm_host};

/// Blocks of the pool, half of which each guest holds at first.
const POOL_BLOCKS: u64 = 4096;

/// Blocks of the origin disks that are used: more than half of the pool, and no more than all of it.
const SPAN: u32 = 4000;

/// A move has to save its cost within 8 periods: this one needs some 500 requests a second.
const ARBITER: &str = "policy=mrc,period=2s";

fn start(folder: &Path, blocks: u64, sharing: Sharing) -> Backend {
    fs::create_dir(folder).unwrap();
    Backend::start(BackendConfig {
        program: env!("CARGO_BIN_EXE_harness").into(),
        folder: folder.to_owned(),
        size: ByteSize(blocks * BLOCK.0),
        block_size: BLOCK,
        media: None,
        sharing: Some(sharing),
        agent_queues: None,
    })
    .unwrap()
}

fn run(guest: &mut Guest, line: &str) -> Vec<Report> {
    guest.run(&line.parse().unwrap(), PATIENCE).unwrap()
}

/// Waits until the backend is as wanted.
fn wait_for(backend: &Backend, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut client = backend.client(Some(PATIENCE)).unwrap();
    client.send(&Request::Watch {}).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let Ok(Reply::Status(status)) = client.receive() else {
            panic!("no status");
        };
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "it stays {status:?}");
    }
}

/// Panics unless a replay read and wrote, and all that it read was as written.
fn assert_sound(reports: &[Report]) {
    let replayed = reports.iter().find_map(|report| match report {
        Report::Replayed(report::Replayed {
            acknowledged,
            lost,
            errors,
            corrupt,
            ..
        }) => Some((*acknowledged > 0, [*lost, *errors, *corrupt])),
        _ => None,
    });
    assert_eq!(replayed, Some((true, [0; 3])), "{reports:?}");
}

#[test]
fn blocks_move_to_the_busy_one_of_two_guests_and_both_read_what_they_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Sharing {
        vms: 2,
        pool: ByteSize(POOL_BLOCKS * BLOCK.0),
        arbiter: Some(ARBITER),
    };
    let backend = start(&folder.path().join("pool"), POOL_BLOCKS, pool);
    let origins = Sharing {
        vms: 2,
        pool: ByteSize(4 * POOL_BLOCKS * BLOCK.0),
        arbiter: None,
    };
    let origins = start(&folder.path().join("origins"), 2 * POOL_BLOCKS, origins);
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let boot = |vm: usize| {
        let (vssd, origin) = (backend.socket(vm), origins.socket(vm));
        let drives = Drives {
            vssd: Some(&vssd),
            origin: Some(&origin),
            trace: None,
        };
        let folder = folder.path().join(format!("guest{vm}"));
        fs::create_dir(&folder).unwrap();
        vm_host.launch(drives, folder).unwrap()
    };
    let mut guests = [boot(0), boot(1)];
    let load = format!("replay workload=uniform span={SPAN} writes=30");
    for guest in &mut guests {
        run(
            guest,
            "cache evict=lru write=write-back fresh=true sample=2048",
        );
        // Dirty blocks, which a guest writes back before it gives them up.
        assert_sound(&run(guest, &format!("{load} count=6000")));
    }
    let [busy, idle] = &mut guests;
    busy.start(&load.parse().unwrap()).unwrap();
    let moved = wait_for(&backend, |status| {
        status.vssds[0].held >= 3500 && status.vssds.iter().all(|vssd| vssd.agreed)
    });
    assert!(moved.vssds[1].held <= 596, "{moved:?}");
    assert_sound(&busy.stop(PATIENCE).unwrap());
    // It has lost most of its cache, and no data.
    assert_sound(&run(idle, &format!("{load} seed=2 count=6000")));

    let arbiter = backend.client(Some(PATIENCE)).unwrap().arbiter().unwrap();
    let shares = arbiter.unwrap().vssds;
    assert!(shares[0].decisions["grow"] > 0, "{shares:?}");
    assert!(shares[1].decisions["shrink"] > 0, "{shares:?}");
    assert_eq!(shares[1].decisions["revoke"], 0, "{shares:?}");
    for guest in guests {
        guest.shut_down().unwrap();
    }
}
