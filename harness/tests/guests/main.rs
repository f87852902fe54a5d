//! Guests under QEMU on the backend: resizes, failures, a block cache, latencies, the arbiter.
//!
//! Without QEMU these tests fail, and the message names ./setup. All waits time out, and the error
//! quotes the guest's last console lines.

mod arbiter;
mod cache;
mod failures;
mod latency;
mod resizes;

use std::path::PathBuf;
use std::time::Duration;

use lab::accel::Accel;
use lab::qemu::{Machine, Qemu};
use lab::testbed::{GuestChannel, ResizeOptions, Shape, Testbed};
use lab::vm_host::{VmHost, VmTestbed};
use vssd_host::control::protocol::Resized;
use vssd_host::size::ByteSize;
use workloads::command::Enforce;
use workloads::{Command, Pick, Report, command, report};

const SIZE: ByteSize = ByteSize(64 << 20);
const BLOCK: ByteSize = ByteSize(4096);
const BLOCKS: u32 = 16384;
/// Timeout, generous for slow machines.
const PATIENCE: Duration = Duration::from_secs(300);

const SHAPE: Shape = Shape {
    size: SIZE,
    block_size: BLOCK,
    written: SIZE,
};

fn vm_host(machine: Machine, accel: Accel) -> VmHost {
    VmHost {
        qemu: Qemu::find(None).expect("these tests need QEMU"),
        machine,
        accel,
        accel_reason: "for a test".to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
    }
}

fn bench() -> VmTestbed {
    vm_host(Machine::Q35, Accel::Tcg).start(SHAPE).unwrap()
}

fn run(bench: &mut VmTestbed, line: &str) -> Vec<Report> {
    bench.guest.run(&line.parse().unwrap(), PATIENCE).unwrap()
}

fn resize(bench: &mut VmTestbed, to: u32, pick: Pick, deadline: Duration) -> Resized {
    let options = ResizeOptions {
        pick,
        deadline,
        seed: 7,
    };
    let resized = bench.resize_to(to, options).unwrap();
    if resized.from != resized.held {
        bench.guest.await_resized(resized.held, PATIENCE).unwrap();
    }
    resized
}

/// The result of `verify`: ok, zeros, corrupt, errors, unexpected.
fn verify(bench: &mut VmTestbed, enforce: Enforce) -> [u32; 5] {
    let reports = bench
        .guest
        .run(&Command::Verify(command::Verify { enforce }), PATIENCE)
        .unwrap();
    match reports.last() {
        Some(Report::Verified(report::Verified {
            ok,
            zeros,
            corrupt,
            errors,
            unexpected,
            ..
        })) => [*ok, *zeros, *corrupt, *errors, *unexpected],
        other => panic!("expected the result of verify, got {other:?}"),
    }
}

fn assert_lists_equal(bench: &mut VmTestbed) {
    let status = bench.backends.vssd.status().unwrap();
    let reports = run(bench, "info");
    let Some(Report::Info(report::Info { held, digest, .. })) = reports.last() else {
        panic!("expected the result of info, got {reports:?}");
    };
    assert_eq!(*held, status.held);
    assert_eq!(format!("{digest:016x}"), status.digest);
    assert!(status.agreed);
}
