//! The cache of a Linux guest: finds its fast device, and keeps its full length.

use std::fs;
use std::path::PathBuf;

use vssd::stream::Identity;

use super::table::CacheTable;
use super::{CacheDisk, CacheMapper, Part, Shape};
use crate::disk::{DeviceNumber, Devices, Target, Which, below};
use crate::dm::{Mapper, Name};
use crate::error::{During, Error, Result};

/// Files here live as long as the devices: until the guest is switched off.
const STATE: &str = "/run/vssd-agent";

/// The two devices in the guest's device mapper.
#[derive(Debug)]
pub struct LinuxCache {
    mapper: Mapper,
    cache: Name,
    data: Name,
    state: PathBuf,
}

/// Checks that there is such a cache.
///
/// # Errors
/// When there is none.
pub fn check(name: &str) -> Result<()> {
    find(&Mapper::new(), name).map(|_| ())
}

/// The table of the cache, and the number of its fast device.
fn find(mapper: &Mapper, name: &str) -> Result<(CacheTable, DeviceNumber)> {
    let table = mapper.table_of(&Name::Mapped(name.to_owned()))?;
    let table = CacheTable::parse(&table).ok_or_else(|| {
        let kinds: Vec<&str> = table.iter().map(|target| target.kind.as_str()).collect();
        Error::refused(format_args!(
            "{name} is no dm-cache but {}",
            kinds.join(", ")
        ))
    })?;
    let data = DeviceNumber::parse(&table.data)
        .ok_or_else(|| Error::Failed(format!("{name} has a fast device `{}`", table.data)))?;
    Ok((table, data))
}

/// The cache on the vSSD with this identity.
///
/// # Errors
/// When its fast device cannot be made shorter, or is elsewhere.
pub fn attach(name: &str, identity: &Identity, which: &Which) -> Result<CacheDisk<LinuxCache>> {
    let mapper = Mapper::new();
    let (_, data) = find(&mapper, name)?;
    let shape = shape(&mapper, name, data, identity, which)?;
    let cache = LinuxCache {
        mapper,
        cache: Name::Mapped(name.to_owned()),
        data: Name::Number(data),
        state: PathBuf::from(STATE).join(format!("{name}.sectors")),
    };
    Ok(CacheDisk::new(cache, shape))
}

fn shape(
    mapper: &Mapper,
    name: &str,
    data: DeviceNumber,
    identity: &Identity,
    which: &Which,
) -> Result<Shape> {
    let devices = Devices::new(mapper);
    let linear = if devices.is_mapped(data)? {
        mapper.table_of(&Name::Number(data))?
    } else {
        Vec::new()
    };
    let (lower, start) = match &linear[..] {
        [target] if target.kind == "linear" => below(target),
        _ => None,
    }
    .ok_or_else(|| {
        Error::refused(format_args!(
            "the fast device {data} of {name} cannot be made shorter: make it one linear device \
             mapper target on the vSSD (dmsetup create, or a logical volume in one piece)"
        ))
    })?;
    let place = devices.place(lower, identity, which)?;
    let start = start.saturating_mul(512);
    let mut parts = place
        .segments
        .iter()
        .filter_map(|part| part.slice(start..u64::MAX));
    let first = parts.next().filter(|part| part.from == start);
    let first = first.ok_or_else(|| {
        Error::refused(format_args!(
            "the fast device {data} of {name} does not begin on the vSSD"
        ))
    })?;
    Ok(Shape {
        geometry: identity.geometry,
        base: first.to,
        room: first.len,
        keep_out: place.keep_out.clone(),
    })
}

impl LinuxCache {
    fn name(&self, part: Part) -> &Name {
        match part {
            Part::Cache => &self.cache,
            Part::Data => &self.data,
        }
    }
}

impl CacheMapper for LinuxCache {
    fn table(&mut self, part: Part) -> Result<Vec<Target>> {
        self.mapper.table_of(self.name(part))
    }

    fn status(&mut self) -> Result<Vec<Target>> {
        self.mapper.status(&self.cache)
    }

    fn is_suspended(&mut self, part: Part) -> Result<bool> {
        self.mapper.is_suspended(self.name(part))
    }

    fn load(&mut self, part: Part, table: &[Target]) -> Result<()> {
        self.mapper.load(self.name(part), table)
    }

    fn clear(&mut self, part: Part) -> Result<()> {
        self.mapper.clear(self.name(part))
    }

    fn suspend(&mut self, part: Part) -> Result<()> {
        self.mapper.suspend(self.name(part))
    }

    fn resume(&mut self, part: Part) -> Result<()> {
        self.mapper.resume(self.name(part))
    }

    fn full_sectors(&mut self) -> Result<Option<u64>> {
        // A file that is not there, or was not written to its end, is of no use.
        let text = fs::read_to_string(&self.state).ok();
        Ok(text.and_then(|text| text.strip_suffix('\n')?.parse().ok()))
    }

    fn keep_full_sectors(&mut self, sectors: u64) -> Result<()> {
        let write = || {
            fs::create_dir_all(STATE)?;
            fs::write(&self.state, format!("{sectors}\n"))
        };
        write().during(|| format!("write {}", self.state.display()))
    }
}
