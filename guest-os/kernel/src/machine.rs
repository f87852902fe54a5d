//! The machine that the runtime runs on: its devices found and started.

use alloc::vec::Vec;
use core::fmt;

use guest_runtime::port::{Exit, Machine};
use guest_runtime::shape::DiskKind;
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

use crate::clock::Clock;
use crate::console::Console;
use crate::disk::{Disk, SLOTS_MAX, SLOTS_OF_STREAM};
use crate::interrupts::{self, LocalApic};
use crate::pci::{BarPlacer, ConfigSpace};
use crate::port::{self, Port};
use crate::power;
use crate::serial::{self, log};
use crate::transport::{OpenError, PciTransport};

/// While nothing interrupts, the serial port is polled for input this
/// often: a poll exits the guest, and typing is slower.
const SERIAL_LOOK_NS: u64 = 1_000_000;

/// Vendor and device ID of a virtio device: modern, and transitional with
/// modern capabilities (virtio 1.2, 4.1.2.1).
const BLOCK_IDS: [u32; 2] = [0x1042_1af4, 0x1001_1af4];
const CONSOLE_IDS: [u32; 2] = [0x1043_1af4, 0x1003_1af4];

/// The vSSD, the origin disk of its cache and a trace: more disks are left alone.
const DISKS_MAX: usize = 3;

/// Clock, disks and channels of one guest.
pub struct Guest {
    clock: Clock,
    port: Port,
    origin: Option<Disk>,
    trace: Option<Disk>,
    console: Option<Console>,
    /// When the serial port was last found empty, and the count of interrupts
    /// then.
    serial_empty_ns: u64,
    serial_empty_interrupts: u64,
}

/// Why the guest cannot start.
#[derive(Clone, Copy, Debug)]
pub enum StartError {
    /// Neither way of reaching PCI answers.
    NoPci,
    /// There is no virtio-blk device on bus 0.
    NoDisk,
    /// A device is there but cannot be driven.
    Device(&'static str, DeviceFunction, OpenError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPci => f.write_str("no PCI: start a q35, or a microvm with pcie=on"),
            Self::NoDisk => f.write_str(
                "no disk on PCI bus 0: start QEMU with -device vhost-user-blk-pci,num-queues=3",
            ),
            Self::Device(what, at, error) => write!(f, "the {what} at {at}: {error}"),
        }
    }
}

impl Guest {
    /// Starts the clock, finds the devices and sets them up.
    ///
    /// # Safety
    /// To be called once.
    pub unsafe fn start(ram_bytes: u64, entry_tsc: u64) -> Result<Self, StartError> {
        // SAFETY: this function is called once.
        let apic = unsafe { LocalApic::enable() };
        let clock = Clock::start(&apic, entry_tsc);
        apic.route_serial();

        let config = ConfigSpace::find().ok_or(StartError::NoPci)?;
        let mut placer = BarPlacer::new();
        let (mut disks, mut channel) = (Vec::new(), None);
        for function in config.functions() {
            let ids = config.read_word(function, 0);
            if BLOCK_IDS.contains(&ids) && disks.len() < DISKS_MAX {
                let disk =
                    PciTransport::open(&mut placer, config, function, DeviceType::Block, apic.id());
                let failed = |error| StartError::Device("disk", function, error);
                disks.push((function, disk.map_err(failed)?));
            } else if CONSOLE_IDS.contains(&ids) {
                channel = channel.or(Some(function));
            }
        }
        // The first disk with the mark; without one, the first disk takes its place.
        let marked = disks
            .iter()
            .position(|(_, disk)| port::kind(disk) != DiskKind::Plain);
        if disks.is_empty() {
            return Err(StartError::NoDisk);
        }
        let (disk, transport) = disks.remove(marked.unwrap_or(0));
        let port =
            Port::open(transport).map_err(|error| StartError::Device("disk", disk, error))?;
        let mut others = disks.into_iter();
        let mut other = |what, slots| {
            let open = |(at, transport)| {
                Disk::open(transport, slots).map_err(|error| StartError::Device(what, at, error))
            };
            others.next().map(open).transpose()
        };
        let origin = other("origin disk", SLOTS_MAX)?;
        let trace = other("trace disk", SLOTS_OF_STREAM)?;
        let console = channel
            .map(|at| {
                PciTransport::open(&mut placer, config, at, DeviceType::Console, apic.id())
                    .and_then(Console::open)
                    .map_err(|error| StartError::Device("virtio-console", at, error))
            })
            .transpose()?;
        log(format_args!(
            "vssd-guest {}: {} MiB, TSC {} MHz ({}), PCI by {}, {} at {disk}{}{}, channel {}, \
             {} ms since {}",
            env!("CARGO_PKG_VERSION"),
            ram_bytes >> 20,
            clock.hz / 1_000_000,
            clock.source,
            match config {
                ConfigSpace::Ports => "ports",
                ConfigSpace::Ecam => "ECAM",
            },
            port.kind(),
            if origin.is_some() {
                ", an origin disk"
            } else {
                ""
            },
            if trace.is_some() { ", a trace" } else { "" },
            if console.is_some() {
                "virtio-console"
            } else {
                "serial"
            },
            clock.now_ns() / 1_000_000,
            clock.origin(),
        ));
        Ok(Self {
            clock,
            port,
            origin,
            trace,
            console,
            serial_empty_ns: 0,
            serial_empty_interrupts: u64::MAX,
        })
    }

    /// Flushes all reports, then ends QEMU.
    pub fn end(mut self, exit: Exit) -> ! {
        if let Some(console) = &mut self.console {
            console.drain();
        }
        log(format_args!(
            "ended ({exit:?}) after {} ms and {} interrupts",
            self.clock.now_ns() / 1_000_000,
            interrupts::count(),
        ));
        power::end(exit)
    }

    /// Asks for interrupts from every disk's requests, or for none. Returns true when one
    /// has finished already, for which none comes.
    fn interrupt(&mut self, wanted: bool) -> bool {
        let others = [&mut self.origin, &mut self.trace].into_iter().flatten();
        // Of every disk, without short-circuit.
        others.fold(self.port.interrupt(wanted), |finished, disk| {
            disk.interrupt(wanted) | finished
        })
    }

    fn read_serial(&mut self, out: &mut [u8]) -> usize {
        let now_ns = self.clock.now_ns();
        if interrupts::count() == self.serial_empty_interrupts
            && now_ns - self.serial_empty_ns < SERIAL_LOOK_NS
        {
            return 0;
        }
        let len = serial::receive(out);
        if len == 0 {
            self.serial_empty_ns = now_ns;
            self.serial_empty_interrupts = interrupts::count();
        }
        len
    }
}

impl Machine for Guest {
    type Port = Port;
    type Disk = Disk;

    fn port(&mut self) -> &mut Port {
        &mut self.port
    }

    fn origin(&mut self) -> Option<&mut Disk> {
        self.origin.as_mut()
    }

    fn trace(&mut self) -> Option<&mut Disk> {
        self.trace.as_mut()
    }

    fn now_ns(&mut self) -> u64 {
        self.clock.now_ns()
    }

    fn idle(&mut self) {
        if let Some(console) = &mut self.console {
            console.flush();
        }
        // Request queues interrupt only while the guest idles: otherwise it polls them,
        // and an interrupt costs the host a system call.
        if !self.interrupt(true) {
            interrupts::wait();
        }
        self.interrupt(false);
    }

    fn read_channel(&mut self, out: &mut [u8]) -> usize {
        match &mut self.console {
            Some(console) => console.read(out),
            None => self.read_serial(out),
        }
    }

    fn write_channel(&mut self, bytes: &[u8]) {
        match &mut self.console {
            Some(console) => console.write(bytes),
            None => serial::send(bytes),
        }
    }

    fn has_own_channel(&self) -> bool {
        self.console.is_some()
    }

    fn log(&mut self, line: fmt::Arguments<'_>) {
        log(line);
    }
}
