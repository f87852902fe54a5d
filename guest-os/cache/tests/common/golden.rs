//! The misses that `golden.py` counted.

use super::sequence;

/// Requests of a sequence.
pub const REQUESTS: u32 = 200_000;

/// A line of the file.
pub struct Golden {
    pub name: &'static str,
    pub sequence: &'static str,
    pub capacity: u32,
    pub misses: u64,
}

/// The lines of the file.
pub fn golden() -> impl Iterator<Item = Golden> {
    let lines = include_str!("../golden.csv").lines().skip(1);
    lines.map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        let &[name, sequence, capacity, misses] = fields.as_slice() else {
            panic!("{line}");
        };
        Golden {
            name,
            sequence,
            capacity: capacity.parse().expect(line),
            misses: misses.parse().expect(line),
        }
    })
}

/// Calls `each` with every line and the requests of its sequence.
pub fn for_each(mut each: impl FnMut(Golden, &[u32])) {
    let mut requests = ("", Vec::new());
    for line in golden() {
        if requests.0 != line.sequence {
            requests = (line.sequence, sequence(line.sequence, REQUESTS));
        }
        each(line, &requests.1);
    }
}
