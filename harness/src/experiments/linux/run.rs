//! Runs the linux experiment.

mod agent;
mod churn;
mod overhead;
mod scripts;
mod times;

use anyhow::{Context, Result};
use lab::linux::image::LinuxImage;
use results::store::RunFolder;

use super::params::{Params, Part};
use crate::experiments::common::lab::Lab;

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let vm_host = lab.vm_host()?;
    let image = LinuxImage::find()?;
    folder.fact("linux_kernel", image.kernel_package())?;
    for package in ["fio", "e2fsprogs", "xfsprogs", "f2fs-tools"] {
        folder.fact(package, image.version(package))?;
    }
    let has = |part| params.parts.contains(&part);
    for file_system in &params.file_systems {
        let on = format!("{file_system} on a vSSD");
        if has(Part::Churn) {
            churn::run(params, *file_system, lab, vm_host, &image, folder)
                .with_context(|| format!("resize {on} under load"))?;
        }
        if has(Part::Times) {
            times::run(params, *file_system, lab, vm_host, &image, folder)
                .with_context(|| format!("time resizes of {on}"))?;
        }
    }
    if has(Part::Overhead) {
        overhead::run(params, lab, vm_host, &image, folder).context("compare requests of disks")?;
    }
    Ok(())
}
