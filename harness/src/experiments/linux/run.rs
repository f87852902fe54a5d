//! Runs the linux experiment.

mod agent;
mod churn;
mod dm_cache;
mod overhead;
mod own_guest;
mod peers;
mod scripts;
mod site;
mod times;

use anyhow::{Context, Result};
use lab::linux::image::LinuxImage;
use results::store::RunFolder;

use self::site::Site;
use super::file_system::FileSystem;
use super::params::{Params, Part};
use crate::experiments::common::lab::Lab;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let site = Site {
        params,
        lab,
        vm_host: lab.vm_host()?,
        image: LinuxImage::find()?,
    };
    folder.fact("linux_kernel", site.image.kernel_package())?;
    for package in ["fio", "e2fsprogs", "xfsprogs", "f2fs-tools", "dmsetup"] {
        folder.fact(package, site.image.version(package))?;
    }
    for part in &params.parts {
        let run = |of: &mut dyn FnMut(FileSystem) -> Result<()>| {
            let mut all = params.file_systems.iter();
            all.try_for_each(|file_system| {
                of(*file_system).with_context(|| format!("{file_system} on a vSSD"))
            })
        };
        let ran = match part {
            Part::Churn => run(&mut |file_system| churn::run(&site, file_system, folder)),
            Part::Times => times::run(&site, folder),
            Part::Peers => peers::run(&site, folder),
            Part::Overhead => overhead::run(&site, folder),
            Part::OwnGuest => own_guest::run(&site, folder),
            Part::DmCache => dm_cache::run(&site, folder),
        };
        ran.with_context(|| format!("part {part}"))?;
    }
    Ok(())
}
