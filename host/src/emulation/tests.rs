//! Schedules computed by hand.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::io::Direction::{Read, Write};

const LEN: u64 = 64 << 20;

fn model(kind: MediaKind) -> MediaModel {
    MediaModel::new(kind, LEN).unwrap()
}

#[test]
fn a_disk_does_one_request_after_the_other() {
    let mut disk = model(MediaKind::Hdd);
    assert_eq!(disk.start(0, Read, 0, 4096), 5_000_000);
    assert_eq!(disk.start(1_000_000, Write, 1 << 20, 65_536), 10_000_000);
    assert_eq!(disk.start(20_000_000, Read, 0, 512), 25_000_000);
}

#[test]
fn dies_of_flash_work_side_by_side() {
    let mut flash = model(MediaKind::SlcFlash);
    let page = |page: u64| page * flash::PAGE;
    assert_eq!(flash.start(0, Read, page(0), 4096), 25_000);
    assert_eq!(flash.start(0, Read, page(1), 4096), 25_000, "another die");
    assert_eq!(flash.start(0, Read, page(8), 4096), 50_000, "the first die");
    assert_eq!(flash.start(0, Write, page(2), 4096), 500_000);
    // Nine pages from the third on: two of them on its die, which is busy.
    assert_eq!(flash.start(100_000, Write, page(2), 9 * 4096), 1_500_000);
    // A part of a page that is there: it is read before.
    assert_eq!(flash.start(2_000_000, Write, page(2), 512), 2_525_000);
}

#[test]
fn banks_of_a_memory_work_side_by_side() {
    let mut pcm = model(MediaKind::Pcm);
    assert_eq!(pcm.start(0, Read, 0, 4096), 200, "64 lines, 4 to a bank");
    assert_eq!(pcm.start(0, Write, 0, 64), 700, "after these");
    assert_eq!(
        pcm.start(0, Read, 60, 8),
        750,
        "two lines, one on that bank"
    );
    // 17 lines from bank 3 on: bank 3 has two.
    assert_eq!(pcm.start(1000, Write, 3 * 64, 17 * 64), 2000);
    assert_eq!(pcm.start(1000, Read, 4 * 64, 64), 1550);
    assert_eq!(pcm.start(1000, Read, 3 * 64, 64), 2050);
}

#[test]
fn a_memory_in_closed_form_is_one_line_after_the_other() {
    for seed in 0..8 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut memory = model(MediaKind::SttRam);
        let mut banks = [0u64; memory::BANKS as usize];
        let mut now = 0;
        for _ in 0..500 {
            now += rng.random_range(0..400);
            let direction = if rng.random() { Read } else { Write };
            let offset = rng.random_range(0..LEN - 9000);
            let len = rng.random_range(1..9000);
            let mut done = now;
            for line in offset / 64..=(offset + len - 1) / 64 {
                let bank = &mut banks[(line % memory::BANKS) as usize];
                *bank = now.max(*bank) + MediaKind::SttRam.times().of(direction);
                done = done.max(*bank);
            }
            let model = memory.start(now, direction, offset, len);
            assert_eq!(model, done, "seed {seed}");
        }
    }
}

#[test]
fn no_die_reads_more_than_there_is_time_for() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut flash = model(MediaKind::SlcFlash);
    let pages = LEN / flash::PAGE;
    let mut ends = [const { Vec::new() }; flash::DIES as usize];
    for now in (0..1_000_000).step_by(500) {
        let page = rng.random_range(0..pages);
        let done = flash.start(now, Read, page * flash::PAGE, 4096);
        assert!(done >= now + 25_000);
        ends[(page % flash::DIES) as usize].push(done);
    }
    for ends in ends {
        assert!(ends.windows(2).all(|pair| pair[1] >= pair[0] + 25_000));
    }
}

#[test]
fn wear_is_of_what_was_written() {
    let mut pcm = model(MediaKind::Pcm);
    // Twice the second region, and half of the third.
    pcm.start(0, Write, 2 << 20, 3 << 20);
    pcm.start(0, Write, 2 << 20, 2 << 20);
    pcm.start(0, Read, 0, LEN);
    let wear = pcm.wear();
    assert_eq!((wear.cycles_max, wear.host_bytes), (2.0, 5 << 20));
    assert_eq!(wear.cycles_mean, 2.5 / 32.0);
    assert_eq!((wear.media_bytes, wear.write_amplification), (5 << 20, 1.0));
    assert_eq!(wear.limit, Some((100_000_000, 1_000_000_000)));
    // A byte costs a line.
    pcm.start(0, Write, 0, 1);
    assert_eq!(pcm.wear().media_bytes, (5 << 20) + 64);
}

#[test]
fn random_overwrites_wear_flash_more_than_those_in_order() {
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut ordered, mut random) = (model(MediaKind::SlcFlash), model(MediaKind::SlcFlash));
    let pages = LEN / flash::PAGE;
    for step in 0..4 * pages {
        ordered.start(0, Write, step % pages * flash::PAGE, 4096);
        random.start(0, Write, rng.random_range(0..pages) * flash::PAGE, 4096);
    }
    let (ordered, random) = (ordered.wear(), random.wear());
    assert_eq!(ordered.write_amplification, 1.0);
    assert!(random.write_amplification > 1.2);
    assert!(random.erases > ordered.erases);
    assert!(random.cycles_max >= random.cycles_mean);
    assert_eq!(random.host_bytes, 4 * LEN);
}

#[test]
fn what_lies_outside_takes_no_time() {
    for kind in MediaKind::ALL {
        let mut model = model(kind);
        assert_eq!(model.start(7, Write, LEN, 4096), 7, "{kind}");
        assert_eq!(model.start(7, Write, u64::MAX, u64::MAX), 7);
        assert!(model.start(7, Write, LEN - 64, u64::MAX) > 7);
    }
    let error = MediaModel::new(MediaKind::Pcm, MediaModel::LEN_MAX + 1).unwrap_err();
    assert!(error.to_string().contains("1TiB"), "{error}");
}
