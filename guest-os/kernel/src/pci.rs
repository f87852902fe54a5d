//! PCI: configuration space, the devices on bus 0, their registers in memory.

use core::fmt;

use guest_kernel::bar_window::BarWindow;
use virtio_drivers::transport::pci::bus::{
    Command, ConfigurationAccess, DeviceFunction, PciError, PciRoot,
};
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
const BAR_COUNT: u8 = 6;

/// How configuration space is reached.
///
/// A PC has ports for it, which need no setup by firmware (qboot leaves the
/// memory-mapped way of a q35 off) and cover the 256 bytes that virtio uses
/// (PCI 3.0, 3.2.2.3.2). A microvm has no ports and no table that tells of its
/// memory-mapped space, but that never moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSpace {
    /// The ports 0xcf8 and 0xcfc.
    Ports,
    /// Memory, 4 KiB for each function (PCIe 4.0, 7.2.2).
    Ecam,
}

impl ConfigSpace {
    /// The one that this machine has.
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

    /// The functions on bus 0, where QEMU puts devices unless told otherwise.
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
    /// It names a base address register that it does not have in memory.
    Missing(u8),
    /// Its registers reach beyond the base address register.
    OutOfRange(u8),
    /// No room is left in the window for unplaced registers.
    NoRoom(u8),
}

impl fmt::Display for BarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(bar) => write!(f, "BAR {bar} is not in memory"),
            Self::OutOfRange(bar) => write!(f, "its registers reach beyond BAR {bar}"),
            Self::NoRoom(bar) => write!(f, "no room is left for BAR {bar}"),
        }
    }
}

impl From<PciError> for BarError {
    fn from(PciError::InvalidBarType: PciError) -> Self {
        Self::Missing(BAR_COUNT)
    }
}

/// The machine's PCI devices.
pub struct Pci {
    /// Configuration space.
    pub config: ConfigSpace,
    window: BarWindow,
}

/// One function, while its driver sets it up.
pub struct Function<'p> {
    /// Bus, device and function number.
    pub number: DeviceFunction,
    /// Its configuration space.
    pub config: ConfigSpace,
    window: &'p mut BarWindow,
    bars: [Option<(u64, u64)>; BAR_COUNT as usize],
}

impl Pci {
    /// The devices that this configuration space shows.
    pub fn new(config: ConfigSpace) -> Self {
        Self {
            config,
            window: BAR_WINDOW,
        }
    }

    /// Opens a function: it may use memory from now on.
    pub fn open(&mut self, number: DeviceFunction) -> Function<'_> {
        let mut root = PciRoot::new(self.config);
        let (_, command) = root.get_status_command(number);
        root.set_command(number, command | Command::BUS_MASTER);
        Function {
            number,
            config: self.config,
            window: &mut self.window,
            bars: [None; BAR_COUNT as usize],
        }
    }
}

impl Function<'_> {
    /// The registers at `offset` of a base address register, which gets an
    /// address if firmware gave it none.
    pub fn registers(&mut self, bar: u8, offset: u32, len: u32) -> Result<Mmio, BarError> {
        let (address, size) = self.bar(bar)?;
        if u64::from(offset) + u64::from(len) > size {
            return Err(BarError::OutOfRange(bar));
        }
        // SAFETY: the base address register makes these the device's
        // registers, `bar` mapped them, and each is driven by its one driver.
        Ok(unsafe { Mmio::new(address + u64::from(offset), len as usize) })
    }

    /// Address and size of a base address register, sized and placed once.
    fn bar(&mut self, bar: u8) -> Result<(u64, u64), BarError> {
        let known = self
            .bars
            .get(usize::from(bar))
            .ok_or(BarError::Missing(bar))?;
        if let Some(known) = known {
            return Ok(*known);
        }
        let mut root = PciRoot::new(self.config);
        let info = root
            .bar_info(self.number, bar)?
            .ok_or(BarError::Missing(bar))?;
        let (mut address, size) = info.memory_address_size().ok_or(BarError::Missing(bar))?;
        if address == 0 {
            address = self.window.take(size).ok_or(BarError::NoRoom(bar))?;
            if info.takes_two_entries() {
                root.set_bar_64(self.number, bar, address);
            } else {
                root.set_bar_32(self.number, bar, address as u32);
            }
        }
        let (_, command) = root.get_status_command(self.number);
        root.set_command(self.number, command | Command::MEMORY_SPACE);
        paging::map(address..address + size);
        self.bars[usize::from(bar)] = Some((address, size));
        Ok((address, size))
    }
}
