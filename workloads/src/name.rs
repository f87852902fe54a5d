//! A short name of something that a command selects and this crate does not define, such
//! as a policy of the guest's cache.

use core::fmt;
use core::str::FromStr;

/// The most bytes of a name.
pub const NAME_BYTES_MAX: usize = 16;

/// A name of up to [`NAME_BYTES_MAX`] lower-case letters, digits and hyphens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    len: u8,
}

/// The text is empty, too long, or has other characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl Name {
    /// A name from text that is known to be valid.
    ///
    /// # Panics
    /// When the text is not a name.
    pub fn of(text: &str) -> Self {
        text.parse()
            .expect("lower-case letters, digits and hyphens")
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("checked when it was made")
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_fit) {
            return Err(NotAName);
        }
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self {
            bytes,
            len: text.len() as u8,
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_name_is_short_and_plain() {
        for text in ["lru", "s3-fifo", "2q", "sixteen-letters-"] {
            assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        }
        for text in ["", "LRU", "a b", "a=b", "seventeen-letters"] {
            assert_eq!(text.parse::<Name>(), Err(NotAName), "{text}");
        }
    }
}
