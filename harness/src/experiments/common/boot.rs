//! Starts of guests, which every experiment with guests records.

use anyhow::Result;
use lab::guest::Guest;
use lab::vm_host::VmHost;
use results::quantity::millis;
use results::row::Row;
use results::store::RunFolder;
use results::table::Table;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One row for each start of a guest under QEMU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BootRow {
    /// Experiment that started it.
    pub experiment: String,
    /// QEMU's machine type.
    pub machine: String,
    /// `tcg` or `kvm`.
    pub accelerator: String,
    /// From the start of the QEMU process to the guest's report that it is ready, which follows its
    /// first read.
    pub ready_ns: u64,
    /// From the start of the guest's clock to the end of its first read of the vSSD, by the guest's
    /// clock.
    pub first_io_guest_ns: u64,
}

impl Row for BootRow {
    const FILE: &'static str = "boot.csv";
}

/// Records the start of a guest that has just been started.
pub(crate) fn record(folder: &mut RunFolder, vm_host: &VmHost, guest: &Guest) -> Result<()> {
    let row = BootRow {
        experiment: folder.experiment().to_owned(),
        machine: vm_host.machine.to_string(),
        accelerator: vm_host.accel.to_string(),
        ready_ns: guest.ready.ready_ns,
        first_io_guest_ns: guest.ready.first_io_guest_ns,
    };
    folder.append(&row)
}

/// The starts as a table.
pub(crate) fn table(boots: &[BootRow]) -> Table {
    Table::of(
        "Guest power-on",
        boots,
        &[
            ("machine", &|boot| boot.machine.clone()),
            ("accelerator", &|boot| boot.accelerator.clone()),
            ("QEMU started to guest ready (ms)", &|boot| {
                millis(boot.ready_ns)
            }),
            ("guest clock started to first I/O done (ms)", &|boot| {
                millis(boot.first_io_guest_ns)
            }),
        ],
    )
}
