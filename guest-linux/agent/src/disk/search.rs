//! Looking up in `/sys` where a device lies on the vSSD.

#[cfg(test)]
mod tests;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use vssd::stream::Identity;
use vssd::stream::frame::NAME_LEN;

use super::{DeviceNumber, Place, Segment, Tables, Target, Which};
use crate::error::{During, Error, Result};

/// How deep devices may be stacked.
const DEPTH_MAX: u32 = 8;

const SECTOR: u64 = 512;

/// What the kernel says of block devices.
pub struct Devices<'a> {
    sys: PathBuf,
    tables: &'a dyn Tables,
}

impl<'a> Devices<'a> {
    /// The devices of this guest.
    pub fn new(tables: &'a dyn Tables) -> Self {
        Self {
            sys: PathBuf::from("/sys"),
            tables,
        }
    }

    /// Where `device` lies on the vSSD with this identity.
    ///
    /// # Errors
    /// When it is not on the vSSD, or something between moves blocks.
    pub fn place(&self, device: DeviceNumber, identity: &Identity, which: &Which) -> Result<Place> {
        let search = Search {
            devices: self,
            identity,
            disk: match which {
                Which::Serial => None,
                Which::Disk(path) => Some(self.disk(path)?),
            },
        };
        let (place, others) = search.place(device, DEPTH_MAX)?;
        if place.segments.is_empty() {
            return Err(Error::refused(search.not_on_vssd(device, &others)));
        }
        Ok(place)
    }

    /// Whether a device is one of the device mapper.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn is_mapped(&self, device: DeviceNumber) -> Result<bool> {
        Ok(self.folder(device)?.join("dm").exists())
    }

    fn disk(&self, path: &Path) -> Result<DeviceNumber> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let found = fs::metadata(path).during(|| format!("open the disk {}", path.display()))?;
        if !found.file_type().is_block_device() {
            return Err(Error::refused(format_args!(
                "{} (--disk) is not a block device",
                path.display()
            )));
        }
        Ok(DeviceNumber::from_raw(found.rdev()))
    }

    /// The folder of a device.
    fn folder(&self, device: DeviceNumber) -> Result<PathBuf> {
        let link = self.sys.join(format!("dev/block/{device}"));
        fs::canonicalize(&link).during(|| format!("look up the block device {device}"))
    }
}

/// The name of the device with this folder.
fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn read(folder: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn read_number(folder: &Path, file: &str) -> Result<u64> {
    let number = read(folder, file).and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::Failed(format!("{} has no number in {file}", folder.display())))
}

struct Search<'a> {
    devices: &'a Devices<'a>,
    identity: &'a Identity,
    disk: Option<DeviceNumber>,
}

impl Search<'_> {
    /// The place of a device, and the names of disks below it that are not the vSSD.
    fn place(&self, device: DeviceNumber, depth: u32) -> Result<(Place, Vec<String>)> {
        let folder = self.devices.folder(device)?;
        let name = name(&folder);
        let len = read_number(&folder, "size")?.saturating_mul(SECTOR);
        let (mut place, others) = if self.is_vssd(device, &folder, len)? {
            let whole = Segment {
                from: 0,
                len,
                to: 0,
            };
            let place = Place {
                segments: vec![whole],
                keep_out: Vec::new(),
            };
            (place, Vec::new())
        } else if depth == 0 {
            return Err(Error::refused(format_args!(
                "{name} is {DEPTH_MAX} block devices above its disk, which is too deep"
            )));
        } else if folder.join("partition").exists() {
            let start = read_number(&folder, "start")?.saturating_mul(SECTOR);
            let disk = folder.parent().and_then(|parent| read(parent, "dev"));
            let disk = disk.and_then(|text| DeviceNumber::parse(&text));
            let disk =
                disk.ok_or_else(|| Error::Failed(format!("partition {name} has no disk")))?;
            let (disk, others) = self.place(disk, depth - 1)?;
            let mut place = Place::default();
            append(&mut place, &disk, 0, start..start.saturating_add(len));
            self.check_start(&name, start)?;
            (place, others)
        } else if folder.join("dm").exists() {
            self.mapped(device, &name, depth)?
        } else if folder.join("md").exists() {
            return Err(Error::refused(format_args!(
                "{name} is a RAID, which moves blocks: put the file system on the vSSD itself, a \
                 partition, or a linear or encrypted volume"
            )));
        } else {
            (Place::default(), vec![name])
        };
        place.keep_ends(len);
        Ok((place, others))
    }

    fn check_start(&self, name: &str, start: u64) -> Result<()> {
        let block = u64::from(self.identity.geometry.block_size());
        if start.is_multiple_of(block) {
            return Ok(());
        }
        Err(Error::refused(format_args!(
            "partition {name} begins at sector {}, which is not a multiple of the vSSD's block of \
             {} sectors: make it anew at a multiple of it",
            start / SECTOR,
            block / SECTOR
        )))
    }

    fn mapped(&self, device: DeviceNumber, name: &str, depth: u32) -> Result<(Place, Vec<String>)> {
        let (mut place, mut others) = (Place::default(), Vec::new());
        for target in self.devices.tables.table(device)? {
            let (below, start) = below(&target).ok_or_else(|| {
                Error::refused(format_args!(
                    "{name} has a device mapper target `{}`, which may move blocks: only linear \
                     and crypt are supported",
                    target.kind
                ))
            })?;
            let (below, more) = self.place(below, depth - 1)?;
            others.extend(more);
            let start = start.saturating_mul(SECTOR);
            let end = start.saturating_add(target.len.saturating_mul(SECTOR));
            append(
                &mut place,
                &below,
                target.start.saturating_mul(SECTOR),
                start..end,
            );
        }
        Ok((place, others))
    }

    fn is_vssd(&self, device: DeviceNumber, folder: &Path, len: u64) -> Result<bool> {
        let is_found = match self.disk {
            Some(disk) => disk == device,
            // A serial number of virtio-blk is cut where the name in OPENED is.
            None => {
                let serial = read(folder, "serial");
                serial.is_some_and(|serial| {
                    !serial.is_empty() && serial.len() <= NAME_LEN && serial == self.identity.name
                })
            }
        };
        let capacity = self.identity.geometry.capacity_bytes();
        if is_found && len != capacity {
            return Err(Error::refused(format_args!(
                "disk {} has {len} bytes and vSSD {} has {capacity}: it is another disk",
                name(folder),
                self.identity.name
            )));
        }
        Ok(is_found)
    }

    fn not_on_vssd(&self, device: DeviceNumber, others: &[String]) -> String {
        let folder = self.devices.folder(device);
        let device = folder.map_or_else(|_| device.to_string(), |folder| name(&folder));
        let name = &self.identity.name;
        let text = format!(
            "{device} is on {}, which is not vSSD {name}: it has not the serial number `{name}`",
            others.join(", ")
        );
        match self.disk {
            Some(disk) => format!("{device} is not on the disk {disk} (--disk)"),
            None => text,
        }
    }
}

/// The device and first sector that a target leads to; `None` when it may move blocks.
pub fn below(target: &Target) -> Option<(DeviceNumber, u64)> {
    let mut params = target.params.split_ascii_whitespace();
    let (device, start) = match target.kind.as_str() {
        "linear" => (params.next()?, params.next()?),
        // Cipher, key and offset of the initialisation vector go before.
        "crypt" => (params.nth(3)?, params.next()?),
        _ => return None,
    };
    Some((DeviceNumber::parse(device)?, start.parse().ok()?))
}

/// Adds the range `of` of a device below to a device, where it appears at `at`.
fn append(place: &mut Place, below: &Place, at: u64, of: Range<u64>) {
    let parts = below.segments.iter().filter_map(|s| s.slice(of.clone()));
    let start = of.start;
    place.segments.extend(parts.map(|part| Segment {
        from: at + (part.from - start),
        ..part
    }));
    place.keep_out.extend_from_slice(&below.keep_out);
}
