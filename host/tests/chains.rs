//! Invalid chains: each fails alone.

mod support;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::daemon::{Daemon, Site};
use support::frontend::{
    Buffer, COMMANDS, EVENTS, Frontend, IN, IOERR, MEMORY, OK, OUT, REQUESTS, RING_SIZE, SCRATCH,
    UNANSWERED, readable, writable,
};

fn start() -> (Site, Daemon, Frontend) {
    let site = Site::new();
    let daemon = site.start(&[
        site.spec("vm1", "size=64KiB"),
        site.spec("vm2", "size=64KiB"),
    ]);
    let frontend = Frontend::connect(&site.path("vm1.sock"));
    (site, daemon, frontend)
}

/// The device still serves requests.
fn assert_well(guest: &mut Frontend) {
    assert_eq!(guest.write_at(8, &[0x42; 4096]), OK);
    assert_eq!(guest.read_at(8, 4096).unwrap(), [0x42; 4096]);
}

#[test]
fn a_request_without_a_status_byte_is_given_back_unanswered() {
    let (_site, daemon, mut guest) = start();
    let (header, _) = guest.envelope(IN, 0);
    assert_eq!(guest.exchange(REQUESTS, &[header]), 0);
    let data = readable(SCRATCH + 0x1000, 512);
    assert_eq!(guest.exchange(REQUESTS, &[header, data]), 0);
    assert_eq!(daemon.vssd().counters.bad_chains, 2);
    assert_well(&mut guest);
}

#[test]
fn a_request_without_a_whole_header_is_refused() {
    let (_site, _daemon, mut guest) = start();
    for len in [0, 1, 15] {
        let (_, status) = guest.envelope(IN, 0);
        guest.exchange(REQUESTS, &[readable(SCRATCH, len), status]);
        assert_eq!(guest.read(SCRATCH + 16, 1), [IOERR], "{len} bytes");
    }
    assert_well(&mut guest);
}

#[test]
fn a_readable_buffer_behind_a_writable_one_is_refused() {
    let (_site, _daemon, mut guest) = start();
    let (header, status) = guest.envelope(OUT, 0);
    let data = readable(SCRATCH + 0x1000, 512);
    guest.exchange(REQUESTS, &[header, status, data]);
    assert_ne!(guest.read(SCRATCH + 16, 1), [OK]);
    assert_eq!(guest.read_at(0, 512).unwrap(), [0; 512]);
    assert_well(&mut guest);
}

const OUTSIDE: [u64; 4] = [MEMORY, MEMORY - 100, 1 << 40, u64::MAX - 511];

#[test]
fn buffers_outside_of_guest_memory_are_not_followed() {
    let (_site, _daemon, mut guest) = start();
    for addr in OUTSIDE {
        for (kind, data) in [(IN, writable(addr, 512)), (OUT, readable(addr, 512))] {
            assert_ne!(guest.request(kind, 0, &[data]), OK, "{addr:#x}");
        }
        let (header, _) = guest.envelope(IN, 0);
        let status = writable(addr, 512);
        assert_eq!(guest.exchange(REQUESTS, &[header, status]), 0);
    }
    assert_well(&mut guest);
}

#[test]
fn a_bad_data_buffer_does_not_silence_a_good_status_byte() {
    let (_site, _daemon, mut guest) = start();
    for addr in OUTSIDE {
        let data = [writable(addr, 512)];
        assert_eq!(guest.request(IN, 0, &data), IOERR, "{addr:#x}");
    }
}

#[test]
fn chains_that_never_end_are_cut() {
    let (_site, _daemon, mut guest) = start();
    let (header, status) = guest.envelope(IN, 0);
    for buffer in [header, status] {
        let ring = &mut guest.rings[REQUESTS];
        // 0 -> 1 -> 0 -> …
        ring.descriptor(&guest.memory, 0, buffer, 1, 1);
        ring.descriptor(&guest.memory, 1, buffer, 1, 0);
        ring.publish(&guest.memory, 0);
        ring.kick();
        assert_eq!(ring.wait_used(&guest.memory).0, 0);
    }
    // On into a descriptor that does not exist.
    let ring = &mut guest.rings[REQUESTS];
    ring.descriptor(&guest.memory, 0, header, 1, RING_SIZE);
    ring.publish(&guest.memory, 0);
    ring.kick();
    assert_eq!(ring.wait_used(&guest.memory), (0, 0));
    assert_well(&mut guest);
}

/// Indirect tables: a valid one, and invalid ones.
#[test]
fn indirect_tables_are_followed_but_not_believed() {
    const INDIRECT: u16 = 4;
    let (_site, _daemon, mut guest) = start();
    let table = SCRATCH + 0x100;
    let (header, status) = guest.envelope(OUT, 0);
    let entry = |buffer: Buffer, flags: u16, next: u16| {
        let mut bytes = buffer.addr.to_le_bytes().to_vec();
        bytes.extend(buffer.len.to_le_bytes());
        let kind = if buffer.writable { 2 } else { 0 };
        bytes.extend((kind | flags).to_le_bytes());
        bytes.extend(next.to_le_bytes());
        bytes
    };
    let chain = [
        entry(header, 1, 1),
        entry(readable(SCRATCH + 0x1000, 512), 1, 2),
        entry(status, 0, 0),
    ]
    .concat();
    guest.write(table, &chain);
    guest.write(SCRATCH + 0x1000, &[0x77; 512]);
    let used = |guest: &mut Frontend, addr: u64, len: u32| {
        let ring = &mut guest.rings[REQUESTS];
        ring.descriptor(&guest.memory, 0, readable(addr, len), INDIRECT, 0);
        ring.publish(&guest.memory, 0);
        ring.kick();
        ring.wait_used(&guest.memory)
    };
    assert_eq!(used(&mut guest, table, 48), (0, 1));
    assert_eq!(guest.read(SCRATCH + 16, 1), [OK]);
    assert_eq!(guest.read_at(0, 512).unwrap(), [0x77; 512]);
    // Not whole entries, none, none that are there, and one in another.
    for (addr, len) in [
        (table, 47),
        (table, 0),
        (MEMORY, 48),
        (table, u32::MAX - 15),
    ] {
        guest.write(SCRATCH + 16, &[UNANSWERED]);
        assert_eq!(used(&mut guest, addr, len).0, 0);
    }
    guest.write(table, &entry(readable(table, 48), INDIRECT, 0));
    assert_eq!(used(&mut guest, table, 16), (0, 0));
    assert_well(&mut guest);
}

#[test]
fn a_head_that_is_no_descriptor_does_not_stop_its_neighbours() {
    let (_site, _daemon, mut guest) = start();
    // From here on the device acts only on a kick.
    assert_well(&mut guest);
    let (header, status) = guest.envelope(IN, 0);
    let ring = &mut guest.rings[REQUESTS];
    let data = writable(SCRATCH + 0x1000, 512);
    ring.chain(&guest.memory, 0, &[header, data, status]);
    ring.chain(&guest.memory, 8, &[header, data, status]);
    for head in [0, RING_SIZE, 8] {
        ring.publish(&guest.memory, head);
    }
    ring.kick();
    assert_eq!(ring.wait_used(&guest.memory).0, 0);
    assert_eq!(ring.wait_used(&guest.memory).0, 8);
}

#[test]
fn a_guest_that_claims_more_than_its_ring_holds_harms_itself_only() {
    for queue in [REQUESTS, EVENTS, COMMANDS] {
        let (site, daemon, mut guest) = start();
        let ring = &mut guest.rings[queue];
        ring.claim(&guest.memory, RING_SIZE + 1);
        ring.kick();
        let mut other = Frontend::connect(&site.path("vm2.sock"));
        assert_well(&mut other);
        guest.unplug();
        daemon.wait_until(|vssd| !vssd.connected);
        let mut fresh = Frontend::connect(&site.path("vm1.sock"));
        assert_well(&mut fresh);
    }
}

#[test]
fn commands_that_are_none_change_nothing() {
    let (_site, daemon, mut guest) = start();
    for bytes in [&[][..], &[0; 23], &[0xff; 24], &[0xff; 5000]] {
        // Refused with a response that says so.
        assert!(guest.command(bytes).len() >= vssd::wire::RESPONSE_HEADER_LEN);
    }
    // No room for a response; a buffer that is nowhere.
    assert_eq!(guest.exchange(COMMANDS, &[readable(SCRATCH, 24)]), 0);
    let nowhere = [readable(MEMORY, 24), writable(SCRATCH, 100)];
    assert_eq!(guest.exchange(COMMANDS, &nowhere), 0);
    let vssd = daemon.vssd();
    assert_eq!((vssd.held, vssd.driver), (16, false));
    assert_eq!(vssd.counters.commands, 0);
    assert_well(&mut guest);
}

/// Descriptors of random content on all queues, thousands of them.
#[test]
fn random_descriptors_never_end_the_device() {
    let (site, daemon, mut guest) = start();
    let seed = 20_260;
    let mut rng = SmallRng::seed_from_u64(seed);
    for round in 0..300 {
        for queue in [REQUESTS, EVENTS, COMMANDS] {
            let ring = &mut guest.rings[queue];
            for at in 0..RING_SIZE {
                let len_bits = rng.random_range(1..24);
                let buffer = Buffer {
                    // A guest may destroy its own rings, but then nothing would be left to test.
                    addr: rng.random_range(SCRATCH..MEMORY + MEMORY / 8),
                    len: rng.random_range(0u32..1 << len_bits),
                    writable: rng.random(),
                };
                let flags = rng.random_range(0..8) & 5;
                ring.descriptor(&guest.memory, at, buffer, flags, rng.random_range(0..200));
            }
            let chains = rng.random_range(1..20);
            for _ in 0..chains {
                ring.publish(&guest.memory, rng.random_range(0..RING_SIZE));
            }
            ring.kick();
            if queue != EVENTS {
                for _ in 0..chains {
                    ring.wait_used(&guest.memory);
                }
            }
        }
        assert!(daemon.vssd().connected, "seed {seed}, round {round}");
    }
    guest.unplug();
    daemon.wait_until(|vssd| !vssd.connected);
    let mut fresh = Frontend::connect(&site.path("vm1.sock"));
    assert_well(&mut fresh);
}
