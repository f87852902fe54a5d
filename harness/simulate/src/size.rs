//! Cache sizes on the command line.

use std::fmt;
use std::str::FromStr;

use guest_cache::cache::MAX_SLOTS;
use vssd_host::size::Amount;
use workloads::trace::BLOCK_BYTES;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CacheSize {
    /// Blocks or bytes.
    Amount(Amount),
    /// Percentage of the distinct blocks accessed.
    Percent(f64),
}

impl FromStr for CacheSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(number) = text.strip_suffix('%') {
            return match number.parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(format!("invalid share `{text}`; expected 0% to 100%")),
            };
        }
        let amount = text.parse().map_err(|error| {
            format!("{error}; expected a number of blocks (4096), bytes (1GiB) or a share of the distinct blocks accessed (10%)")
        })?;
        Ok(Self::Amount(amount))
    }
}

impl fmt::Display for CacheSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(Amount::Blocks(blocks)) => write!(f, "{blocks}"),
            Self::Amount(Amount::Bytes(bytes)) => write!(f, "{bytes}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl CacheSize {
    /// The size in blocks, if `distinct` blocks are accessed.
    ///
    /// # Errors
    /// When it is not a whole number of blocks, or exceeds the limit of a cache.
    pub fn blocks(self, distinct: u32) -> Result<u32, String> {
        let blocks = match self {
            Self::Amount(amount) => {
                let blocks = amount.in_blocks(BLOCK_BYTES as u32);
                blocks.map_err(|error| format!("a cache of {self}: {error}"))?
            }
            Self::Percent(percent) => (f64::from(distinct) * percent / 100.0).round() as u64,
        };
        let fitting = u32::try_from(blocks).ok();
        fitting.filter(|blocks| *blocks <= MAX_SLOTS).ok_or_else(|| {
            format!(
                "a cache of {self} has {blocks} blocks, but the limit is {MAX_SLOTS}: set a smaller --size"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_blocks_bytes_or_percentages() {
        let blocks = |text: &str| text.parse::<CacheSize>().unwrap().blocks(1000);
        assert_eq!(blocks("64"), Ok(64));
        assert_eq!(blocks("0"), Ok(0));
        assert_eq!(blocks("1MiB"), Ok(256));
        assert_eq!(blocks("12.5%"), Ok(125));
        assert_eq!(blocks("0%"), Ok(0));
        assert!(blocks("1025B").is_err());
        assert!(blocks("1TiB").unwrap_err().contains("--size"));
        for text in ["", "%", "101%", "-1%", "big", "NaN%"] {
            assert!(text.parse::<CacheSize>().is_err(), "{text}");
        }
    }
}
