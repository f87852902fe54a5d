//! Parameters: defaults from TOML, overridden by files and by the command line.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use guest_cache::Policy;
use guest_cache::WritePolicy;
use guest_cache::cache::MAX_SLOTS;
use serde::de::DeserializeOwned;
use vssd_host::size::ByteSize;
use workloads::{GuestPick, Workload};

use crate::experiments::common::cached::BLOCK;

/// The table of the full form inside an experiment's file.
const FULL: &str = "full";

/// Where parameters come from, the later winning.
#[derive(Clone, Debug, Default)]
pub struct Overrides<'a> {
    /// Whether the full form is asked for.
    pub full: bool,
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// `key=value` with a TOML value.
    pub sets: &'a [String],
}

/// The parameters of an experiment whose defaults are the TOML text `defaults`.
pub fn resolve(defaults: &str, overrides: &Overrides<'_>) -> Result<toml::Table> {
    let mut table: toml::Table = defaults.parse().context("the built-in parameters")?;
    let full = table.remove(FULL);
    if let (true, Some(toml::Value::Table(full))) = (overrides.full, full) {
        table.extend(full);
    }
    if let Some(path) = overrides.file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the parameters in {}", path.display()))?;
        let mut file: toml::Table = text
            .parse()
            .with_context(|| format!("{} is no TOML", path.display()))?;
        let full = file.remove(FULL);
        table.extend(file);
        if let (true, Some(toml::Value::Table(full))) = (overrides.full, full) {
            table.extend(full);
        }
    }
    for set in overrides.sets {
        let (key, value) = set
            .split_once('=')
            .with_context(|| format!("--set takes key=value, not `{set}`"))?;
        // A bare word is a string: --set size=64MiB.
        let parsed = format!("v = {value}")
            .parse::<toml::Table>()
            .ok()
            .and_then(|mut table| table.remove("v"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        table.insert(key.trim().to_owned(), parsed);
    }
    Ok(table)
}

/// Typed parameters from a table; a wrong one is named.
pub fn typed<T: DeserializeOwned>(table: &toml::Table) -> Result<T> {
    T::deserialize(table.clone()).map_err(|error: toml::de::Error| {
        // The key stands on a line of its own behind the message.
        let text = error.to_string().trim().replace('\n', " ");
        anyhow::anyhow!("a parameter is wrong: {text}; `harness list` shows them all")
    })
}

/// A size in a parameter.
pub fn size(key: &str, text: &str) -> Result<ByteSize> {
    text.parse()
        .with_context(|| format!("the parameter `{key}` is wrong"))
}

/// A size in a parameter, in blocks of a cache.
pub fn blocks(key: &str, text: &str) -> Result<u32> {
    let size = size(key, text)?;
    ensure!(
        size.0 > 0 && size.0.is_multiple_of(BLOCK),
        "`{key}` is {size}: choose a number of blocks of {BLOCK} bytes"
    );
    u32::try_from(size.0 / BLOCK)
        .with_context(|| format!("`{key}` of {size} is more than 2^32 blocks"))
}

/// The size of a vSSD that is to be a cache.
pub fn cache_size(key: &str, text: &str) -> Result<ByteSize> {
    let slots = blocks(key, text)?;
    ensure!(
        slots <= MAX_SLOTS,
        "`{key}` of {text} is more than the {MAX_SLOTS} blocks of a cache"
    );
    size(key, text)
}

/// Writes in a hundred, or the like.
pub fn percent(key: &str, percent: u32) -> Result<()> {
    ensure!(percent <= 100, "`{key}` is {percent}: choose 0 to 100");
    Ok(())
}

/// An eviction policy in a parameter.
pub fn policy(key: &str, text: &str) -> Result<Policy> {
    text.parse()
        .with_context(|| format!("`{key}` has `{text}`"))
}

/// A write policy in a parameter.
pub fn write_policy(key: &str, text: &str) -> Result<WritePolicy> {
    text.parse()
        .with_context(|| format!("`{key}` has `{text}`"))
}

/// A workload on so many blocks.
pub fn workload(key: &str, text: &str, span: u32) -> Result<Workload> {
    let workload: Workload = text
        .parse()
        .map_err(|_| anyhow!("`{key}` has `{text}`, which is no workload"))?;
    workload
        .stream(span, 0, 0)
        .with_context(|| format!("`{key}` has `{text}`"))?;
    Ok(workload)
}

/// Each text of a list, which is not empty.
pub fn each<T>(
    key: &str,
    texts: &[String],
    parse: impl Fn(&str, &str) -> Result<T>,
) -> Result<Vec<T>> {
    ensure!(!texts.is_empty(), "`{key}` is empty");
    texts.iter().map(|text| parse(key, text)).collect()
}

/// How a guest picks, from names in the parameter `picks`.
pub fn picks(names: &[String]) -> Result<Vec<GuestPick>> {
    each("picks", names, pick)
}

/// How a guest picks, in a parameter.
pub fn pick(key: &str, text: &str) -> Result<GuestPick> {
    text.parse()
        .map_err(|error: String| anyhow!("`{key}`: {error}"))
}
