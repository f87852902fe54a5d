//! The experiments, each in a folder of its own: what it asks for (`defaults.toml`,
//! `params`), what it does (`run`), what it records (`rows`), and what that shows (`claims`,
//! `figures`).
//!
//! To add one, add a folder, and name it here: its module, and its line in [`ALL`].
//!
//! Counts and what depends on timing are in separate files: the files of counts are
//! byte-identical for the same seed, under QEMU and on twins; the `_timing` files differ
//! between runs.
//! `docs/src/reference/columns.md` defines every column. Units are last in a name: `_ns` nanoseconds,
//! `_blocks` blocks; counts of reads and errors have none. Times are of the host's clock
//! unless the name says `guest`.

pub(crate) mod bench_cache;
pub(crate) mod bench_io;
pub(crate) mod bench_resize;
pub(crate) mod bench_sampler;
pub(crate) mod blockcache;
pub mod common;
pub(crate) mod correctness;
pub(crate) mod direct_io;
pub mod eviction;
pub mod experiment;
pub(crate) mod knowledge;
pub mod latency;
pub(crate) mod linux;
pub(crate) mod media;
pub(crate) mod multiplex;
pub(crate) mod overhead;
pub(crate) mod sharing;
pub(crate) mod shrinkcache;
pub mod sim;
pub(crate) mod writepolicy;

use experiment::Entry;

/// All of them.
pub static ALL: &[&dyn Entry] = &[
    &correctness::Correctness,
    &eviction::Eviction,
    &overhead::Overhead,
    &latency::Latency,
    &sharing::Sharing,
    &linux::Linux,
    &direct_io::DirectIo,
    &media::Media,
    &blockcache::BlockCache,
    &writepolicy::WritePolicy,
    &shrinkcache::ShrinkCache,
    &knowledge::Knowledge,
    &multiplex::Multiplex,
    &sim::Sim,
    &bench_io::BenchIo,
    &bench_resize::BenchResize,
    &bench_cache::BenchCache,
    &bench_sampler::BenchSampler,
];

/// Those of 2017, in the order in which they run when none is named.
pub(crate) static OF_2017: [&dyn Entry; 3] = [
    &correctness::Correctness,
    &eviction::Eviction,
    &overhead::Overhead,
];

/// The experiment of that name.
pub fn by_name(name: &str) -> Option<&'static dyn Entry> {
    ALL.iter().copied().find(|of| of.name() == name)
}

#[cfg(test)]
mod tests;
