//! What all parts run on.

use anyhow::Result;
use lab::linux::image::LinuxImage;
use lab::linux::launch::LinuxDisk;
use lab::linux::testbed::LinuxTestbed;
use lab::testbed::Shape;
use lab::vm_host::VmHost;
use vssd_host::size::ByteSize;

use crate::experiments::common::lab::Lab;
use crate::experiments::linux::params::Params;

/// See the module.
pub(super) struct Site<'a> {
    pub(super) params: &'a Params,
    pub(super) lab: &'a Lab,
    pub(super) vm_host: &'a VmHost,
    pub(super) image: LinuxImage,
}

impl Site<'_> {
    /// A Linux guest on a vSSD of this size, of which at most `written` bytes are written, with
    /// more disks behind it.
    pub(super) fn guest(
        &self,
        size: ByteSize,
        written: ByteSize,
        more: Vec<LinuxDisk>,
    ) -> Result<LinuxTestbed> {
        let shape = Shape {
            size,
            block_size: self.params.block_size,
            written,
        };
        LinuxTestbed::start(self.vm_host, &self.image, shape, more)
    }
}
