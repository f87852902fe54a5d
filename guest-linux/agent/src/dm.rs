//! The device mapper: tables of devices, read and replaced.

use std::fs::File;

use rustix::fs::OFlags;
use zerocopy::{FromBytes as _, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use crate::disk::{DeviceNumber, Tables, Target};
use crate::error::{During, Error, Result};
use crate::ioctl::{MAPPER_HEADER_LEN, MAPPER_LEN, MapperCall, MapperCommand, device_mapper};

const CONTROL: &str = "/dev/mapper/control";

/// `DM_STATUS_TABLE_FLAG`: tell the table, not the state.
const TELL_TABLE: u32 = 1 << 4;
/// `DM_SUSPEND_FLAG`: suspend, do not resume.
const SUSPEND: u32 = 1 << 1;
/// `DM_BUFFER_FULL_FLAG`: there is more than fits.
const BUFFER_FULL: u32 = 1 << 8;

/// Bytes in a `struct dm_target_spec`.
const SPEC_LEN: usize = 40;

/// `struct dm_target_spec`; its parameters follow, and end with 0.
#[repr(C)]
#[derive(Clone, Copy, zerocopy::FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Spec {
    start: u64,
    len: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
}

const _: () = assert!(size_of::<Spec>() == SPEC_LEN);

/// How a device is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By its name in `/dev/mapper`.
    Mapped(String),
    /// By its number.
    Number(DeviceNumber),
}

/// The device mapper of this guest.
#[derive(Debug, Default)]
pub struct Mapper {}

impl Mapper {
    /// The device mapper; it is opened when it is needed.
    pub fn new() -> Self {
        Self {}
    }

    fn call(&self, what: &str, command: MapperCommand, call: &mut MapperCall) -> Result<()> {
        let control = rustix::fs::open(
            CONTROL,
            OFlags::RDWR | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .during(|| format!("open the device mapper, {CONTROL}"))?;
        device_mapper(File::from(control), command, call).during(|| what.to_owned())
    }

    /// The targets of a device: their tables, or their states.
    fn targets(&self, name: &Name, flags: u32) -> Result<Vec<Target>> {
        let mut call = new_call(name, flags)?;
        let what = format!("read the table of {name}");
        self.call(&what, MapperCommand::Table, &mut call)?;
        parse(&call).ok_or_else(|| {
            Error::Failed(format!(
                "{what}: it is longer than {MAPPER_LEN} bytes, or broken"
            ))
        })
    }

    /// The table of a device.
    pub fn table_of(&self, name: &Name) -> Result<Vec<Target>> {
        self.targets(name, TELL_TABLE)
    }

    /// The state of the targets of a device, as text in their parameters.
    pub fn status(&self, name: &Name) -> Result<Vec<Target>> {
        self.targets(name, 0)
    }

    /// Loads a table, which the next [`resume`](Self::resume) makes the present one.
    pub fn load(&self, name: &Name, table: &[Target]) -> Result<()> {
        let mut call = new_call(name, 0)?;
        let what = format!("load a table of {name}");
        fill(&mut call, table).ok_or_else(|| {
            Error::Failed(format!("{what}: it is longer than {MAPPER_LEN} bytes"))
        })?;
        self.call(&what, MapperCommand::Load, &mut call)
    }

    /// Suspends a device: what is on its way ends, and what comes waits.
    pub fn suspend(&self, name: &Name) -> Result<()> {
        let mut call = new_call(name, SUSPEND)?;
        self.call(
            &format!("suspend {name}"),
            MapperCommand::Suspend,
            &mut call,
        )
    }

    /// Resumes a device, with the table that was loaded.
    pub fn resume(&self, name: &Name) -> Result<()> {
        let mut call = new_call(name, 0)?;
        self.call(&format!("resume {name}"), MapperCommand::Suspend, &mut call)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mapped(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl Tables for Mapper {
    fn table(&self, device: DeviceNumber) -> Result<Vec<Target>> {
        self.table_of(&Name::Number(device))
    }
}

fn new_call(name: &Name, flags: u32) -> Result<Box<MapperCall>> {
    let mut call = Box::new(MapperCall::new_zeroed());
    call.header.version = [4, 0, 0];
    call.header.data_start = MAPPER_HEADER_LEN as u32;
    call.header.flags = flags;
    match name {
        Name::Mapped(name) => {
            let is_short = name.len() < call.name.len();
            if !is_short || name.bytes().any(|byte| byte == 0 || byte == b'/') {
                return Err(Error::refused(format_args!(
                    "`{name}` is no name of a device mapper device"
                )));
            }
            call.name[..name.len()].copy_from_slice(name.as_bytes());
        }
        // huge_encode_dev of the kernel.
        Name::Number(DeviceNumber { major, minor }) => {
            let encoded = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
            call.header.dev = u64::from(encoded);
        }
    }
    Ok(call)
}

/// The targets that the kernel wrote behind the header; `None` when there are not as many as it
/// says.
fn parse(call: &MapperCall) -> Option<Vec<Target>> {
    if call.header.flags & BUFFER_FULL != 0 {
        return None;
    }
    let first = (call.header.data_start as usize).checked_sub(MAPPER_HEADER_LEN)?;
    let data = call.data.get(first..)?;
    let mut targets = Vec::new();
    let mut at = 0;
    for _ in 0..call.header.target_count {
        let (spec, params) = Spec::read_from_prefix(data.get(at..)?).ok()?;
        targets.push(Target {
            start: spec.start,
            len: spec.len,
            kind: text(&spec.kind)?,
            params: text(params)?,
        });
        // From the start of the data. It goes forward, so this ends.
        let next = spec.next as usize;
        if next <= at {
            return (targets.len() == call.header.target_count as usize).then_some(targets);
        }
        at = next;
    }
    Some(targets)
}

/// The text up to the first 0.
fn text(bytes: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..len].to_vec()).ok()
}

/// Writes a table behind the header; `None` when it does not fit.
fn fill(call: &mut MapperCall, table: &[Target]) -> Option<()> {
    call.header.target_count = u32::try_from(table.len()).ok()?;
    let mut at = 0;
    for target in table {
        let mut kind = [0; 16];
        kind.get_mut(..target.kind.len())?
            .copy_from_slice(target.kind.as_bytes());
        // The last byte ends the text, and the next one is aligned.
        let len = (SPEC_LEN + target.params.len() + 1).next_multiple_of(8);
        let spec = Spec {
            start: target.start,
            len: target.len,
            status: 0,
            // From the start of this one.
            next: u32::try_from(len).ok()?,
            kind,
        };
        let room = call.data.get_mut(at..at + len)?;
        room[..SPEC_LEN].copy_from_slice(spec.as_bytes());
        room[SPEC_LEN..][..target.params.len()].copy_from_slice(target.params.as_bytes());
        at += len;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(start: u64, params: &str) -> Target {
        Target {
            start,
            len: 8,
            kind: "linear".to_owned(),
            params: params.to_owned(),
        }
    }

    fn call() -> Box<MapperCall> {
        let number = DeviceNumber {
            major: 253,
            minor: 0x123,
        };
        new_call(&Name::Number(number), 0).unwrap()
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = [
            target(0, "254:0 0"),
            target(8, ""),
            target(16, "254:1 123456789"),
        ];
        let mut call = call();
        fill(&mut call, &table).unwrap();
        // The kernel writes offsets from the start of the data instead.
        let mut at = 0;
        for _ in &table {
            let (mut spec, _) = Spec::read_from_prefix(&call.data[at..]).unwrap();
            let next = at + spec.next as usize;
            spec.next = next as u32;
            call.data[at..at + SPEC_LEN].copy_from_slice(spec.as_bytes());
            at = next;
        }
        assert_eq!(parse(&call).unwrap(), table);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = "x".repeat(MAPPER_LEN);
        assert!(fill(&mut call(), &[target(0, &long)]).is_none());
        let many = vec![target(0, "254:0 0"); 1000];
        assert!(fill(&mut call(), &many).is_none());
        for name in ["", "a/b", &"x".repeat(128)] {
            let result = new_call(&Name::Mapped(name.to_owned()), 0);
            assert_eq!(result.is_ok(), name.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_broken_table_is_found() {
        let mut full = call();
        full.header.flags = BUFFER_FULL;
        assert!(parse(&full).is_none());
        let mut beyond = call();
        (beyond.header.data_start, beyond.header.target_count) = (u32::MAX, 1);
        assert!(parse(&beyond).is_none());
        let mut endless = call();
        fill(&mut endless, &[target(0, "a"), target(8, "b")]).unwrap();
        let (mut spec, _) = Spec::read_from_prefix(&endless.data[..]).unwrap();
        spec.next = 0;
        endless.data[..SPEC_LEN].copy_from_slice(spec.as_bytes());
        assert!(parse(&endless).is_none());
        let mut unended = call();
        unended.header.target_count = 1;
        unended.data.fill(b'x');
        assert!(parse(&unended).is_none());
    }

    #[test]
    fn a_number_is_encoded_as_the_kernel_does() {
        assert_eq!(call().header.dev, 0x10_fd23);
    }
}
