//! Calls of the kernel for which there is no safe function. The only unsafe code of the agent: each
//! call has the type that its opcode names.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

/// Extents that one call returns.
const EXTENTS: usize = 128;

/// `struct fiemap` and the array behind it, linux/fiemap.h.
#[repr(C)]
#[derive(FromBytes, KnownLayout)]
struct Fiemap {
    header: FiemapHeader,
    extents: [FiemapExtent; EXTENTS],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, KnownLayout)]
struct FiemapHeader {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, KnownLayout)]
pub struct FiemapExtent {
    /// Where in the file, bytes.
    pub logical: u64,
    /// Where in the file system, bytes.
    pub physical: u64,
    /// How long, bytes.
    pub length: u64,
    reserved64: [u64; 2],
    /// `FIEMAP_EXTENT_…`.
    pub flags: u32,
    reserved: [u32; 3],
}

/// Flags of an extent.
impl FiemapExtent {
    /// The last one of the file.
    pub const LAST: u32 = 0x1;
    /// Where it lies is not known, or no whole blocks, or shared with another file: unknown,
    /// delayed, encoded, encrypted, not aligned, inline, tail, shared.
    pub const LOOSE: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000;
    /// Allocated, and never written.
    pub const UNWRITTEN: u32 = 0x800;
}

const _: () = assert!(size_of::<FiemapHeader>() == 32);
const _: () = assert!(size_of::<FiemapExtent>() == 56);

const FS_IOC_FIEMAP: Opcode = opcode::read_write::<FiemapHeader>(b'f', 11);
const FIEMAP_FLAG_SYNC: u32 = 1;

/// Calls `each` with the extents of a file, in order, as far as it wants them.
///
/// # Errors
/// When the file system does not tell, or tells the same again and again.
pub fn extents(file: impl AsFd, mut each: impl FnMut(&FiemapExtent)) -> io::Result<()> {
    let mut map = Fiemap::new_zeroed();
    let mut from = 0;
    loop {
        map.header = FiemapHeader {
            start: from,
            length: u64::MAX - from,
            flags: FIEMAP_FLAG_SYNC,
            mapped_extents: 0,
            extent_count: EXTENTS as u32,
            reserved: 0,
        };
        // SAFETY: FIEMAP reads and writes a `struct fiemap` and as many extents behind it as
        // `extent_count` says, which are in `map`.
        unsafe {
            let call = Updater::<FS_IOC_FIEMAP, Fiemap>::new(&mut map);
            ioctl(&file, call)?;
        }
        let mapped = (map.header.mapped_extents as usize).min(EXTENTS);
        for extent in &map.extents[..mapped] {
            let end = extent.logical.checked_add(extent.length);
            let physical_end = extent.physical.checked_add(extent.length);
            let (Some(end), Some(_)) = (end, physical_end) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            if end <= from {
                return Err(io::ErrorKind::InvalidData.into());
            }
            from = end;
            each(extent);
            if extent.flags & FiemapExtent::LAST != 0 {
                return Ok(());
            }
        }
        if mapped == 0 {
            return Ok(());
        }
    }
}

/// `struct fstrim_range`, linux/fs.h.
#[repr(C)]
struct TrimRange {
    start: u64,
    len: u64,
    min_len: u64,
}

const FITRIM: Opcode = opcode::read_write::<TrimRange>(b'X', 121);

/// Tells the disk which blocks the file system of `folder` does not use. Returns how many bytes.
///
/// # Errors
/// When the disk or the file system cannot.
pub fn trim(folder: impl AsFd) -> io::Result<u64> {
    let mut range = TrimRange {
        start: 0,
        len: u64::MAX,
        min_len: 0,
    };
    // SAFETY: FITRIM reads and writes a `struct fstrim_range`.
    unsafe {
        let call = Updater::<FITRIM, TrimRange>::new(&mut range);
        ioctl(folder, call)?;
    }
    Ok(range.len)
}

const F2FS_IOC_SET_PIN_FILE: Opcode = opcode::write::<u32>(0xf5, 13);

/// Makes F2FS leave an empty file's blocks where they will be.
///
/// # Errors
/// When it cannot.
pub fn pin(file: impl AsFd) -> io::Result<()> {
    // SAFETY: the call reads a `__u32`.
    unsafe {
        let call = Setter::<F2FS_IOC_SET_PIN_FILE, u32>::new(1);
        Ok(ioctl(file, call)?)
    }
}

/// `struct xfs_fsop_geom_v1`, xfs_fs.h.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct XfsGeometry {
    /// Bytes in a block.
    pub block_size: u32,
    rt_extent_size: u32,
    /// Blocks in an allocation group.
    pub group_blocks: u32,
    /// Number of allocation groups.
    pub group_count: u32,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<XfsGeometry>() == 112);

const XFS_IOC_FSGEOMETRY_V1: Opcode = opcode::read::<XfsGeometry>(b'X', 100);

/// The shape of an XFS.
///
/// # Errors
/// When it does not tell.
pub fn xfs_geometry(folder: impl AsFd) -> io::Result<XfsGeometry> {
    // SAFETY: the call writes a `struct xfs_fsop_geom_v1`.
    unsafe {
        let call = Getter::<XFS_IOC_FSGEOMETRY_V1, XfsGeometry>::new();
        Ok(ioctl(folder, call)?)
    }
}

/// `struct xfs_fsop_resblks`, xfs_fs.h.
#[repr(C)]
struct XfsReserve {
    blocks: u64,
    available: u64,
}

const XFS_IOC_SET_RESBLKS: Opcode = opcode::read_write::<XfsReserve>(b'X', 114);
const XFS_IOC_GET_RESBLKS: Opcode = opcode::read::<XfsReserve>(b'X', 115);

/// Blocks that an XFS keeps for itself.
///
/// # Errors
/// When it does not tell.
pub fn xfs_reserved(folder: impl AsFd) -> io::Result<u64> {
    // SAFETY: the call writes a `struct xfs_fsop_resblks`.
    let reserve = unsafe {
        let call = Getter::<XFS_IOC_GET_RESBLKS, XfsReserve>::new();
        ioctl(folder, call)?
    };
    Ok(reserve.blocks)
}

/// Changes how many blocks an XFS keeps for itself, until it is mounted anew.
///
/// # Errors
/// When it cannot.
pub fn set_xfs_reserved(folder: impl AsFd, blocks: u64) -> io::Result<()> {
    let mut reserve = XfsReserve {
        blocks,
        available: 0,
    };
    // SAFETY: the call reads and writes a `struct xfs_fsop_resblks`.
    unsafe {
        let call = Updater::<XFS_IOC_SET_RESBLKS, XfsReserve>::new(&mut reserve);
        Ok(ioctl(folder, call)?)
    }
}

/// `struct fsxattr`, linux/fs.h.
#[repr(C)]
struct FileAttributes {
    flags: u32,
    rest: [u32; 6],
}

const _: () = assert!(size_of::<FileAttributes>() == 28);

const FS_IOC_FSGETXATTR: Opcode = opcode::read::<FileAttributes>(b'X', 31);
const FS_XFLAG_REALTIME: u32 = 1;

/// Whether an XFS file lies on the realtime device.
///
/// # Errors
/// When it does not tell.
pub fn is_realtime(file: impl AsFd) -> io::Result<bool> {
    // SAFETY: the call writes a `struct fsxattr`.
    let attributes = unsafe {
        let call = Getter::<FS_IOC_FSGETXATTR, FileAttributes>::new();
        ioctl(file, call)?
    };
    Ok(attributes.flags & FS_XFLAG_REALTIME != 0)
}

/// Bytes that a call of the device mapper takes and returns.
pub const MAPPER_LEN: usize = 16 << 10;

/// `struct dm_ioctl` and what is behind it, linux/dm-ioctl.h.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MapperCall {
    /// The first fields.
    pub header: MapperHeader,
    /// The name of the device, padded with 0.
    pub name: [u8; 128],
    uuid: [u8; 129],
    padding: [u8; 7],
    /// What goes with the command.
    pub data: [u8; MAPPER_LEN - MAPPER_HEADER_LEN],
}

/// Bytes before the data of a call.
pub const MAPPER_HEADER_LEN: usize = 312;

/// The first fields of `struct dm_ioctl`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MapperHeader {
    /// Version of the interface.
    pub version: [u32; 3],
    /// Bytes of the call with its data.
    pub data_size: u32,
    /// Where the data begins.
    pub data_start: u32,
    /// Number of targets in the data.
    pub target_count: u32,
    open_count: i32,
    /// `DM_…_FLAG`.
    pub flags: u32,
    event_nr: u32,
    padding: u32,
    /// The number of the device, as `huge_encode_dev` encodes it.
    pub dev: u64,
}

const _: () = assert!(size_of::<MapperHeader>() + 128 + 129 + 7 == MAPPER_HEADER_LEN);
const _: () = assert!(size_of::<MapperCall>() == MAPPER_LEN);

/// What the device mapper is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapperCommand {
    /// To suspend a device, or to resume it with the table that was loaded.
    Suspend,
    /// To load a table that a resume makes the present one.
    Load,
    /// To forget such a table.
    Clear,
    /// To tell the table of a device, or its state.
    Table,
}

const fn mapper(number: u8) -> Opcode {
    opcode::read_write::<[u8; MAPPER_HEADER_LEN]>(0xfd, number)
}

const DM_DEV_SUSPEND: Opcode = mapper(6);
const DM_TABLE_LOAD: Opcode = mapper(9);
const DM_TABLE_CLEAR: Opcode = mapper(10);
const DM_TABLE_STATUS: Opcode = mapper(12);

/// Carries out a command of the device mapper.
///
/// # Errors
/// When it fails.
pub fn device_mapper(
    control: impl AsFd,
    command: MapperCommand,
    call: &mut MapperCall,
) -> io::Result<()> {
    call.header.data_size = MAPPER_LEN as u32;
    // SAFETY: each of these commands reads and writes a `struct dm_ioctl` and, up to `data_size`
    // bytes in all, what is behind it: a `MapperCall` has so many.
    unsafe {
        match command {
            MapperCommand::Suspend => {
                ioctl(control, Updater::<DM_DEV_SUSPEND, MapperCall>::new(call))?
            }
            MapperCommand::Load => ioctl(control, Updater::<DM_TABLE_LOAD, MapperCall>::new(call))?,
            MapperCommand::Clear => {
                ioctl(control, Updater::<DM_TABLE_CLEAR, MapperCall>::new(call))?
            }
            MapperCommand::Table => {
                ioctl(control, Updater::<DM_TABLE_STATUS, MapperCall>::new(call))?
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `linux/fs.h`, `linux/dm-ioctl.h` and others compute them on x86-64.
    #[test]
    fn opcodes_are_those_of_the_kernel() {
        for (opcode, known) in [
            (FS_IOC_FIEMAP, 0xc020_660b_u32),
            (FITRIM, 0xc018_5879),
            (F2FS_IOC_SET_PIN_FILE, 0x4004_f50d),
            (XFS_IOC_FSGEOMETRY_V1, 0x8070_5864),
            (XFS_IOC_SET_RESBLKS, 0xc010_5872),
            (XFS_IOC_GET_RESBLKS, 0x8010_5873),
            (FS_IOC_FSGETXATTR, 0x801c_581f),
            (DM_DEV_SUSPEND, 0xc138_fd06),
            (DM_TABLE_LOAD, 0xc138_fd09),
            (DM_TABLE_CLEAR, 0xc138_fd0a),
            (DM_TABLE_STATUS, 0xc138_fd0c),
        ] {
            assert_eq!(opcode, known);
        }
    }

    #[test]
    fn a_file_tells_its_extents() {
        // The file system of the test may have none to tell, but every Linux one in use does.
        let file = tempfile::tempfile().unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
        let mut len = 0;
        if extents(&file, |extent| len += extent.length).is_ok() {
            assert_eq!(len, 1 << 20);
        }
    }
}
