//! From options to a source of blocks. What can be checked without the host is checked before the
//! channel is opened.

use std::path::Path;

use vssd::stream::Identity;

use crate::args::Args;
use crate::balloon::Balloon;
use crate::balloon::layout::Layout;
use crate::balloon::linux::{FileSystem, LinuxFiles, file_system};
use crate::balloon::mount::Mount;
use crate::cache;
use crate::disk::{Devices, Which};
use crate::dm::Mapper;
use crate::error::{Error, Result};
use crate::raw::RawList;
use crate::session::Attach;
use crate::size::{Bytes, Reserve};
use crate::source::Source;

/// Bytes at the start of an XFS allocation group that are never given up: its headers are there,
/// and `xfs_repair` reads around them.
const KEPT_IN_GROUP: u64 = 1 << 20;

/// Bytes of a page, in which Linux reads a block device that a program reads.
const PAGE: u64 = 4096;

/// What finds the source that the options ask for.
///
/// # Errors
/// When there is no such source here.
pub fn source(args: &Args) -> Result<Attach> {
    let which = args.disk.clone().map_or(Which::Serial, Which::Disk);
    match (&args.mount, &args.dm_cache, &args.raw) {
        (Some(folder), _, _) => mounted(folder, which, args.reserve),
        (_, Some(name), _) => cached(name, which),
        (_, _, Some(list)) => {
            RawList::open(list)?;
            let list = list.clone();
            Ok(Box::new(move |_| Ok(Box::new(RawList::open(&list)?))))
        }
        (None, None, None) => Err(Error::refused("give --mount, --dm-cache or --raw")),
    }
}

fn mounted(folder: &Path, which: Which, reserve: Reserve) -> Result<Attach> {
    let mount = Mount::at(folder)?;
    let found = file_system(&mount)?;
    Ok(Box::new(move |identity| {
        let layout = layout(&found, identity, &which)?;
        let files = LinuxFiles::open(&mount, found.block)?;
        let balloon: Box<dyn Source> = Box::new(Balloon::new(files, layout, reserve));
        Ok(balloon)
    }))
}

fn cached(name: &str, which: Which) -> Result<Attach> {
    cache::linux::check(name)?;
    let name = name.to_owned();
    Ok(Box::new(move |identity| {
        let cache: Box<dyn Source> = Box::new(cache::linux::attach(&name, identity, &which)?);
        Ok(cache)
    }))
}

/// Where both kinds of blocks are smaller than a page, a page has blocks of the host beside blocks
/// of the file system, and all of it is unreadable: `e2fsck` stops at an error there.
fn check_pages(fs_block: u64, vssd_block: u64) -> Result<()> {
    if fs_block.max(vssd_block) >= PAGE {
        return Ok(());
    }
    Err(Error::refused(format_args!(
        "the file system has blocks of {} and the vSSD of {}, but Linux reads a disk in pages of \
         {}, and could not read what shares a page with a block of the host: make one of them with \
         blocks of {} (block-size={} for the vSSD)",
        Bytes(fs_block),
        Bytes(vssd_block),
        Bytes(PAGE),
        Bytes(PAGE),
        Bytes(PAGE),
    )))
}

fn layout(found: &FileSystem, identity: &Identity, which: &Which) -> Result<Layout> {
    check_pages(found.block, identity.geometry.block_size().into())?;
    let mapper = Mapper::new();
    let place = Devices::new(&mapper).place(found.device, identity, which)?;
    let mut keep_out = place.keep_out.clone();
    let (len, count) = found.group.unwrap_or((0, 0));
    for group in 0..u64::from(count) {
        let start = group.saturating_mul(len);
        keep_out.extend(place.on_vssd(start..start.saturating_add(KEPT_IN_GROUP)));
    }
    Layout::new(identity.geometry, found.block, place.segments, &keep_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_of_the_host_or_of_the_file_system() {
        for (fs_block, vssd_block) in [(4096, 512), (1024, 4096), (4096, 4096), (1024, 65536)] {
            check_pages(fs_block, vssd_block).unwrap();
        }
        let said = check_pages(1024, 2048).unwrap_err().to_string();
        for words in ["blocks of 1KiB", "vSSD of 2KiB", "block-size=4KiB"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
