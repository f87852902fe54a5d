//! Resizes on both machine types, with both encodings, by guest and hypervisor.

use std::time::Duration;

use lab::accel::{Accel, can_open_kvm};
use lab::qemu::Machine;
use lab::testbed::{GuestChannel, Shape, Testbed as _};
use vssd_host::control::protocol::EncodingName;
use vssd_host::size::ByteSize;
use workloads::command::Enforce;
use workloads::{Command, GuestPick, HostPick, Pick, command};

use super::{BLOCKS, PATIENCE, SHAPE, assert_lists_equal, bench, resize, run, verify, vm_host};

/// Shrinks, verifies, grows back, verifies.
fn shrink_and_grow(machine: Machine, accel: Accel) {
    let mut bench = vm_host(machine, accel).start(SHAPE).unwrap();
    assert_eq!(bench.guest.ready.capacity, BLOCKS);
    run(&mut bench, "fill seed=5");
    run(&mut bench, "policy pick=scattered");
    let resized = resize(&mut bench, 10_000, Pick::Guest, PATIENCE);
    assert!(resized.is_complete() && resized.agreed && resized.revoked == 0);
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [10_000, 0, 0, BLOCKS - 10_000, 0]);
    resize(&mut bench, BLOCKS, Pick::Guest, PATIENCE);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [10_000, BLOCKS - 10_000, 0, 0, 0]);
    assert_lists_equal(&mut bench);
    run(&mut bench, "flush");
    bench.shut_down().unwrap();
}

#[test]
fn q35_under_tcg() {
    shrink_and_grow(Machine::Q35, Accel::Tcg);
}

#[test]
fn microvm_under_tcg() {
    shrink_and_grow(Machine::Microvm, Accel::Tcg);
}

/// Without /dev/kvm, only the error message can be tested.
#[test]
fn both_machines_under_kvm_if_available() {
    if can_open_kvm() {
        shrink_and_grow(Machine::Q35, Accel::Kvm);
        shrink_and_grow(Machine::Microvm, Accel::Kvm);
    } else {
        let chosen = lab::accel::choose(lab::accel::AccelChoice::Kvm);
        assert!(chosen.unwrap_err().to_string().contains("/dev/kvm"));
    }
}

/// Blocks larger than `blk_size`, which is a page: requests may not be counted in blocks.
#[test]
fn blocks_larger_than_a_page_can_be_resized() {
    const COUNT: u32 = 1024;
    let shape = Shape {
        block_size: ByteSize(64 << 10),
        ..SHAPE
    };
    let mut bench = vm_host(Machine::Q35, Accel::Tcg).start(shape).unwrap();
    assert_eq!(bench.guest.ready.capacity, COUNT);
    run(&mut bench, "fill seed=5");
    run(&mut bench, "policy pick=scattered");
    let resized = resize(&mut bench, 600, Pick::Guest, PATIENCE);
    assert!(resized.is_complete() && resized.agreed && resized.revoked == 0);
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [600, 0, 0, COUNT - 600, 0]);
    resize(&mut bench, COUNT, Pick::Guest, PATIENCE);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [600, COUNT - 600, 0, 0, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn the_exchange_of_2017_moves_the_same_blocks() {
    let mut bench = bench();
    run(&mut bench, "fill");
    run(&mut bench, "policy pick=random seed=3");
    bench.set_encoding(EncodingName::List4096).unwrap();
    let resized = resize(&mut bench, 2_000, Pick::Guest, PATIENCE);
    assert!(resized.is_complete() && resized.agreed);
    assert_eq!(resized.exchanges, (BLOCKS - 2_000).div_ceil(512));
    resize(&mut bench, BLOCKS, Pick::Guest, PATIENCE);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [2_000, BLOCKS - 2_000, 0, 0, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn the_hypervisor_can_pick() {
    let mut bench = bench();
    run(&mut bench, "fill");
    let resized = resize(&mut bench, 9_000, Pick::Host(HostPick::Uniform), PATIENCE);
    assert_eq!((resized.revoked, resized.agreed), (BLOCKS - 9_000, true));
    let found = verify(&mut bench, Enforce::Device);
    assert_eq!(found, [9_000, 0, 0, BLOCKS - 9_000, 0]);
    assert_lists_equal(&mut bench);
    bench.shut_down().unwrap();
}

#[test]
fn blocks_are_revoked_from_a_refusing_guest_at_the_deadline() {
    let mut bench = bench();
    run(&mut bench, "fill");
    bench
        .guest
        .run(
            &Command::Policy(command::Policy {
                pick: GuestPick::Refuse,
                seed: 0,
            }),
            PATIENCE,
        )
        .unwrap();
    let patience = Duration::from_millis(300);
    let resized = resize(&mut bench, 8_000, Pick::Guest, patience);
    assert_eq!((resized.revoked, resized.agreed), (BLOCKS - 8_000, true));
    assert!(resized.elapsed_ns >= patience.as_nanos() as u64);
    let found = verify(&mut bench, Enforce::Driver);
    assert_eq!(found, [8_000, 0, 0, BLOCKS - 8_000, 0]);
    bench.shut_down().unwrap();
}
