//! Block sets of a peer: what is accepted is sorted, within the device, and can be sent again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vssd::block_set::BlockSet;
use vssd::encoding::{SetView, encode};
use vssd::units::Geometry;
use vssd::wire::Encoding;

fuzz_target!(|input: (u16, u8, &[u8])| {
    let (capacity, block_size, bytes) = input;
    let Ok(geometry) = Geometry::new(512 << (block_size % 12), u64::from(capacity)) else {
        return;
    };
    let Ok(view) = SetView::parse(bytes, geometry) else {
        return;
    };
    let (mut end, mut count) = (0, 0);
    for run in view.runs() {
        assert!(run.len > 0 && run.start >= end && run.end() <= geometry.capacity());
        (end, count) = (run.end(), count + run.len);
    }
    assert_eq!(count, view.len());
    let mut set = BlockSet::empty(geometry.capacity());
    set.insert_view(&view);
    assert_eq!(set.len(), count);
    for encoding in [Encoding::Compact, Encoding::List4096] {
        let mut again = BlockSet::empty(geometry.capacity());
        let (mut from, mut buffer) = (0, vec![0; 64 << 10]);
        while from < geometry.capacity() {
            let out = encode(&set, from, u32::MAX, encoding, geometry, &mut buffer);
            let part = SetView::parse(&buffer[..out.len], geometry).expect("own encoding");
            assert_eq!(again.insert_view(&part), part.len());
            assert!(out.next > from, "no progress from {from}");
            from = out.next;
        }
        assert_eq!(again, set);
    }
});
