//! Engines around engines: a model over transfers that outlast their submission.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use vm_memory::VolatileSlice;

use super::paced::{Pace, Paced};
use super::uring::Uring;
use super::{Direction, Engine};
use crate::emulation::{MediaKind, MediaModel, flash};

/// Of contents and of the order of transfers.
const SEED: u64 = 7;

const PAGE: usize = flash::PAGE as usize;
const PAGES: usize = 128;
const LEN: u64 = (PAGES * PAGE) as u64;

fn paced(kind: MediaKind, file: File) -> (Paced, Arc<Pace>) {
    let model = MediaModel::new(kind, LEN).unwrap();
    let pace = Arc::new(Pace::new(model));
    let uring = Uring::new(Arc::new(file), &[]).unwrap();
    let engine = Paced::new(Box::new(uring), pace.clone()).unwrap();
    (engine, pace)
}

/// Moves pages, each by a transfer named by its number, in the given order; what ended when.
fn transfer(
    engine: &mut Paced,
    direction: Direction,
    order: &[usize],
    pages: &mut [[u8; PAGE]],
) -> Vec<(usize, Instant)> {
    for &page in order {
        let slice = VolatileSlice::from(&mut pages[page][..]);
        let offset = (page * PAGE) as u64;
        assert!(engine.room() > 0);
        // SAFETY: the caller keeps the pages, and all transfers have ended on return.
        unsafe { engine.submit(page as u64, direction, offset, &mut [slice].into_iter()) };
    }
    engine.kick();
    let mut ends = Vec::new();
    while ends.len() < order.len() {
        engine.wait();
        while let Some((page, result)) = engine.ended() {
            result.unwrap();
            ends.push((page as usize, Instant::now()));
        }
    }
    assert!(engine.ended().is_none(), "nothing ends twice");
    ends
}

/// Every transfer ended once, and the n-th that a die was given no earlier than n accesses after `began`.
fn assert_paced(order: &[usize], ends: &[(usize, Instant)], began: Instant, permissions: Duration) {
    let mut given = [0; flash::DIES as usize];
    for &page in order {
        let die = page % given.len();
        given[die] += 1;
        let mut of = ends.iter().filter(|(ended, _)| *ended == page);
        let (Some((_, ended)), None) = (of.next(), of.next()) else {
            panic!("seed {SEED}: page {page} does not end once");
        };
        assert!(
            *ended - began >= permissions * given[die],
            "seed {SEED}, page {page}"
        );
    }
}

#[test]
fn a_file_by_io_uring_is_paced() {
    let mut rng = SmallRng::seed_from_u64(SEED);
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(LEN).unwrap();
    let (mut engine, pace) = paced(MediaKind::SlcFlash, file.reopen().unwrap());
    let times = MediaKind::SlcFlash.times();
    let mut order: Vec<usize> = (0..PAGES).collect();

    order.shuffle(&mut rng);
    let written: Vec<[u8; PAGE]> = (0..PAGES).map(|_| rng.random()).collect();
    let mut buffers = written.clone();
    let began = Instant::now();
    let ends = transfer(&mut engine, Direction::Write, &order, &mut buffers);
    assert_paced(&order, &ends, began, Duration::from_nanos(times.write_ns));
    let mut found = Vec::new();
    File::open(file.path())
        .unwrap()
        .read_to_end(&mut found)
        .unwrap();
    assert_eq!(found, written.concat(), "seed {SEED}");

    order.shuffle(&mut rng);
    let mut buffers = vec![[0; PAGE]; PAGES];
    let began = Instant::now();
    let ends = transfer(&mut engine, Direction::Read, &order, &mut buffers);
    assert_paced(&order, &ends, began, Duration::from_nanos(times.read_ns));
    assert_eq!(buffers, written, "seed {SEED}");
    assert_eq!(pace.wear().host_bytes, LEN);
}

#[test]
fn what_fails_in_a_paced_engine_fails_outside_and_takes_its_time() {
    let (mut engine, _) = paced(MediaKind::Hdd, tempfile::tempfile().unwrap());
    let mut buffer = [0; PAGE];
    let slice = VolatileSlice::from(&mut buffer[..]);
    let began = Instant::now();
    // SAFETY: the buffer lives to the end of the test.
    unsafe { engine.submit(9, Direction::Read, 0, &mut [slice].into_iter()) };
    engine.kick();
    let (token, result) = loop {
        engine.wait();
        if let Some(ended) = engine.ended() {
            break ended;
        }
    };
    assert!(began.elapsed() >= Duration::from_nanos(MediaKind::Hdd.times().read_ns));
    let kind = result.unwrap_err().kind();
    assert_eq!((token, kind), (9, ErrorKind::UnexpectedEof));
}
