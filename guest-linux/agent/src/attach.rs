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
use crate::size::Reserve;
use crate::source::Source;

/// Bytes at the start of an XFS allocation group that are never given up: its headers are there,
/// and `xfs_repair` reads around them.
const KEPT_IN_GROUP: u64 = 1 << 20;

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

fn layout(found: &FileSystem, identity: &Identity, which: &Which) -> Result<Layout> {
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
