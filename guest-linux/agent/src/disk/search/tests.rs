//! Block devices in a `/sys` of a folder.

use std::collections::HashMap;

use vssd::units::Geometry;

use super::*;

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
