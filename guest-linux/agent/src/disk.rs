//! Where on the vSSD a block device lies: through partitions, and through device mapper targets
//! that move nothing.
//!
//! ```text
//!  /dev/mapper/data   dm-crypt   ┐
//!  /dev/vda2          partition  ├ each adds an offset; a linear target may have several parts
//!  /dev/vda           the vSSD   ┘ found by its serial number
//! ```
//!
//! Each of these devices has its start and its end kept: programs look there for what is on it, as
//! `blkid` does in the first 4 MiB and the last 1.5 MiB.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use vssd::stream::Identity;
use vssd::stream::frame::NAME_LEN;

use crate::error::{During, Error, Result};

/// Bytes at the start of each device that are never given up.
pub const KEPT_START: u64 = 8 << 20;

/// Bytes at the end of each device that are never given up.
pub const KEPT_END: u64 = 2 << 20;

/// How deep devices may be stacked.
const DEPTH_MAX: u32 = 8;

const SECTOR: u64 = 512;

/// A part of a device that lies in one piece on the vSSD, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the device.
    pub from: u64,
    /// How long.
    pub len: u64,
    /// Where on the vSSD.
    pub to: u64,
}

impl Segment {
    /// The part of it within `range`, bytes of the device.
    pub fn slice(&self, range: Range<u64>) -> Option<Self> {
        let start = range.start.max(self.from);
        let end = range.end.min(self.from + self.len);
        (start < end).then(|| Self {
            from: start,
            len: end - start,
            to: self.to + (start - self.from),
        })
    }
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// The number in what `stat` returns.
    pub fn from_raw(raw: u64) -> Self {
        Self {
            major: rustix::fs::major(raw),
            minor: rustix::fs::minor(raw),
        }
    }

    /// The number in a text like `254:0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A line of a device mapper table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// First sector of the device.
    pub start: u64,
    /// Number of sectors.
    pub len: u64,
    /// What it does, as in `linear`.
    pub kind: String,
    /// Its parameters.
    pub params: String,
}

/// The tables of device mapper devices.
pub trait Tables {
    /// The table of a device.
    fn table(&self, device: DeviceNumber) -> Result<Vec<Target>>;
}

/// What a device is made of, on the vSSD.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its parts on the vSSD; what is elsewhere is in none.
    pub segments: Vec<Segment>,
    /// Ranges of the vSSD, in bytes, that are never given up.
    pub keep_out: Vec<Range<u64>>,
}

impl Place {
    /// Ranges of the vSSD where `range` of the device lies.
    pub fn on_vssd(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let parts = self.segments.iter();
        let parts = parts.filter_map(move |segment| segment.slice(range.clone()));
        parts.map(|part| part.to..part.to + part.len)
    }

    /// Keeps the start and the end of a device of `len` bytes that has this place.
    fn keep_ends(&mut self, len: u64) {
        let start = self.on_vssd(0..KEPT_START);
        let end = self.on_vssd(len.saturating_sub(KEPT_END)..len);
        let ends: Vec<_> = start.chain(end).collect();
        self.keep_out.extend(ends);
    }
}

/// Which disk is the vSSD.
#[derive(Clone, Debug)]
pub enum Which {
    /// The one with the serial number of the vSSD.
    Serial,
    /// This one, the operator says.
    Disk(PathBuf),
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use vssd::units::Geometry;

    const MIB: u64 = 1 << 20;

    /// A `/sys` in a folder.
    struct Sys {
        folder: tempfile::TempDir,
        tables: Known,
    }

    struct Known(HashMap<String, Vec<Target>>);

    impl Tables for Known {
        fn table(&self, device: DeviceNumber) -> Result<Vec<Target>> {
            Ok(self.0[&device.to_string()].clone())
        }
    }

    impl Sys {
        /// A vSSD `vm1` of 64 MiB as 254:0, and another disk as 8:0.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let sys = Self {
                folder,
                tables: Known(HashMap::new()),
            };
            sys.device("vda", "254:0", 64 * MIB, &[("serial", "vm1\n")]);
            sys.device("sda", "8:0", 64 * MIB, &[("serial", "vm2")]);
            sys
        }

        fn device(&self, path: &str, number: &str, len: u64, files: &[(&str, &str)]) {
            let folder = self.folder.path().join("block").join(path);
            fs::create_dir_all(&folder).unwrap();
            let size = (len / SECTOR).to_string();
            for (name, text) in [("size", size.as_str()), ("dev", number)]
                .iter()
                .chain(files)
            {
                fs::write(folder.join(name), text).unwrap();
            }
            let links = self.folder.path().join("dev/block");
            fs::create_dir_all(&links).unwrap();
            std::os::unix::fs::symlink(&folder, links.join(number)).unwrap();
        }

        fn mapped(&mut self, name: &str, number: &str, len: u64, table: &[(u64, u64, &str, &str)]) {
            self.device(name, number, len, &[("dm", "")]);
            let table = table.iter().map(|(start, len, kind, params)| Target {
                start: *start,
                len: *len,
                kind: (*kind).to_owned(),
                params: (*params).to_owned(),
            });
            self.tables.0.insert(number.to_owned(), table.collect());
        }

        fn place(&self, number: &str) -> std::result::Result<Place, String> {
            let devices = Devices {
                sys: self.folder.path().to_owned(),
                tables: &self.tables,
            };
            let identity = Identity {
                geometry: Geometry::new(4096, 64 * MIB / 4096).unwrap(),
                name: "vm1".to_owned(),
            };
            let number = DeviceNumber::parse(number).unwrap();
            let place = devices.place(number, &identity, &Which::Serial);
            place.map_err(|error| error.to_string())
        }
    }

    fn segment(from: u64, len: u64, to: u64) -> Segment {
        Segment { from, len, to }
    }

    #[test]
    fn a_disk_is_found_by_its_serial_number() {
        let sys = Sys::new();
        let place = sys.place("254:0").unwrap();
        assert_eq!(place.segments, [segment(0, 64 * MIB, 0)]);
        assert_eq!(place.keep_out, [0..8 * MIB, 62 * MIB..64 * MIB]);
        let said = sys.place("8:0").unwrap_err();
        assert!(said.contains("sda, which is not vSSD vm1"), "{said}");
    }

    #[test]
    fn a_disk_of_another_size_is_another_one() {
        let sys = Sys::new();
        sys.device("vdb", "254:16", 63 * MIB, &[("serial", "vm1")]);
        let said = sys.place("254:16").unwrap_err();
        assert!(
            said.contains("66060288 bytes and vSSD vm1 has 67108864"),
            "{said}"
        );
    }

    #[test]
    fn offsets_add_up_and_each_device_keeps_its_ends() {
        let mut sys = Sys::new();
        let partition = [("partition", "1"), ("start", "2048")];
        sys.device("vda/vda1", "254:1", 40 * MIB, &partition);
        sys.mapped(
            "dm-0",
            "253:0",
            30 * MIB,
            &[
                (0, 20 * 2048, "linear", "254:1 16384"),
                (20 * 2048, 2 * 2048, "linear", "8:0 0"),
                (22 * 2048, 8 * 2048, "linear", "254:1 0"),
            ],
        );
        let key = "aes-xts-plain64 :64:logon:x 0 253:0 4096 1 allow_discards";
        sys.mapped("dm-1", "253:1", 28 * MIB, &[(0, 28 * 2048, "crypt", key)]);
        let place = sys.place("253:0").unwrap();
        let parts = [
            segment(0, 20 * MIB, 9 * MIB),
            segment(22 * MIB, 8 * MIB, MIB),
        ];
        assert_eq!(place.segments, parts);
        let place = sys.place("253:1").unwrap();
        let parts = [
            segment(0, 18 * MIB, 11 * MIB),
            segment(20 * MIB, 8 * MIB, MIB),
        ];
        assert_eq!(place.segments, parts);
        for kept in [
            // The disk, the partition, the volume, the crypt device.
            0..8 * MIB,
            62 * MIB..64 * MIB,
            MIB..9 * MIB,
            39 * MIB..41 * MIB,
            9 * MIB..17 * MIB,
            7 * MIB..9 * MIB,
            11 * MIB..19 * MIB,
        ] {
            assert!(place.keep_out.contains(&kept), "{kept:?} {place:?}");
        }
    }

    #[test]
    fn what_moves_blocks_is_refused_by_its_name() {
        let mut sys = Sys::new();
        sys.mapped("dm-0", "253:0", MIB, &[(0, 2048, "thin", "253:7 1")]);
        sys.mapped("dm-1", "253:1", MIB, &[(0, 2048, "linear", "253:0 0")]);
        for number in ["253:0", "253:1"] {
            let said = sys.place(number).unwrap_err();
            assert!(
                said.contains("dm-0 has a device mapper target `thin`"),
                "{said}"
            );
        }
        sys.device("md0", "9:0", MIB, &[("md", "")]);
        let said = sys.place("9:0").unwrap_err();
        assert!(said.contains("md0 is a RAID"), "{said}");
        sys.mapped("dm-2", "253:2", MIB, &[(0, 2048, "linear", "253:2 0")]);
        let said = sys.place("253:2").unwrap_err();
        assert!(said.contains("too deep"), "{said}");
        sys.mapped("dm-3", "253:3", MIB, &[(0, 2048, "linear", "broken")]);
        assert!(sys.place("253:3").is_err());
    }

    #[test]
    fn a_partition_off_the_blocks_is_refused() {
        let sys = Sys::new();
        let partition = [("partition", "1"), ("start", "63")];
        sys.device("vda/vda1", "254:1", 40 * MIB, &partition);
        let said = sys.place("254:1").unwrap_err();
        assert!(said.contains("vda1 begins at sector 63"), "{said}");
        assert!(said.contains("block of 8 sectors"), "{said}");
    }
}
