//! Killed, hung, rebooted and misconfigured guests and backends.

use std::time::{Duration, Instant};

use lab::accel::Accel;
use lab::backend::{Backend, BackendConfig};
use lab::qemu::{Drives, Machine};
use lab::testbed::GuestChannel;
use lab::vm_host::VmTestbed;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use vssd_host::size::ByteSize;
use workloads::command::Enforce;
use workloads::{Command, Pick, Report, report};

use super::{
    BLOCK, BLOCKS, PATIENCE, SHAPE, assert_lists_equal, bench, resize, run, verify, vm_host,
};

#[test]
fn a_killed_backend_loses_no_write_and_no_block() {
    let mut bench = bench();
    run(&mut bench, "fill");
    run(&mut bench, "policy pick=random seed=9");
    resize(&mut bench, 12_000, Pick::Guest, PATIENCE);
    bench
        .guest
        .start(&"stress count=0 writes=60".parse().unwrap())
        .unwrap();
    for _ in 0..3 {
        let written = |bench: &VmTestbed| bench.backends.vssd.status().unwrap().counters.writes;
        let (before, began) = (written(&bench), Instant::now());
        // Kill only while requests are being served.
        while written(&bench) < before + 2_000 {
            assert!(began.elapsed() < PATIENCE, "no writes were served");
        }
        bench = bench.kill_backend().unwrap();
        bench.backends.vssd.await_agreed().unwrap();
        assert_eq!(bench.backends.vssd.status().unwrap().held, 12_000);
    }
    let reports = bench.guest.stop(PATIENCE).unwrap();
    let stressed = reports.iter().find_map(|report| match report {
        Report::Stressed(report::Stressed {
            writes,
            lost_race,
            errors,
            corrupt,
            ..
        }) => Some((*writes >= 6_000, *lost_race, *errors, *corrupt)),
        _ => None,
    });
    assert_eq!(stressed, Some((true, 0, 0, 0)), "{reports:?}");
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [12_000, 0, 0, BLOCKS - 12_000, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn a_rebooted_guest_holds_the_same_blocks() {
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let mut bench = vm_host.start(SHAPE).unwrap();
    run(&mut bench, "fill seed=4");
    resize(&mut bench, 5_000, Pick::Guest, PATIENCE);
    let mut bench = bench.reboot(&vm_host).unwrap();
    assert_eq!(bench.guest.ready.held, 5_000);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn a_killed_qemu_is_reported() {
    let mut bench = bench();
    let pid = Pid::from_raw(bench.guest.pid()).unwrap();
    bench
        .guest
        .start(&"stress count=0".parse().unwrap())
        .unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let error = bench.guest.finish(PATIENCE).unwrap_err().to_string();
    assert!(error.contains("exited unexpectedly"), "{error}");
    // The backend still works, and QEMU was reaped.
    assert!(bench.backends.vssd.status().is_ok());
    assert!(test_kill_process(pid).is_err(), "QEMU still runs");
}

#[test]
fn a_hung_guest_is_killed_and_its_console_quoted() {
    let mut bench = bench();
    let pid = Pid::from_raw(bench.guest.pid()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    bench.guest.start(&Command::Info).unwrap();
    let error = bench
        .guest
        .finish(Duration::from_millis(200))
        .unwrap_err()
        .to_string();
    assert!(error.contains("timed out"), "{error}");
    assert!(error.contains("ready"), "no console lines: {error}");
    drop(bench);
    assert!(test_kill_process(pid).is_err(), "QEMU still runs");
}

#[test]
fn a_guest_without_a_disk_is_an_error() {
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let folder = tempfile::tempdir().unwrap();
    let error = vm_host
        .launch(Drives::default(), folder.path().to_owned())
        .err()
        .unwrap();
    let error = error.to_string();
    assert!(error.contains("vSSD") || error.contains("disk"), "{error}");
}

#[test]
fn a_panic_of_the_guest_is_reported_with_its_location() {
    // The state of this device does not fit in the guest's memory. The device is no larger than
    // needed, because the backend allocates 21 bytes per block for the journal.
    let vm_host = vm_host(Machine::Q35, Accel::Tcg);
    let folder = tempfile::tempdir().unwrap();
    let config = BackendConfig {
        program: vm_host.program.clone(),
        folder: folder.path().to_owned(),
        size: ByteSize(320 << 30),
        block_size: BLOCK,
        media: None,
        sharing: None,
        agent_queues: None,
    };
    let backend = Backend::start(config).unwrap();
    let socket = backend.socket(0);
    let drives = Drives {
        vssd: Some(&socket),
        ..Drives::default()
    };
    let error = vm_host.launch(drives, folder.path().to_owned());
    let error = error.err().unwrap().to_string();
    assert!(error.contains("exit status: 35"), "{error}");
    assert!(error.contains("panicked at"), "{error}");
}

#[test]
fn a_second_backend_in_the_same_folder_is_rejected() {
    let bench = bench();
    let config = bench.backends.vssd.config().clone();
    let error = Backend::start(config).unwrap_err().to_string();
    assert!(error.contains("vm1.sock"), "{error}");
    bench.shut_down().unwrap();
}
