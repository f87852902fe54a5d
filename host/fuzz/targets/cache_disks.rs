//! The cache's metadata and the origin's journal, as a hypervisor may have left them. Checksums count
//! as right here.
#![no_main]

use fuzz::{Disk, at_once};
use guest_cache::metadata::MetaLog;
use guest_cache::origin_journal::OriginJournal;
use libfuzzer_sys::fuzz_target;

const BLOCKS: u32 = 64;

fuzz_target!(|input: (u8, Vec<(u8, u16, [u8; 8])>)| {
    let (held, changes) = input;
    // A few words in zeros: each change is a block, a place in it, and bytes there.
    let mut bytes = vec![0; BLOCKS as usize * 4096];
    for (block, at, word) in changes {
        let at = usize::from(block) % BLOCKS as usize * 4096 + usize::from(at) % 512 * 8;
        bytes[at..at + 8].copy_from_slice(&word);
    }
    let disk = Disk::new(BLOCKS, &bytes);
    let held = u32::from(held) % (BLOCKS + 1);
    if let Ok(recovered) = at_once(MetaLog::recover(&disk, &[0..held])) {
        assert!(recovered.slots().all(|(slot, _)| slot < BLOCKS));
    }
    let _ = at_once(OriginJournal::recover(&disk));
});
