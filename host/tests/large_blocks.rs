//! vSSDs whose blocks are larger than a page, to guests that know nothing of blocks.

mod support;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use support::daemon::Site;
use support::frontend::{
    DISCARD, Frontend, IN, IOERR, OK, OUT, REQUESTS, SCRATCH, WRITE_ZEROES, readable, writable,
};
use vssd::units::Geometry;
use vssd::wire::{MARK_OFFSET, mark};

const SECTOR: usize = 512;

fn filled(rng: &mut SmallRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Linux refuses a disk whose logical blocks are larger than its pages.
#[test]
fn the_unit_is_in_the_mark_and_no_logical_block_is_larger_than_a_page() {
    for (block_size, logical) in [
        (512, 512),
        (2048, 2048),
        (4096, 4096),
        (8192, 4096),
        (65536, 4096),
        (1 << 20, 4096),
    ] {
        let site = Site::new();
        let spec = site.spec("vm1", &format!("size=4MiB,block-size={block_size}B"));
        let _daemon = site.start(&[spec]);
        let config = Frontend::connect(&site.path("vm1.sock")).config;
        let number = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().unwrap());
        assert_eq!(number(0), 8192, "capacity in sectors");
        assert_eq!(number(20), logical, "logical block of {block_size}");
        let geometry = Geometry::new(block_size, u64::from((4 << 20) / block_size)).unwrap();
        assert_eq!(config[MARK_OFFSET..][..8], mark(geometry), "{block_size}");
        assert_eq!(number(44), block_size / 512, "unit of a discard");
    }
}

/// Requests of any place and length against a plain array, with zeroed and discarded
/// ranges between, and a kill after a flush.
#[test]
fn requests_that_begin_and_end_within_blocks_are_right() {
    for (seed, block_size, blocks) in [(1, 8192, 40), (2, 65536, 16), (3, 1 << 20, 4)] {
        let site = Site::new();
        let len = block_size * blocks;
        let spec = [site.spec("vm1", &format!("size={len}B,block-size={block_size}B"))];
        let daemon = site.start(&spec);
        let mut guest = Frontend::unplugged();
        guest.plug(&site.path("vm1.sock"));
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut model = vec![0; len];
        for round in 0..400 {
            // In pages where a medium takes them as they are, in sectors where it may not.
            let unit = if rng.random_bool(0.7) { 4096 } else { SECTOR };
            let longest = (2 * block_size + block_size / 2).min(len) / unit;
            let units = rng.random_range(1..=longest);
            let first = rng.random_range(0..=len / unit - units);
            let (at, span) = (first * unit, units * unit);
            let sector = (at / SECTOR) as u64;
            let what = format!("seed {seed}, round {round}: {span} bytes at {at}");
            match rng.random_range(0..8) {
                0..4 => {
                    let bytes = filled(&mut rng, span);
                    assert_eq!(guest.write_at(sector, &bytes), OK, "{what} written");
                    model[at..at + span].copy_from_slice(&bytes);
                }
                4 => {
                    let kind = if rng.random() { DISCARD } else { WRITE_ZEROES };
                    let status = guest.range(kind, sector, (span / SECTOR) as u32, 0);
                    assert_eq!(status, OK, "{what} zeroed");
                    model[at..at + span].fill(0);
                }
                _ => {
                    let read = guest.read_at(sector, span).unwrap();
                    assert!(read == model[at..at + span], "{what} read");
                }
            }
        }
        assert_eq!(guest.flush(), OK);
        daemon.kill();
        let _daemon = site.start_with(&spec, &[]);
        guest.unplug();
        guest.plug(&site.path("vm1.sock"));
        for at in (0..len).step_by(65536) {
            let span = (len - at).min(65536);
            let read = guest.read_at((at / SECTOR) as u64, span).unwrap();
            assert!(
                read == model[at..at + span],
                "seed {seed}: {at} after a kill"
            );
        }
    }
}

/// Pages of two blocks that were never written, in no order and all at once: the first write of a
/// block leaves zeros where the others go.
#[test]
fn first_writes_to_the_pages_of_a_block_do_not_undo_each_other() {
    const PAGES: u64 = 32;
    const PAGE: u64 = 4096;
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=1MiB,block-size=64KiB")]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    let (headers, data) = (SCRATCH, SCRATCH + 0x1_0000);
    for i in 0..PAGES {
        // 11 is prime to 32. The last four pages of the second block are never written.
        let page = i * 11 % PAGES;
        if page >= PAGES - 4 {
            continue;
        }
        let mut header = [0; 16];
        header[..4].copy_from_slice(&OUT.to_le_bytes());
        header[8..].copy_from_slice(&(page * PAGE / 512).to_le_bytes());
        let (at, bytes) = (headers + 32 * page, data + PAGE * page);
        guest.write(at, &header);
        guest.write(at + 16, &[0xee]);
        guest.write(bytes, &[page as u8 + 1; PAGE as usize]);
        let chain = [
            readable(at, 16),
            readable(bytes, PAGE as u32),
            writable(at + 16, 1),
        ];
        let ring = &mut guest.rings[REQUESTS];
        ring.chain(&guest.memory, 3 * page as u16, &chain);
        ring.publish(&guest.memory, 3 * page as u16);
    }
    guest.rings[REQUESTS].kick();
    for _ in 0..PAGES - 4 {
        guest.rings[REQUESTS].wait_used(&guest.memory);
    }
    for page in 0..PAGES {
        let expected = if page < PAGES - 4 { page as u8 + 1 } else { 0 };
        if expected > 0 {
            assert_eq!(guest.read(headers + 32 * page + 16, 1), [OK], "page {page}");
        }
        let read = guest.read_at(page * PAGE / 512, PAGE as usize).unwrap();
        assert_eq!(read, [expected; PAGE as usize], "page {page}");
    }
}

/// A request is refused whole that touches a sector of a block that is not held.
#[test]
fn a_page_of_a_block_that_is_not_held_is_out_of_reach() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=256KiB,block-size=64KiB,held=64KiB")]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(120, &[5; 4096]), OK);
    assert_eq!(guest.write_at(120, &[6; 8192]), IOERR);
    assert_eq!(guest.read_at(128, 4096), Err(IOERR));
    let data = SCRATCH + 0x1000;
    assert_eq!(guest.request(IN, 127, &[writable(data, 1024)]), IOERR);
    assert_eq!(guest.range(DISCARD, 120, 16, 0), IOERR);
    assert_eq!(guest.read_at(120, 4096).unwrap(), [5; 4096]);
    assert_eq!(daemon.vssd().counters.rejects["not-held"], 4);
}
