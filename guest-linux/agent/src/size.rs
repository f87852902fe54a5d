//! Sizes and shares as text.

use std::fmt;
use std::str::FromStr;

/// Free space that the agent leaves to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Bytes.
    Bytes(u64),
    /// Percent of the size of the file system, 0 to 100.
    Percent(u64),
}

impl Reserve {
    /// Bytes, for a file system of `total` bytes.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Before the multiplication, so that it cannot overflow.
            Self::Percent(percent) => total / 100 * percent,
        }
    }
}

/// A text that is neither a size nor a share.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid reserve `{0}`; expected a size, e.g. 512MiB, or a share of the file system, e.g. 5%"
)]
pub struct InvalidReserve(String);

impl FromStr for Reserve {
    type Err = InvalidReserve;

    fn from_str(text: &str) -> Result<Self, InvalidReserve> {
        let invalid = || InvalidReserve(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let shift = match unit {
            "%" if number <= 100 => return Ok(Self::Percent(number)),
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(invalid()),
        };
        let bytes = number.checked_mul(1 << shift).ok_or_else(invalid)?;
        Ok(Self::Bytes(bytes))
    }
}

/// A number of bytes as an operator reads it: `1.5GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let Some((unit, shift)) = units.into_iter().find(|(_, shift)| self.0 >> shift > 0) else {
            return write!(f, "{}B", self.0);
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole}{unit}"),
            (whole, tenth) => write!(f, "{whole}.{tenth}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_are_sizes_or_shares() {
        for (text, reserve) in [
            ("0B", Reserve::Bytes(0)),
            ("512MiB", Reserve::Bytes(512 << 20)),
            ("0%", Reserve::Percent(0)),
            ("100%", Reserve::Percent(100)),
        ] {
            assert_eq!(text.parse::<Reserve>().unwrap(), reserve, "{text}");
        }
        for text in [
            "",
            "5",
            "%",
            "101%",
            "-1%",
            "5MB",
            "99999999999TiB",
            "1.5GiB",
        ] {
            let said = text.parse::<Reserve>().unwrap_err().to_string();
            assert!(said.contains(&format!("`{text}`")), "{said}");
        }
    }

    #[test]
    fn a_share_of_the_largest_size_fits() {
        assert_eq!(Reserve::Percent(100).of(u64::MAX), u64::MAX / 100 * 100);
        assert_eq!(Reserve::Percent(5).of(1000), 50);
    }

    #[test]
    fn sizes_are_rounded_down_to_a_tenth() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (3 << 29, "1.5GiB"),
            (u64::MAX, "16777215.9TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
