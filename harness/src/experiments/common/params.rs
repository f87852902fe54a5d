//! Parameters: defaults from TOML, overridden by files and by the command line, and read into a
//! type that checks itself.
//!
//! A parameter is checked where it is read, by `#[serde(deserialize_with)]` and the functions
//! below, whose errors [`typed`] gives the name of the parameter.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use guest_cache::cache::MAX_SLOTS;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strum::VariantArray as _;
use vssd_host::size::{Amount, ByteSize};
use workloads::Workload;

use crate::experiments::common::cached::BLOCK;

/// A form of an experiment: a table in its file that changes some parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, strum::AsRefStr, strum::VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Form {
    /// More steps, sizes and repetitions.
    Full,
    /// Who picks the blocks of shrinks, by who decides the sizes (multiplex).
    Grid,
    /// A thousand VMs that arrive and depart (multiplex).
    Crowd,
}

/// Where parameters come from, the later winning.
#[derive(Clone, Debug, Default)]
pub struct Overrides<'a> {
    /// The form that is asked for; `None` for the quick one.
    pub form: Option<Form>,
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// `key=value` with a TOML value; a dot leads into a table.
    pub sets: &'a [String],
}

/// The parameters of an experiment whose defaults are the TOML text `defaults`.
pub fn resolve(defaults: &str, overrides: &Overrides<'_>) -> Result<toml::Table> {
    let mut table = toml::Table::new();
    let defaults: toml::Table = defaults.parse().context("the built-in parameters")?;
    // Any experiment has a full form: where it is the quick one, there is no table.
    if let Some(form @ (Form::Grid | Form::Crowd)) = overrides.form {
        ensure!(
            defaults.contains_key(form.as_ref()),
            "this experiment has no form `{}`: `harness list` shows forms as tables of parameters",
            form.as_ref()
        );
    }
    lay_over(&mut table, defaults, overrides.form);
    if let Some(path) = overrides.file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the parameters in {}", path.display()))?;
        let file: toml::Table = text
            .parse()
            .with_context(|| format!("{} is no TOML", path.display()))?;
        lay_over(&mut table, file, overrides.form);
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
        let mut keys = key.trim().split('.').rev();
        let last = keys.next().unwrap_or_default().to_owned();
        let one = toml::Table::from_iter([(last, parsed)]);
        let nested = keys.fold(one, |table, key| {
            toml::Table::from_iter([(key.to_owned(), toml::Value::Table(table))])
        });
        merge(&mut table, nested);
    }
    Ok(table)
}

/// Merges parameters with those that their form changes.
fn lay_over(table: &mut toml::Table, mut over: toml::Table, form: Option<Form>) {
    let forms: Vec<_> = Form::VARIANTS
        .iter()
        .map(|of| (*of, over.remove(of.as_ref())))
        .collect();
    merge(table, over);
    for (of, changes) in forms {
        if let (true, Some(toml::Value::Table(changes))) = (form == Some(of), changes) {
            merge(table, changes);
        }
    }
}

/// Puts the values of `over` into a table, and those of tables into its tables.
fn merge(table: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(table)), toml::Value::Table(over)) => merge(table, over),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

/// Typed parameters from a table; a wrong one is named.
pub fn typed<T: DeserializeOwned>(table: &toml::Table) -> Result<T> {
    T::deserialize(table.clone()).map_err(|error: toml::de::Error| {
        let (text, message) = (error.to_string(), error.message());
        // The key stands on a line of its own behind the message.
        let which = match text[message.len()..].trim().strip_prefix("in ") {
            Some(key) => format!("the parameter {key}"),
            None => "a parameter".to_owned(),
        };
        anyhow!("{which} is wrong: {message}; `harness list` shows them all")
    })
}

/// The parameters of an experiment.
pub trait Parameters: DeserializeOwned {
    /// Checks what several parameters are to each other.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Checked parameters from a table; a wrong one is named.
pub fn checked<P: Parameters>(table: &toml::Table) -> Result<P> {
    let params: P = typed(table)?;
    params.check()?;
    Ok(params)
}

/// A value that is written as text: `#[serde(with = "text")]`.
pub mod text {
    use super::*;

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A path, or none if it is empty: `#[serde(with = "path")]`.
pub mod path {
    use super::*;

    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_deref().unwrap_or(Path::new("")).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        let path = PathBuf::deserialize(from)?;
        Ok(Some(path).filter(|path| !path.as_os_str().is_empty()))
    }
}

/// A value of its text; an error says the text.
pub fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| {
        let error = error.to_string();
        if error.contains(&format!("`{text}`")) {
            error
        } else {
            format!("invalid value `{text}`: {error}")
        }
    })
}

/// A list that is not empty.
pub fn some<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let values = Vec::deserialize(from)?;
    if values.is_empty() {
        return Err(D::Error::custom("the list is empty; name at least one"));
    }
    Ok(values)
}

/// Values of a list that is not empty, each of its text.
pub fn each<'de, T, D: Deserializer<'de>>(
    from: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    let texts: Vec<String> = some(from)?;
    let values = texts.iter().map(|text| parse(text));
    values.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Values that are written as text, at least one.
pub fn texts<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    each(from, parse)
}

/// Values of which none is named twice.
pub fn once<T, N: PartialEq + Display, E: serde::de::Error>(
    values: Vec<T>,
    name: fn(&T) -> N,
) -> Result<Vec<T>, E> {
    let names: Vec<N> = values.iter().map(name).collect();
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            return Err(E::custom(format!("the list has `{name}` twice")));
        }
    }
    Ok(values)
}

/// Different values that are written as text, at least one.
pub fn different<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: Display> + Display,
    D: Deserializer<'de>,
{
    once(texts(from)?, T::to_string)
}

/// A number from `MIN` to `MAX`.
pub fn within<'de, const MIN: u32, const MAX: u32, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Display + PartialOrd + TryFrom<u32>,
    D: Deserializer<'de>,
{
    let value = T::deserialize(from)?;
    let is_within = T::try_from(MIN).is_ok_and(|min| value >= min)
        && T::try_from(MAX).is_ok_and(|max| value <= max);
    if is_within {
        Ok(value)
    } else {
        let expected = format_args!("invalid value {value}; expected {MIN} to {MAX}");
        Err(D::Error::custom(expected))
    }
}

/// Of a hundred.
pub fn percent<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Display + PartialOrd + TryFrom<u32>,
    D: Deserializer<'de>,
{
    within::<0, 100, T, D>(from)
}

/// A number that counts from 1.
pub fn positive<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + PartialOrd + From<u8>,
    D: Deserializer<'de>,
{
    let value = T::deserialize(from)?;
    if value < T::from(1) {
        return Err(D::Error::custom("invalid value 0; expected at least 1"));
    }
    Ok(value)
}

/// Bytes in a block of a vSSD.
pub fn block_size<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
    let size: ByteSize = text::deserialize(from)?;
    if size.0 == 0 || u32::try_from(size.0).is_err() {
        let message = format_args!("invalid block size {size}; expected e.g. 4KiB");
        return Err(D::Error::custom(message));
    }
    Ok(size)
}

/// A number of a cache's blocks, written as their size.
pub fn blocks<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    in_blocks(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// The size of a disk behind a cache.
pub fn disk_size<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
    Ok(ByteSize(u64::from(blocks(from)?) * BLOCK))
}

/// The size of a vSSD that is to be a cache.
pub fn cache_size<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
    of_cache(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// Sizes of vSSDs that are to be caches, at least one.
pub fn cache_sizes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ByteSize>, D::Error> {
    each(from, of_cache)
}

fn in_blocks(text: &str) -> Result<u32, String> {
    let size: ByteSize = parse(text)?;
    if size.0 == 0 || !size.0.is_multiple_of(BLOCK) {
        return Err(format!(
            "invalid size {size}; expected one or more blocks of {BLOCK} bytes"
        ));
    }
    u32::try_from(size.0 / BLOCK).map_err(|_| format!("{size} is more than 2^32 blocks"))
}

fn of_cache(text: &str) -> Result<ByteSize, String> {
    if in_blocks(text)? > MAX_SLOTS {
        return Err(format!(
            "{text} is more than the {MAX_SLOTS} blocks of a cache"
        ));
    }
    parse(text)
}

/// How many blocks a size in the parameter `key` is.
pub fn in_blocks_of(block_size: ByteSize, key: &str, size: ByteSize) -> Result<u32> {
    let blocks = Amount::Bytes(size).in_blocks(block_size.0 as u32);
    let blocks = blocks.with_context(|| format!("the parameter `{key}` is wrong"))?;
    u32::try_from(blocks)
        .with_context(|| format!("`{key}` is {size}, but a vSSD has less than 2^32 blocks"))
}

/// Checks that the path in the parameter `key` is that of a file.
pub fn check_file(key: &str, path: &Path) -> Result<()> {
    ensure!(
        path.is_file(),
        "`{key}` is {}, where there is no file",
        path.display()
    );
    Ok(())
}

/// Checks that a workload can be on so many blocks.
pub fn check_workload(key: &str, workload: &Workload, blocks: u32) -> Result<()> {
    let stream = workload.stream(blocks, 0, 0).map(drop);
    stream.with_context(|| format!("`{key}` has `{workload}`"))
}

/// Checks that the origin disk of a cache has the blocks that are accessed.
pub fn check_span(span: u32, origin: ByteSize) -> Result<()> {
    let size = ByteSize(u64::from(span) * BLOCK);
    ensure!(
        size <= origin,
        "`span` of {size} is more than the `origin` of {origin} has"
    );
    Ok(())
}
