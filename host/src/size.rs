//! Sizes as text: `256MiB`, `1GiB`, or a plain number of blocks.
//!
//! Not the bytesize crate: it accepts and prints fractions, but a size here is exact, and a bare
//! number may count blocks.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written with a binary unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// An amount of storage that is either bytes or blocks: a bare number counts
/// blocks, a number with a unit counts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Blocks of the vSSD that it is applied to.
    Blocks(u64),
    /// Bytes.
    Bytes(ByteSize),
}

/// A number of blocks, printed as a size and as that number, since a request may use either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The number of blocks.
    pub count: u64,
    /// Bytes in a block.
    pub block_size: u32,
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = if self.count == 1 { "block" } else { "blocks" };
        match self.count.checked_mul(self.block_size.into()) {
            Some(bytes) => write!(f, "{} ({} {blocks})", ByteSize(bytes), self.count),
            None => write!(f, "{} {blocks}", self.count),
        }
    }
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number with a unit.
    #[error("invalid size `{0}`; expected e.g. 4096KiB, 256MiB or 1GiB")]
    Syntax(String),
    /// More than 64 bits of bytes.
    #[error("the size `{0}` does not fit 64 bits")]
    TooLarge(String),
    /// Bytes that are not a whole number of blocks.
    #[error("{bytes} is not a whole number of blocks of {block_size} bytes")]
    NotBlocks {
        /// What was asked for.
        bytes: ByteSize,
        /// Bytes in a block.
        block_size: u32,
    },
}

const UNITS: [(&str, u32); 6] = [
    ("TiB", 40),
    ("GiB", 30),
    ("MiB", 20),
    ("KiB", 10),
    ("B", 0),
    ("", 0),
];

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let syntax = || SizeError::Syntax(text.to_owned());
        let too_large = || SizeError::TooLarge(text.to_owned());
        let (_, shift) = UNITS
            .iter()
            .find(|(name, _)| !number.is_empty() && name.eq_ignore_ascii_case(unit.trim()))
            .ok_or_else(syntax)?;
        let number: u64 = number.parse().map_err(|_| too_large())?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(too_large)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS
            .iter()
            .find(|(_, shift)| self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift))
            .unwrap_or(&("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl ByteSize {
    /// Rounded, for messages: `5.3GiB`.
    pub fn rounded(self) -> String {
        let unit = UNITS.iter().find(|(_, shift)| self.0 >= 1 << shift);
        let (unit, shift) = unit.unwrap_or(&("B", 0));
        let tenths = (u128::from(self.0) * 10) >> shift;
        if tenths.is_multiple_of(10) {
            format!("{}{unit}", tenths / 10)
        } else {
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        }
    }
}

impl FromStr for Amount {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .map(Self::Blocks)
                .map_err(|_| SizeError::TooLarge(text.to_owned()));
        }
        text.parse().map(Self::Bytes)
    }
}

impl Amount {
    /// The amount in blocks of `block_size` bytes.
    pub fn in_blocks(self, block_size: u32) -> Result<u64, SizeError> {
        match self {
            Self::Blocks(blocks) => Ok(blocks),
            Self::Bytes(bytes) if bytes.0.is_multiple_of(block_size.into()) => {
                Ok(bytes.0 / u64::from(block_size))
            }
            Self::Bytes(bytes) => Err(SizeError::NotBlocks { bytes, block_size }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_are_written() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("256MiB", 1 << 28),
            ("4096KiB", 1 << 22),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!(ByteSize(1 << 22).to_string(), "4MiB");
        assert_eq!(ByteSize(0).to_string(), "0B");
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1 << 20, "1MiB"),
            (5_690_831_667, "5.2GiB"),
            (u64::MAX, "16777215.9TiB"),
        ] {
            assert_eq!(ByteSize(bytes).rounded(), text);
        }
        let blocks = |count| Blocks {
            count,
            block_size: 4096,
        };
        assert_eq!(blocks(5120).to_string(), "20MiB (5120 blocks)");
        assert_eq!(blocks(1).to_string(), "4KiB (1 block)");
        assert_eq!(blocks(u64::MAX).to_string(), "18446744073709551615 blocks");
        assert_eq!("4096".parse(), Ok(Amount::Blocks(4096)));
        assert_eq!("1MiB".parse::<Amount>().unwrap().in_blocks(4096), Ok(256));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "GiB",
            "1.5GiB",
            "-1",
            "1XB",
            "99999999999TiB",
            "18446744073709551616",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert!("5B".parse::<Amount>().unwrap().in_blocks(4096).is_err());
    }
}
