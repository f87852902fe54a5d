//! Tables and states of dm-cache as text, see Documentation/admin-guide/device-mapper/cache.rst.

use crate::disk::Target;

/// The policy that writes all dirty blocks back, and brings in none.
pub const CLEANER: &str = "cleaner";

/// The policy of a cache whose own is not known.
pub const DEFAULT_POLICY: &str = "smq";

/// The parameters of a cache: where its parts are, and its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheTable {
    /// The number of the fast device, as `254:0`.
    pub data: String,
    /// Sectors in a block of the cache.
    pub block_sectors: u64,
    /// How blocks are replaced.
    pub policy: String,
    /// What goes before the policy, as it is.
    before: Vec<String>,
    /// What goes behind it.
    after: Vec<String>,
    start: u64,
    len: u64,
}

impl CacheTable {
    /// The cache in a table; `None` when it is none.
    pub fn parse(table: &[Target]) -> Option<Self> {
        let [target] = table else { return None };
        if target.kind != "cache" {
            return None;
        }
        let words: Vec<&str> = target.params.split_ascii_whitespace().collect();
        // metadata, data, origin, block size, number of features, features, policy, …
        let features: usize = words.get(4)?.parse().ok()?;
        let at = features.checked_add(5)?;
        let policy = words.get(at)?;
        let block_sectors = words[3].parse().ok().filter(|sectors| *sectors > 0)?;
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Some(Self {
            data: words[1].to_owned(),
            block_sectors,
            policy: (*policy).to_owned(),
            before: own(&words[..at]),
            after: own(&words[at + 1..]),
            start: target.start,
            len: target.len,
        })
    }

    /// The same with another policy, which has its own parameters.
    pub fn with_policy(&self, policy: &str) -> Self {
        let after = if policy == self.policy {
            self.after.clone()
        } else {
            vec!["0".to_owned()]
        };
        Self {
            policy: policy.to_owned(),
            after,
            ..self.clone()
        }
    }

    /// The table to load.
    pub fn to_table(&self) -> Vec<Target> {
        let mut words = self.before.clone();
        words.push(self.policy.clone());
        words.extend_from_slice(&self.after);
        vec![Target {
            start: self.start,
            len: self.len,
            kind: "cache".to_owned(),
            params: words.join(" "),
        }]
    }
}

/// Blocks of the cache that are not on the origin yet; `None` when the state does not say.
pub fn dirty(status: &[Target]) -> Option<u64> {
    let [target] = status else { return None };
    // Block size and use of the metadata and of the cache, six counters, dirty, …
    target.params.split_ascii_whitespace().nth(10)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: &str, params: &str) -> Vec<Target> {
        vec![Target {
            start: 0,
            len: 2048,
            kind: kind.to_owned(),
            params: params.to_owned(),
        }]
    }

    #[test]
    fn a_table_is_written_as_it_was_read() {
        for params in [
            "253:1 253:0 8:0 128 0 smq 0",
            "253:1 253:0 8:0 128 2 metadata2 writeback smq 2 migration_threshold 2048",
        ] {
            let table = CacheTable::parse(&target("cache", params)).unwrap();
            assert_eq!((table.data.as_str(), table.block_sectors), ("253:0", 128));
            assert_eq!(table.policy, "smq");
            assert_eq!(table.to_table(), target("cache", params));
            let cleaner = table.with_policy(CLEANER);
            assert!(cleaner.to_table()[0].params.ends_with("cleaner 0"));
            assert_eq!(table.with_policy("smq"), table);
        }
    }

    #[test]
    fn what_is_no_cache_is_none() {
        for (kind, params) in [
            ("linear", "254:0 0"),
            ("cache", ""),
            ("cache", "253:1 253:0 8:0 128 9 smq 0"),
            ("cache", "253:1 253:0 8:0 0 0 smq 0"),
            ("cache", "253:1 253:0 8:0 128 18446744073709551615 smq 0"),
        ] {
            assert_eq!(CacheTable::parse(&target(kind, params)), None, "{params}");
        }
        assert_eq!(CacheTable::parse(&[]), None);
    }

    #[test]
    fn the_state_says_what_is_dirty() {
        let state = "8 27/4096 128 16/1600 1 2 3 4 5 6 77 1 writeback 2 migration_threshold 2048 \
                     smq 0 rw -";
        assert_eq!(dirty(&target("cache", state)), Some(77));
        assert_eq!(dirty(&target("cache", "Fail")), None);
    }
}
