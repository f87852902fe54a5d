//! Virtio over PCI with MSI-X (virtio 1.2, section 4.1).
//!
//! Every queue of a device interrupts on one vector: all vectors end in the
//! same stub (`interrupts`), so a vector a queue would serve no purpose.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use virtio_drivers::transport::pci::bus::{
    ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::interrupts::DEVICE_VECTOR;
use crate::mmio::Mmio;
use crate::pci::{BarError, BarPlacer, ConfigSpace, Location};

/// VIRTIO_F_VERSION_1: the device follows the standard (6.1).
pub const F_VERSION_1: u64 = 1 << 32;

/// cfg_type of a capability (4.1.4).
const COMMON_CFG: u8 = 1;
const NOTIFY_CFG: u8 = 2;
const DEVICE_CFG: u8 = 4;

/// Offsets in `virtio_pci_cap` and `virtio_pci_notify_cap` (4.1.4, 4.1.4.4).
const CAP_BAR: u8 = 4;
const CAP_OFFSET: u8 = 8;
const CAP_LENGTH: u8 = 12;
const CAP_NOTIFY_MULTIPLIER: u8 = 16;

/// Offsets in `virtio_pci_common_cfg` (4.1.4.3).
const DEVICE_FEATURE_SELECT: usize = 0x00;
const DEVICE_FEATURE: usize = 0x04;
const DRIVER_FEATURE_SELECT: usize = 0x08;
const DRIVER_FEATURE: usize = 0x0c;
const CONFIG_MSIX_VECTOR: usize = 0x10;
const NUM_QUEUES: usize = 0x12;
const DEVICE_STATUS: usize = 0x14;
const CONFIG_GENERATION: usize = 0x15;
const QUEUE_SELECT: usize = 0x16;
const QUEUE_SIZE: usize = 0x18;
const QUEUE_MSIX_VECTOR: usize = 0x1a;
const QUEUE_ENABLE: usize = 0x1c;
const QUEUE_NOTIFY_OFF: usize = 0x1e;
const QUEUE_DESC: usize = 0x20;
const QUEUE_DRIVER: usize = 0x28;
const QUEUE_DEVICE: usize = 0x30;

const NO_VECTOR: u16 = 0xffff;
/// The entry of the MSI-X table that all queues use.
const TABLE_ENTRY: u16 = 0;

/// The MSI-X capability and table (PCI 3.0, 6.8.2).
const PCI_CAP_ID_MSIX: u8 = 0x11;
const MSIX_TABLE: u8 = 4;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_FUNCTION_MASK: u32 = 1 << 30;
const MSIX_ENTRY_LEN: u32 = 16;

/// Where a local APIC takes messages, by its ID in bits 12 to 19
/// (SDM 3A, 12.11.1).
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// Why a device cannot be driven.
#[derive(Clone, Copy, Debug)]
pub enum OpenError {
    /// It lacks a capability that virtio over PCI demands, or MSI-X.
    Lacks(&'static str),
    /// Its registers cannot be reached.
    Bar(BarError),
    /// It does not follow virtio 1, or does not offer it.
    Legacy,
    /// It refused the features that it offered itself.
    FeaturesRefused,
    /// A queue cannot be set up.
    Queue(u16, Error),
    /// A queue has fewer entries than this driver needs.
    ShortQueue(u16, u32, usize),
    /// A buffer may have fewer bytes than this driver needs.
    ShortBuffers(usize, usize),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(what) => write!(f, "it has no {what}"),
            Self::Bar(error) => error.fmt(f),
            Self::Legacy => f.write_str(
                "it is a legacy device, which this guest does not drive: replace disable-modern=on \
                 by disable-legacy=on in its -device option",
            ),
            Self::FeaturesRefused => f.write_str("it refused the features that it offers"),
            Self::Queue(queue, error) => write!(f, "queue {queue}: {error}"),
            Self::ShortQueue(queue, has, needs) => write!(
                f,
                "its queue {queue} has {has} entries, and this guest needs {needs}: raise or leave \
                 out queue-size in its -device option"
            ),
            Self::ShortBuffers(has, needs) => write!(
                f,
                "it takes buffers of {has} bytes at most (size_max), and this guest needs {needs}"
            ),
        }
    }
}

impl From<BarError> for OpenError {
    fn from(error: BarError) -> Self {
        Self::Bar(error)
    }
}

/// A virtio device on PCI.
pub struct PciTransport {
    kind: DeviceType,
    common: Mmio,
    notify: Mmio,
    notify_multiplier: usize,
    config: Mmio,
    /// Offset of each queue's doorbell, known once the queue is set up.
    doorbells: Vec<usize>,
}

impl PciTransport {
    /// Finds the device's registers and lets it interrupt the local APIC of
    /// this ID. The device is as firmware left it until [`negotiate`].
    ///
    /// [`negotiate`]: Self::negotiate
    pub fn open(
        placer: &mut BarPlacer,
        mut config_space: ConfigSpace,
        function: DeviceFunction,
        kind: DeviceType,
        apic_id: u8,
    ) -> Result<Self, OpenError> {
        let (mut common, mut notify, mut config, mut msix) = (None, None, None, None);
        for capability in PciRoot::new(config_space).capabilities(function) {
            let cfg_type = (capability.private_header >> 8) as u8;
            // Of several of a type, the first is the preferred one (4.1.4).
            match (capability.id, cfg_type) {
                (PCI_CAP_ID_VNDR, COMMON_CFG) => common = common.or(Some(capability.offset)),
                (PCI_CAP_ID_VNDR, NOTIFY_CFG) => notify = notify.or(Some(capability.offset)),
                (PCI_CAP_ID_VNDR, DEVICE_CFG) => config = config.or(Some(capability.offset)),
                (PCI_CAP_ID_MSIX, _) => msix = Some(capability.offset),
                _ => {}
            }
        }
        // A legacy device has its registers in ports and no capability for memory-mapped ones.
        let common = common.ok_or(OpenError::Legacy)?;
        let notify = notify.ok_or(OpenError::Lacks("notification area"))?;
        let config = config.ok_or(OpenError::Lacks("device configuration"))?;
        let msix = msix.ok_or(OpenError::Lacks("MSI-X"))?;

        let word =
            |capability: u8, at: u8| config_space.read_word(function, capability.wrapping_add(at));
        let multiplier = word(notify, CAP_NOTIFY_MULTIPLIER);
        let table = word(msix, MSIX_TABLE);
        let entry = Location {
            bar: (table & 7) as u8,
            offset: table & !7,
            len: MSIX_ENTRY_LEN,
        };
        let [common, notify, config] = [common, notify, config].map(|capability| Location {
            bar: word(capability, CAP_BAR) as u8,
            offset: word(capability, CAP_OFFSET),
            len: word(capability, CAP_LENGTH),
        });
        let enabled = placer.enable(config_space, function, &[common, notify, config, entry])?;

        set_message(&enabled.registers(entry), apic_id);
        let control = (word(msix, 0) | MSIX_ENABLE) & !MSIX_FUNCTION_MASK;
        config_space.write_word(function, msix, control);

        let common = enabled.registers(common);
        let queue_count = common.read::<u16>(NUM_QUEUES);
        Ok(Self {
            kind,
            common,
            notify: enabled.registers(notify),
            notify_multiplier: multiplier as usize,
            config: enabled.registers(config),
            doorbells: vec![0; queue_count.into()],
        })
    }

    /// Number of queues that the device has.
    pub fn queue_count(&self) -> usize {
        self.doorbells.len()
    }

    /// Resets the device, which firmware may have used, and agrees on those of
    /// the `wanted` features that it offers (3.1.1, steps 1 to 6).
    pub fn negotiate(&mut self, wanted: u64) -> Result<u64, OpenError> {
        self.set_status(DeviceStatus::empty());
        // The device is reset once it says so (4.1.4.3.2).
        while self.get_status() != DeviceStatus::empty() {
            core::hint::spin_loop();
        }
        let mut status = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        self.set_status(status);
        let features = self.read_device_features() & (wanted | F_VERSION_1);
        if features & F_VERSION_1 == 0 {
            return Err(OpenError::Legacy);
        }
        self.write_driver_features(features);
        status |= DeviceStatus::FEATURES_OK;
        self.set_status(status);
        if !self.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(OpenError::FeaturesRefused);
        }
        // The configuration is read on demand, so a change needs no interrupt.
        self.common.write(CONFIG_MSIX_VECTOR, NO_VECTOR);
        Ok(features)
    }

    /// Copies configuration space from `offset`; zeros beyond its end.
    pub fn read_config(&self, offset: usize, out: &mut [u8]) {
        out.fill(0);
        loop {
            let generation = self.read_config_generation();
            for (at, byte) in (offset..self.config.len()).zip(out.iter_mut()) {
                *byte = self.config.read(at);
            }
            // The same before and after: the bytes belong together (4.1.4.3.1).
            if self.read_config_generation() == generation {
                return;
            }
        }
    }

    fn select(&self, queue: u16) {
        self.common.write(QUEUE_SELECT, queue);
    }

    /// 64-bit registers are written in halves (4.1.3.1).
    fn write_address(&self, register: usize, address: PhysAddr) {
        self.common.write(register, address as u32);
        self.common.write(register + 4, (address >> 32) as u32);
    }
}

/// Fills in an entry of the MSI-X table and unmasks it. The rest of the table
/// stays as after reset: masked.
fn set_message(entry: &Mmio, apic_id: u8) {
    entry.write(0x0, MESSAGE_ADDRESS | u32::from(apic_id) << 12);
    entry.write(0x4, 0_u32);
    entry.write(0x8, u32::from(DEVICE_VECTOR));
    entry.write(0xc, 0_u32);
}

impl Transport for PciTransport {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.common.write(DEVICE_FEATURE_SELECT, 0_u32);
        let low = self.common.read::<u32>(DEVICE_FEATURE);
        self.common.write(DEVICE_FEATURE_SELECT, 1_u32);
        let high = self.common.read::<u32>(DEVICE_FEATURE);
        u64::from(high) << 32 | u64::from(low)
    }

    fn write_driver_features(&mut self, features: u64) {
        self.common.write(DRIVER_FEATURE_SELECT, 0_u32);
        self.common.write(DRIVER_FEATURE, features as u32);
        self.common.write(DRIVER_FEATURE_SELECT, 1_u32);
        self.common.write(DRIVER_FEATURE, (features >> 32) as u32);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.common.read::<u16>(QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        self.notify.write(self.doorbells[usize::from(queue)], queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.common.read::<u8>(DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write(DEVICE_STATUS, status.bits() as u8);
    }

    /// Only the legacy interface uses this.
    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.select(queue);
        self.common.write(QUEUE_SIZE, size as u16);
        // Before the queue is enabled, or QEMU does not route its interrupts.
        self.common.write(QUEUE_MSIX_VECTOR, TABLE_ENTRY);
        let vector = self.common.read::<u16>(QUEUE_MSIX_VECTOR);
        assert!(
            vector == TABLE_ENTRY,
            "the device cannot assign an MSI-X vector to queue {queue}"
        );
        self.write_address(QUEUE_DESC, descriptors);
        self.write_address(QUEUE_DRIVER, driver_area);
        self.write_address(QUEUE_DEVICE, device_area);
        let offset = self.common.read::<u16>(QUEUE_NOTIFY_OFF);
        self.doorbells[usize::from(queue)] = usize::from(offset) * self.notify_multiplier;
        self.common.write(QUEUE_ENABLE, 1_u16);
    }

    /// Over PCI, a queue ends with the reset of its device.
    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.common.read::<u16>(QUEUE_ENABLE) != 0
    }

    /// With MSI-X there is nothing to acknowledge (4.1.4.5).
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read::<u8>(CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let mut value = T::new_zeroed();
        self.read_config(offset, value.as_mut_bytes());
        Ok(value)
    }

    /// A vSSD and a console have nothing that this driver would write.
    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _offset: usize,
        _value: T,
    ) -> Result<(), Error> {
        Err(Error::Unsupported)
    }
}
