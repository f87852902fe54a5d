//! Which file system is mounted at a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{During, Error, Result};

/// File systems in which a balloon works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// What it is.
    pub kind: Kind,
}

impl Mount {
    /// The file system that is mounted at `folder`.
    ///
    /// # Errors
    /// When none is, or no balloon works in it.
    pub fn at(folder: &Path) -> Result<Self> {
        let point = fs::canonicalize(folder).during(|| format!("open {}", folder.display()))?;
        let table = "/proc/self/mountinfo";
        let table = fs::read(table).during(|| format!("read {table}"))?;
        Self::find(&table, point).map_err(Error::refused)
    }

    fn find(table: &[u8], point: PathBuf) -> std::result::Result<Self, String> {
        let name = point.display();
        // What was mounted last is on top.
        let lines = table.split(|byte| *byte == b'\n').rev();
        let found = lines
            .filter_map(Line::parse)
            .find(|line| line.point == point.as_os_str().as_encoded_bytes())
            .ok_or_else(|| format!("{name} is no mount point; give that of the file system"))?;
        let kind = match found.kind {
            b"ext4" => Kind::Ext4,
            b"xfs" => Kind::Xfs,
            b"f2fs" => Kind::F2fs,
            b"btrfs" => {
                return Err(format!(
                    "{name} is a btrfs, which does not tell where on the disk its files lie: use \
                     ext4, XFS or F2FS"
                ));
            }
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(format!(
                    "{name} is a file system of type {other}: use ext4, XFS or F2FS"
                ));
            }
        };
        if found.is_read_only {
            return Err(format!(
                "{name} is mounted read-only, so that no space in it can be reserved: mount it \
                 read-write"
            ));
        }
        Ok(Self { point, kind })
    }
}

/// A line of mountinfo, see proc(5).
struct Line<'a> {
    point: Vec<u8>,
    kind: &'a [u8],
    is_read_only: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = unescape(fields.nth(4)?);
        let options = fields.next()?;
        // Optional fields end with a dash.
        fields.find(|field| *field == b"-")?;
        let kind = fields.next()?;
        let of_file_system = fields.nth(1)?;
        let is_read_only = [options, of_file_system].iter().any(|options| {
            let mut options = options.split(|byte| *byte == b',');
            options.any(|option| option == b"ro")
        });
        Some(Self {
            point,
            kind,
            is_read_only,
        })
    }
}

/// Spaces and the like are written as `\` and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let code = after.first_chunk::<3>().filter(|_| *byte == b'\\');
        let code = code.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        plain.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 254:16 / /data rw - ext4 /dev/vdb rw
31 30 254:32 / /data rw,noatime shared:2 master:1 - xfs /dev/vdc rw,attr2
32 22 254:48 / /with\\040space rw - f2fs /dev/vdd rw
33 22 0:31 / /btrfs rw - btrfs /dev/vde rw
34 22 254:64 / /bound ro - ext4 /dev/vdf rw
35 22 254:80 / /broken rw - ext4 /dev/vdg ro,errors=remount-ro
36 22 0:4 / /proc rw - proc proc rw
broken
";

    fn find(point: &str) -> std::result::Result<Kind, String> {
        Mount::find(TABLE.as_bytes(), point.into()).map(|mount| mount.kind)
    }

    #[test]
    fn the_topmost_mount_counts() {
        assert_eq!(find("/"), Ok(Kind::Ext4));
        assert_eq!(find("/data"), Ok(Kind::Xfs));
        assert_eq!(find("/with space"), Ok(Kind::F2fs));
    }

    #[test]
    fn others_are_refused_in_a_sentence() {
        for (point, words) in [
            ("/data/folder", "/data/folder is no mount point"),
            ("/btrfs", "btrfs, which does not tell where"),
            ("/bound", "mounted read-only"),
            ("/broken", "mounted read-only"),
            ("/proc", "file system of type proc"),
        ] {
            let said = find(point).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn bad_escapes_stay_as_they_are() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\999\\134"), b"\\999\\");
    }
}
