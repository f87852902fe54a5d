//! Faults in guest memory that has nothing behind it.
//!
//! A frontend shares its guest's memory as files, which the backend maps. Such a mapping can
//! have pages without anything behind them: the file is shorter than the region, the frontend
//! truncates it later, or its file system or the huge pages run out. A thread that touches such a
//! page gets SIGBUS, which by default ends the process, and with it the disks of all other VMs.
//!
//! Two mechanisms confine this to the frontend that caused it:
//!
//! - A region that its file does not cover is refused when it is announced ([`check`]).
//! - A later fault maps zeros in the place of what is missing, so that the faulting thread
//!   continues, and is counted. A worker compares the count before it publishes anything to its
//!   guest ([`Watch`]). If the memory of its own guest is affected, it ends the connection: the
//!   requests under way are not acknowledged.
//!
//! ```text
//!  access ─▶ SIGBUS ─▶ handler: zeros over [page, end of the mapping) ▸ faults += 1 ─▶ access goes on
//!  worker: faults changed? ─▶ are all my regions still shared mappings? ─no─▶ end the connection
//! ```
//!
//! Transfers by the kernel need no such care: they end with EFAULT, which is an I/O error of
//! that request.
//!
//! The handler looks up addresses in `/proc/self/maps`. A table of regions would be faster but
//! incomplete: `vhost-user-backend` uses new memory before it reports it. Nothing else in this
//! process is a shared writable mapping of a file.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

use rustix::param::page_size;
use vm_memory::{GuestAddressSpace, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Faults handled so far.
static FAULTS: AtomicU64 = AtomicU64::new(0);

/// `/proc/self/maps`, opened ahead: a handler must not depend on a descriptor being left.
static MAPS: AtomicI32 = AtomicI32::new(-1);

/// The previous handler of SIGBUS, for faults outside guest memory.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// Why the memory of a guest cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory region at {address:#x} has {len} bytes from byte {offset} of its file on, which \
     ends at byte {file_len}"
)]
pub struct ShortFile {
    address: u64,
    len: u64,
    offset: u64,
    file_len: u64,
}

/// Makes sure that the file of each region is as long as the region. A file that is not regular (a
/// device) has no length to compare.
///
/// # Errors
/// The first region of which a part lies beyond the end of its file.
pub fn check(memory: &GuestMemoryMmap) -> io::Result<()> {
    for region in memory.iter() {
        let Some(backing) = region.file_offset() else {
            continue;
        };
        let metadata = backing.file().metadata()?;
        let (len, offset) = (region.len(), backing.start());
        let end = offset.checked_add(len);
        if metadata.is_file() && end.is_none_or(|end| end > metadata.len()) {
            return Err(io::Error::other(ShortFile {
                address: region.start_addr().0,
                len,
                offset,
                file_len: metadata.len(),
            }));
        }
    }
    Ok(())
}

/// Detects that a part of one guest's memory was lost.
#[derive(Debug)]
pub struct Watch {
    /// The number of faults up to which it is intact.
    seen: AtomicU64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            seen: AtomicU64::new(FAULTS.load(Ordering::Acquire)),
        }
    }
}

impl Watch {
    /// False once a part of `memory` was lost. Costs two loads as long as no guest of this
    /// process lost any.
    #[inline]
    pub fn is_intact(&self, memory: impl GuestAddressSpace<M = GuestMemoryMmap>) -> bool {
        let faults = FAULTS.load(Ordering::Acquire);
        faults == self.seen.load(Ordering::Relaxed) || self.is_mapped(&memory.memory(), faults)
    }

    #[cold]
    fn is_mapped(&self, memory: &GuestMemoryMmap, faults: u64) -> bool {
        // If the mappings cannot be read, memory counts as lost, which costs one reconnect.
        let intact = MapsReader::new(MAPS.load(Ordering::Acquire)).is_some_and(|maps| {
            let shared = maps.filter(|mapping| mapping.kind == Kind::Shared);
            let shared: Vec<Mapping> = shared.collect();
            memory.iter().all(|region| {
                let start = region.as_ptr() as usize;
                is_covered(&shared, start, start + region.len() as usize)
            })
        });
        if intact {
            self.seen.store(faults, Ordering::Relaxed);
        }
        intact
    }
}

/// Whether the mappings, in order of their addresses, leave no gap from `start` to `end`.
fn is_covered(mappings: &[Mapping], mut start: usize, end: usize) -> bool {
    for mapping in mappings {
        if mapping.start <= start && start < mapping.end {
            start = mapping.end;
        }
    }
    start >= end
}

/// Installs the handler that survives faults in guest memory. Call it once, before the first
/// thread.
///
/// # Errors
/// When it cannot be installed.
pub fn survive_faults() -> io::Result<()> {
    if MAPS.load(Ordering::Acquire) >= 0 {
        return Ok(());
    }
    // Open for as long as the process is.
    let maps = File::open("/proc/self/maps")?;
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a valid `sigaction`: no flags, no signals blocked.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handle as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    MAPS.store(maps.as_raw_fd(), Ordering::Release);
    // SAFETY: `handle` has the signature that SA_SIGINFO asks for, and calls nothing that a
    // handler may not; both structures live through the call.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, before.as_mut_ptr()) } != 0 {
        MAPS.store(-1, Ordering::Release);
        return Err(io::Error::last_os_error());
    }
    let _ = maps.into_raw_fd();
    // SAFETY: the call has filled it in.
    let before = Box::new(unsafe { before.assume_init() });
    BEFORE.store(Box::into_raw(before), Ordering::Release);
    Ok(())
}

/// Handles SIGBUS. A fault outside guest memory goes to the previous handler, when the instruction
/// runs again.
extern "C" fn handle(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: errno is this thread's own, and the kernel passes a valid `info`.
    let (errno, address) = unsafe { (*libc::__errno_location(), (*info).si_addr() as usize) };
    if replace(address) {
        FAULTS.fetch_add(1, Ordering::AcqRel);
    } else {
        let before = BEFORE.load(Ordering::Acquire);
        if before.is_null() {
            // SAFETY: restoring the default action is allowed in a handler.
            unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        } else {
            // SAFETY: it points to a `sigaction` that is never freed.
            unsafe { libc::sigaction(libc::SIGBUS, before, ptr::null_mut()) };
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts zeros in the place of the shared mapping at `address`, from its page on: what lies
/// behind the end of a file is missing up to the end of the mapping. False when there is no
/// such mapping, or the system refuses.
fn replace(address: usize) -> bool {
    let Some(mut maps) = MapsReader::new(MAPS.load(Ordering::Acquire)) else {
        return false;
    };
    let found = maps.find(|mapping| mapping.start <= address && address < mapping.end);
    let Some(Mapping { start, end, kind }) = found else {
        return false;
    };
    match kind {
        Kind::Shared => {
            let page = address & !(page_size() - 1);
            // A mapping of huge pages cannot be cut at any page.
            zeros(page, end - page) || zeros(start, end - start)
        }
        // Another thread has handled it: private memory does not fault by itself.
        Kind::Anonymous => true,
        Kind::Other => false,
    }
}

fn zeros(start: usize, len: usize) -> bool {
    // SAFETY: the range is one of a shared mapping of guest memory, which is accessed by raw
    // pointers and the kernel only: no Rust reference is to anything there, and whatever is
    // there may change at any time, as the guest writes to it. The range stays mapped until
    // the owner of the mapping unmaps it.
    let mapped = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

/// A mapping of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Writable and shared with other processes, as guest memory is.
    Shared,
    /// Private and of no file.
    Anonymous,
    Other,
}

/// The mappings of this process in the order of their addresses, read without allocating.
struct MapsReader {
    maps: RawFd,
    offset: libc::off_t,
    buffer: [u8; 512],
    len: usize,
    at: usize,
}

impl MapsReader {
    /// Reads from the descriptor of `/proc/self/maps`, if there is one.
    fn new(maps: RawFd) -> Option<Self> {
        (maps >= 0).then_some(Self {
            maps,
            offset: 0,
            buffer: [0; 512],
            len: 0,
            at: 0,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        if self.at == self.len {
            let buffer = self.buffer.as_mut_ptr().cast();
            // SAFETY: the buffer has that many bytes, and the descriptor stays open.
            let read = unsafe { libc::pread(self.maps, buffer, self.buffer.len(), self.offset) };
            self.len = usize::try_from(read).ok().filter(|len| *len > 0)?;
            self.offset += read as libc::off_t;
            self.at = 0;
        }
        self.at += 1;
        Some(self.buffer[self.at - 1])
    }

    /// A hexadecimal number, with the byte behind it.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        while let Some(digit) = (self.byte()? as char).to_digit(16) {
            number = number << 4 | digit as usize;
        }
        Some(number)
    }

    /// Whether the decimal number that comes next, up to a space or the end of the line, is
    /// zero, and the byte behind it.
    fn is_zero(&mut self) -> Option<(bool, u8)> {
        let mut zero = true;
        loop {
            match self.byte()? {
                b'0' => {}
                b'1'..=b'9' => zero = false,
                end => return Some((zero, end)),
            }
        }
    }
}

impl Iterator for MapsReader {
    type Item = Mapping;

    /// A line is `start-end rwxs offset major:minor inode path` (proc_pid_maps(5)).
    fn next(&mut self) -> Option<Mapping> {
        let (start, end) = (self.number()?, self.number()?);
        let (_, writable, _, sharing) = (self.byte()?, self.byte()?, self.byte()?, self.byte()?);
        let (_space, _offset, _major, _minor) =
            (self.byte()?, self.number()?, self.number()?, self.number()?);
        let (no_file, mut last) = self.is_zero()?;
        while last != b'\n' {
            last = self.byte()?;
        }
        let kind = match (writable, sharing, no_file) {
            (b'w', b's', _) => Kind::Shared,
            (b'w', b'p', true) => Kind::Anonymous,
            _ => Kind::Other,
        };
        Some(Mapping { start, end, kind })
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};
    use vm_memory::{Bytes, FileOffset, GuestAddress};

    use super::*;

    fn memory_on(file: &File, regions: &[(u64, usize, u64)]) -> GuestMemoryMmap {
        let regions = regions.iter().map(|&(address, len, offset)| {
            let file = file.try_clone().unwrap();
            (
                GuestAddress(address),
                len,
                Some(FileOffset::new(file, offset)),
            )
        });
        GuestMemoryMmap::from_ranges_with_files(regions).unwrap()
    }

    fn memfd(len: u64) -> File {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn a_region_has_to_lie_in_its_file() {
        let file = memfd(16 << 20);
        check(&memory_on(&file, &[(0, 16 << 20, 0)])).unwrap();
        check(&memory_on(
            &file,
            &[(0, 4096, 0), (1 << 30, 4096, (16 << 20) - 4096)],
        ))
        .unwrap();
        let error = check(&memory_on(
            &file,
            &[(0, 4096, 0), (1 << 30, 8192, (16 << 20) - 4096)],
        ));
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("0x40000000") && text.contains("16777216"),
            "{text}"
        );
        check(&memory_on(&file, &[(0, 64 << 20, 0)])).unwrap_err();
    }

    #[test]
    fn the_mappings_of_this_process_are_read() {
        survive_faults().unwrap();
        let file = memfd(8192);
        let memory = memory_on(&file, &[(0, 8192, 0)]);
        let region = memory.iter().next().unwrap().as_ptr() as usize;
        let boxed = Box::new([0u8; 1 << 20]);
        let kind_at = |address: usize| {
            let maps = MapsReader::new(MAPS.load(Ordering::Acquire)).unwrap();
            let mut found = maps.filter(|m| m.start <= address && address < m.end);
            found.next().map(|mapping| mapping.kind)
        };
        assert_eq!(kind_at(region), Some(Kind::Shared));
        assert_eq!(kind_at(boxed.as_ptr() as usize), Some(Kind::Anonymous));
        assert_eq!(kind_at(0), None);
        let code = survive_faults as *const () as usize;
        assert_eq!(kind_at(code), Some(Kind::Other));
        let read: usize = MapsReader::new(MAPS.load(Ordering::Acquire))
            .unwrap()
            .count();
        let lines = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(read.abs_diff(lines.lines().count()) < 8, "{read}: {lines}");
    }

    #[test]
    fn faults_are_survived_and_noticed_by_whom_they_hit() {
        survive_faults().unwrap();
        let (file, other) = (memfd(64 << 10), memfd(64 << 10));
        let (memory, neighbour) = (
            memory_on(&file, &[(0, 64 << 10, 0)]),
            memory_on(&other, &[(0, 64 << 10, 0)]),
        );
        let (watch, of_neighbour) = (Watch::default(), Watch::default());
        for memory in [&memory, &neighbour] {
            memory.write_obj(7u64, GuestAddress(0)).unwrap();
        }
        file.set_len(4096).unwrap();
        assert!(watch.is_intact(&memory), "nothing was touched yet");
        let read: u64 = memory.read_obj(GuestAddress(4096)).unwrap();
        assert_eq!(read, 0);
        memory.write_obj(1u64, GuestAddress(60 << 10)).unwrap();
        let kept: u64 = memory.read_obj(GuestAddress(0)).unwrap();
        assert_eq!(kept, 7, "what the file has stays");
        assert!(!watch.is_intact(&memory));
        assert!(!watch.is_intact(&memory), "it does not come back");
        assert!(of_neighbour.is_intact(&neighbour));
        let kept: u64 = neighbour.read_obj(GuestAddress(0)).unwrap();
        assert_eq!(kept, 7);
    }
}
