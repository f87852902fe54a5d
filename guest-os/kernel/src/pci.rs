//! PCI: configuration space, the devices on bus 0, their registers in memory.

use core::fmt;

use guest_kernel::bar_window::BarWindow;
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use x86_64::instructions::port::Port;

use crate::mmio::Mmio;
use crate::paging;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const CONFIG_ENABLE: u32 = 1 << 31;

/// Where a microvm has its configuration space.
const ECAM: u64 = 0xe000_0000;
const ECAM_LEN: usize = 256 << 20;

/// Where registers go that firmware placed nowhere: PCI's window on a microvm,
/// and on a q35, whose RAM and configuration space end below it.
const BAR_WINDOW: BarWindow = BarWindow::new(0xc000_0000, 0xe000_0000);

const NOTHING: u16 = 0xffff;
const HEADER_TYPE: u8 = 0x0c;
const MULTIFUNCTION: u32 = 1 << 23;
const BAR_0: u8 = 0x10;
const BAR_COUNT: usize = 6;

/// How configuration space is reached.
///
/// A PC has ports for it, which need no setup by firmware (qboot leaves the
/// memory-mapped way of a q35 off) and cover the 256 bytes that virtio uses
/// (PCI 3.0, 3.2.2.3.2). A microvm has no ports and no table that gives the
/// address of its memory-mapped space, but that is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSpace {
    /// The ports 0xcf8 and 0xcfc.
    Ports,
    /// Memory, 4 KiB for each function (PCIe 4.0, 7.2.2).
    Ecam,
}

impl ConfigSpace {
    /// The access method of this machine.
    pub fn find() -> Option<Self> {
        [Self::Ports, Self::Ecam].into_iter().find(|space| {
            // A host bridge is function 0 of device 0. Where there is nothing,
            // reads give all ones, or zeros under TCG.
            let vendor = space.vendor(function(0, 0));
            vendor != NOTHING && vendor != 0
        })
    }

    fn vendor(self, function: DeviceFunction) -> u16 {
        self.read_word(function, 0) as u16
    }

    fn is_multifunction(self, device: u8) -> bool {
        self.read_word(function(device, 0), HEADER_TYPE) & MULTIFUNCTION != 0
    }

    /// The functions on bus 0, where QEMU puts devices by default.
    pub fn functions(self) -> impl Iterator<Item = DeviceFunction> {
        (0..32)
            .map(move |device| function(device, 0))
            .filter(move |first| self.vendor(*first) != NOTHING)
            .flat_map(move |first| {
                let count = if self.is_multifunction(first.device) {
                    8
                } else {
                    1
                };
                (0..count).map(move |number| function(first.device, number))
            })
            .filter(move |found| found.function == 0 || self.vendor(*found) != NOTHING)
    }
}

fn function(device: u8, function: u8) -> DeviceFunction {
    DeviceFunction {
        bus: 0,
        device,
        function,
    }
}

fn ecam_offset(function: DeviceFunction, register: u8) -> usize {
    usize::from(function.bus) << 20
        | usize::from(function.device) << 15
        | usize::from(function.function) << 12
        | usize::from(register & !3)
}

fn ecam() -> Mmio {
    // SAFETY: on a microvm these are configuration registers, elsewhere nothing
    // is there: neither is memory of Rust's.
    unsafe { Mmio::new(ECAM, ECAM_LEN) }
}

/// Names a register to the ports.
fn select(function: DeviceFunction, register: u8) {
    let address = CONFIG_ENABLE
        | u32::from(function.bus) << 16
        | u32::from(function.device) << 11
        | u32::from(function.function) << 8
        | u32::from(register & !3);
    // SAFETY: only selects what the data port means.
    unsafe { Port::<u32>::new(CONFIG_ADDRESS).write(address) }
}

impl ConfigurationAccess for ConfigSpace {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        match self {
            Self::Ports => {
                select(function, register);
                // SAFETY: reading PCI configuration has no side effect.
                unsafe { Port::new(CONFIG_DATA).read() }
            }
            Self::Ecam => ecam().read(ecam_offset(function, register)),
        }
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, data: u32) {
        match self {
            Self::Ports => {
                select(function, register);
                // SAFETY: the callers write what belongs in this register; what
                // a device may reach then is memory that was lent to it.
                unsafe { Port::new(CONFIG_DATA).write(data) }
            }
            Self::Ecam => ecam().write(ecam_offset(function, register), data),
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}

/// Why a device's registers cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarError {
    /// They are in a base address register that is not there, or not memory.
    Missing(u8),
    /// No room is left in the window for unplaced registers.
    NoRoom(u8),
}

impl fmt::Display for BarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(bar) => write!(f, "BAR {bar} is not in memory"),
            Self::NoRoom(bar) => write!(f, "no room is left for BAR {bar}"),
        }
    }
}

/// Registers as a capability locates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Number of the base address register.
    pub bar: u8,
    /// Offset from its address.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
}

/// Gives registers to devices that firmware gave none.
pub struct BarPlacer(BarWindow);

impl BarPlacer {
    /// A placer with the whole window.
    pub fn new() -> Self {
        Self(BAR_WINDOW)
    }

    /// Places the base address registers of these locations where firmware
    /// did not, and lets the function use memory.
    pub fn enable(
        &mut self,
        config: ConfigSpace,
        number: DeviceFunction,
        locations: &[Location],
    ) -> Result<EnabledFunction, BarError> {
        let mut root = PciRoot::new(config);
        let mut addresses = [0; BAR_COUNT];
        for location in locations {
            let bar = location.bar;
            let address = addresses
                .get_mut(usize::from(bar))
                .ok_or(BarError::Missing(bar))?;
            if *address != 0 {
                continue;
            }
            // A register that firmware placed is left alone: to size it moves
            // it, which takes QEMU a millisecond.
            *address = match placed_address(config, number, bar)? {
                0 => self.place(&mut root, number, bar)?,
                placed => placed,
            };
            let end = u64::from(location.offset) + u64::from(location.len);
            paging::map(*address..*address + end);
        }
        let (_, command) = root.get_status_command(number);
        root.set_command(
            number,
            command | Command::MEMORY_SPACE | Command::BUS_MASTER,
        );
        Ok(EnabledFunction { addresses })
    }

    fn place(
        &mut self,
        root: &mut PciRoot<ConfigSpace>,
        number: DeviceFunction,
        bar: u8,
    ) -> Result<u64, BarError> {
        let info = root.bar_info(number, bar).ok().flatten();
        let info = info.ok_or(BarError::Missing(bar))?;
        let (_, size) = info.memory_address_size().ok_or(BarError::Missing(bar))?;
        let address = self.0.take(size).ok_or(BarError::NoRoom(bar))?;
        if info.takes_two_entries() {
            root.set_bar_64(number, bar, address);
        } else {
            root.set_bar_32(number, bar, address as u32);
        }
        Ok(address)
    }
}

/// What a base address register holds (PCI 3.0, 6.2.5.1); 0 = not placed.
fn placed_address(config: ConfigSpace, number: DeviceFunction, bar: u8) -> Result<u64, BarError> {
    const IO_SPACE: u32 = 1;
    const TYPE: u32 = 0b110;
    const TYPE_64_BIT: u32 = 0b100;
    let register = BAR_0 + 4 * bar;
    let low = config.read_word(number, register);
    if low & IO_SPACE != 0 {
        return Err(BarError::Missing(bar));
    }
    let high = match low & TYPE {
        TYPE_64_BIT if usize::from(bar) + 1 < BAR_COUNT => config.read_word(number, register + 4),
        _ => 0,
    };
    Ok(u64::from(high) << 32 | u64::from(low & !0xf))
}

/// A function whose registers can be reached.
pub struct EnabledFunction {
    addresses: [u64; BAR_COUNT],
}

impl EnabledFunction {
    /// The registers at one of the locations for which it was enabled.
    pub fn registers(&self, location: Location) -> Mmio {
        let address = self.addresses[usize::from(location.bar)] + u64::from(location.offset);
        // SAFETY: the base address register makes these the device's
        // registers, `enable` mapped them, and each is driven by its one driver.
        unsafe { Mmio::new(address, location.len as usize) }
    }
}
