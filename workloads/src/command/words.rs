//! The `key=value` words of a command's text.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::{Advice, Command, Discard, Enforce};
use crate::name::Name;
use crate::pattern::Workload;
use crate::pick::GuestPick;

/// Why a line is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The first word is not a verb.
    UnknownVerb(String),
    /// A word is not `key=value`, or the verb has no such key.
    UnknownKey {
        /// The verb.
        verb: String,
        /// The word.
        word: String,
    },
    /// The value is not of the key's kind.
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVerb(verb) => {
                let verbs = Command::VERBS.join(", ");
                write!(f, "unknown command `{verb}`; expected {verbs}")
            }
            Self::UnknownKey { verb, word } => write!(
                f,
                "invalid argument `{word}` of `{verb}`; expected key=value with one of its keys"
            ),
            Self::BadValue { key, value } => write!(f, "invalid value `{value}` for `{key}`"),
        }
    }
}

impl core::error::Error for ParseError {}

/// The words of a line after the verb; each is taken once.
pub(super) struct Words<'a> {
    pub(super) verb: &'a str,
    rest: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    pub(super) fn split(line: &'a str) -> Result<Self, ParseError> {
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest = words
            .map(|word| {
                word.split_once('=').ok_or_else(|| ParseError::UnknownKey {
                    verb: verb.to_string(),
                    word: word.to_string(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { verb, rest })
    }

    fn take<T: FromStr>(&mut self, key: &str, default: T) -> Result<T, ParseError> {
        let Some(at) = self.rest.iter().position(|(k, _)| *k == key) else {
            return Ok(default);
        };
        let (_, value) = self.rest.remove(at);
        value.parse().map_err(|_| ParseError::BadValue {
            key: key.to_string(),
            value: value.to_string(),
        })
    }

    pub(super) fn finish(self, command: Command) -> Result<Command, ParseError> {
        match self.rest.first() {
            None => Ok(command),
            Some((key, _)) => Err(ParseError::UnknownKey {
                verb: self.verb.to_string(),
                word: key.to_string(),
            }),
        }
    }
}

/// The value of a field of a command, as the word of its key.
pub(super) trait Value: Sized {
    /// Takes it out of `words`; it is `default` if they do not have the key.
    fn take(words: &mut Words<'_>, key: &str, default: Self) -> Result<Self, ParseError>;

    /// Writes the word, after a space.
    fn write(&self, key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

macro_rules! values {
    ($($type:ty),+ $(,)?) => {$(
        impl Value for $type {
            fn take(words: &mut Words<'_>, key: &str, default: Self) -> Result<Self, ParseError> {
                words.take(key, default)
            }

            fn write(&self, key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, " {key}={self}")
            }
        }
    )+};
}

values!(
    bool, u8, u32, u64, Advice, Discard, Enforce, GuestPick, Name, Workload
);

/// `trace=true` takes the place of a workload.
impl Value for Option<Workload> {
    fn take(words: &mut Words<'_>, key: &str, default: Self) -> Result<Self, ParseError> {
        if words.take("trace", false)? {
            return Ok(None);
        }
        let default = default.unwrap_or(super::DEFAULT_WORKLOAD);
        words.take(key, default).map(Some)
    }

    fn write(&self, key: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(workload) => workload.write(key, f),
            None => f.write_str(" trace=true"),
        }
    }
}
