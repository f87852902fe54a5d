//! The names of the policies, and a cache by a policy that is known at run time.

use core::fmt;
use core::str::FromStr;

use super::arc::Arc;
use super::clock::Clock;
use super::fifo::Fifo;
use super::lfu::Lfu;
use super::lirs::Lirs;
use super::lru::Lru;
use super::s3_fifo::S3Fifo;
use super::sieve::Sieve;
use super::two_q::TwoQ;
use super::w_tiny_lfu::WTinyLfu;
use crate::cache::{Admission, Cache, Cached, Revoked};

/// Makes the closed set of policies out of one line each: the enum, the names,
/// and the cache that is one of them. A request then costs a jump by the
/// variant, which is always the same one, rather than a virtual call; a caller
/// that wants not even this is generic over [`super::Eviction`].
macro_rules! policies {
    ($($(#[$doc:meta])* $policy:ident = $name:literal,)*) => {
        /// Eviction policies of a cache. Who picks the blocks of a shrink is another question: see
        /// `workloads::pick`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Policy {
            $($(#[$doc])* $policy,)*
        }

        impl Policy {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$policy),*];

            /// The name, as in [`FromStr`] and [`Display`](fmt::Display).
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$policy => $name,)*
                }
            }

            /// A cache that may have any of `slots` slots and has none yet.
            pub fn cache(self, slots: u32) -> AnyCache {
                match self {
                    $(Self::$policy => AnyCache::$policy(Cache::new(slots)),)*
                }
            }
        }

        /// A [`Cache`] by a policy that is known at run time.
        #[derive(Clone, Debug)]
        pub enum AnyCache {
            $($(#[$doc])* $policy(Cache<$policy>),)*
        }

        /// Does the same on whichever cache it is.
        macro_rules! with {
            ($any:expr, $cache:ident => $body:expr) => {
                match $any {
                    $(AnyCache::$policy($cache) => $body,)*
                }
            };
        }

        impl AnyCache {
            /// Its policy.
            pub fn policy(&self) -> Policy {
                match self {
                    $(Self::$policy(_) => Policy::$policy,)*
                }
            }
        }
    };
}

policies! {
    /// First in, first out.
    Fifo = "fifo",
    /// First in, first out, with a second chance.
    Clock = "clock",
    /// Least recently used.
    Lru = "lru",
    /// A hand that sifts a queue in place.
    Sieve = "sieve",
    /// A small queue before a main one, with second chances.
    S3Fifo = "s3-fifo",
    /// Least frequently used.
    Lfu = "lfu",
    /// A queue before an LRU list.
    TwoQ = "2q",
    /// Two LRU lists whose shares adapt.
    Arc = "arc",
    /// A window before an LRU list, admission by a count of requests.
    WTinyLfu = "w-tiny-lfu",
    /// What lies between a block's last two requests.
    Lirs = "lirs",
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An unknown policy name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown eviction policy; expected one of:")?;
        Policy::ALL
            .iter()
            .try_for_each(|policy| write!(f, " {policy}"))
    }
}

impl core::error::Error for UnknownPolicy {}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let named = Self::ALL.iter().find(|policy| policy.name() == name);
        named.copied().ok_or(UnknownPolicy)
    }
}

/// As in [`Cache`], each of them.
impl AnyCache {
    /// How many slots it has.
    pub fn capacity(&self) -> u32 {
        with!(self, cache => cache.capacity())
    }

    /// How many blocks it has.
    pub fn len(&self) -> u32 {
        with!(self, cache => cache.len())
    }

    /// Whether it has no block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of heap.
    pub fn memory_bytes(&self) -> usize {
        with!(self, cache => cache.memory_bytes())
    }

    /// See [`Cache::access`].
    #[inline]
    pub fn access(&mut self, block: u32) -> Option<u32> {
        with!(self, cache => cache.access(block))
    }

    /// See [`Cache::touch`].
    pub fn touch(&mut self, block: u32) {
        with!(self, cache => cache.touch(block))
    }

    /// See [`Cache::find`].
    pub fn find(&self, block: u32) -> Option<u32> {
        with!(self, cache => cache.find(block))
    }

    /// See [`Cache::admit`].
    #[inline]
    pub fn admit(&mut self, block: u32) -> Admission {
        with!(self, cache => cache.admit(block))
    }

    /// See [`Cache::discard`].
    pub fn discard(&mut self, block: u32) -> Option<Cached> {
        with!(self, cache => cache.discard(block))
    }

    /// See [`Cache::revoke`].
    pub fn revoke(&mut self, slot: u32) -> Revoked {
        with!(self, cache => cache.revoke(slot))
    }

    /// See [`Cache::surrender`].
    pub fn surrender(&mut self, count: u32, each: impl FnMut(u32, Option<Cached>)) -> u32 {
        with!(self, cache => cache.surrender(count, each))
    }

    /// See [`Cache::surrender_keeping`].
    pub fn surrender_keeping(
        &mut self,
        count: u32,
        keep: impl FnMut(u32, u32) -> bool,
        each: impl FnMut(u32, Option<Cached>),
    ) -> u32 {
        with!(self, cache => cache.surrender_keeping(count, keep, each))
    }

    /// See [`Cache::grow`].
    pub fn grow(&mut self, slots: impl IntoIterator<Item = u32>) {
        with!(self, cache => cache.grow(slots))
    }

    /// See [`Cache::has_flag`].
    pub fn has_flag(&self, slot: u32) -> bool {
        with!(self, cache => cache.has_flag(slot))
    }

    /// See [`Cache::set_flag`].
    pub fn set_flag(&mut self, slot: u32, flag: bool) {
        with!(self, cache => cache.set_flag(slot, flag))
    }

    /// See [`Cache::mark`].
    pub fn mark(&self, slot: u32) -> u8 {
        with!(self, cache => cache.mark(slot))
    }

    /// See [`Cache::set_mark`].
    pub fn set_mark(&mut self, slot: u32, mark: u8) {
        with!(self, cache => cache.set_mark(slot, mark))
    }

    /// See [`Cache::block`].
    pub fn block(&self, slot: u32) -> Option<u32> {
        with!(self, cache => cache.block(slot))
    }

    /// Calls `each` with every block and its slot, by slot.
    pub fn for_each(&self, each: impl FnMut((u32, u32))) {
        with!(self, cache => cache.iter().for_each(each))
    }

    /// See [`Cache::check`].
    pub fn check(&self) {
        with!(self, cache => cache.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_read_as_they_are_written() {
        for &policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(policy.cache(10).policy(), policy);
        }
        assert_eq!("mru".parse::<Policy>(), Err(UnknownPolicy));
        assert!(UnknownPolicy.to_string().ends_with("lirs"));
    }
}
