//! Sessions: the openings of a pool, of which the newest has it.
//!
//! A pool has one backend at a time. Locks ensure that, but they do not reach another machine that
//! shares the disk, nor a second device that leads to the same bytes. So each opening for writing,
//! a *session*, has a page of its own on the backing, records there that it has begun before it
//! writes anything else, and puts its number on each commit and superblock.
//!
//! ```text
//!            claim             begin                     note
//!  (nothing) ─────▶ claimed ──────────▶ begun ───────────────────────▶ superseded
//!                   others stop         the first commit, by which     by a session that
//!                   from here on        it began, is on record         began later
//! ```
//!
//! The newest session has the pool. An older one that still runs finds that out when it next looks
//! ([`Journal::verify`](super::Journal::verify)), stops recording, and notes in its page that it
//! was still there. What it wrote until then is what [`overlap`](super::overlap) is about.
//!
//! ```text
//!  page of a session, only the first sector of which is used
//!   0  "vSSDsess"                          40  epoch in which it began u64, or 0
//!   8  session u64                         48  sequence of the commit by which it did u64
//!  16  boot id, 16 bytes                   56  session that superseded it u64, or 0
//!  32  opened, seconds since 1970 u64      64  process u32
//!                                          68  name of the machine, 56 bytes, and zeros
//! 124  CRC-32 of bytes 0 to 123 u32
//! ```

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BootId;
use super::buffer::AlignedBuffer;
use super::layout::{PAGE, SESSIONS, SESSIONS_KEPT, SessionId};
use crate::backing::Backing;

const MAGIC: [u8; 8] = *b"vSSDsess";
const LEN: usize = 128;
const HOST_LEN: usize = 56;

/// A session as it lies at the front of its page.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSession {
    magic: [u8; 8],
    id: U64,
    boot: [u8; 16],
    opened: U64,
    epoch: U64,
    sequence: U64,
    superseded: U64,
    process: U32,
    host: [u8; HOST_LEN],
    crc: U32,
}

const _: () = assert!(size_of::<RawSession>() == LEN);

impl RawSession {
    fn checksum(&self) -> u32 {
        crc32fast::hash(&self.as_bytes()[..LEN - size_of::<U32>()])
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// Boot of the machine in which it was opened.
    pub boot: BootId,
    /// When, in seconds since 1970.
    pub opened: u64,
    /// Epoch and sequence of the commit by which it began.
    pub began: Option<(u64, u64)>,
    /// It was still there when that session had begun.
    pub superseded: Option<SessionId>,
    /// The process.
    pub process: u32,
    /// The machine.
    pub host: String,
}

impl Session {
    /// One of this process, after that with the number `before`.
    pub(super) fn new(before: u32, boot: BootId) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        Self {
            id: SessionId::after(before),
            boot,
            opened: now.map_or(0, |time| time.as_secs()),
            began: None,
            superseded: None,
            process: std::process::id(),
            host: host[..host.floor_char_boundary(HOST_LEN)].to_owned(),
        }
    }

    /// Where its page is.
    fn offset(&self) -> u64 {
        SESSIONS + u64::from(self.id.number()) % SESSIONS_KEPT * PAGE
    }

    fn encode(&self, page: &mut [u8]) {
        let (epoch, sequence) = self.began.unwrap_or_default();
        let mut raw = RawSession {
            magic: MAGIC,
            id: self.id.0.into(),
            boot: self.boot.0,
            opened: self.opened.into(),
            epoch: epoch.into(),
            sequence: sequence.into(),
            superseded: self.superseded.map_or(0, |by| by.0).into(),
            process: self.process.into(),
            host: [0; HOST_LEN],
            crc: U32::ZERO,
        };
        raw.host[..self.host.len()].copy_from_slice(self.host.as_bytes());
        raw.crc = raw.checksum().into();
        page[..LEN].copy_from_slice(raw.as_bytes());
        page[LEN..].fill(0);
    }

    fn decode(page: &[u8]) -> Option<Self> {
        let (raw, _) = RawSession::ref_from_prefix(page).ok()?;
        let some = |number: U64| Some(number.get()).filter(|number| *number != 0);
        let host = raw.host.split(|byte| *byte == 0).next();
        let sound = raw.magic == MAGIC && (cfg!(fuzzing) || raw.crc == raw.checksum());
        sound.then(|| Self {
            id: SessionId(raw.id.get()),
            boot: BootId(raw.boot),
            opened: raw.opened.get(),
            began: some(raw.epoch).map(|epoch| (epoch, raw.sequence.get())),
            superseded: some(raw.superseded).map(SessionId),
            process: raw.process.get(),
            host: String::from_utf8_lossy(host.unwrap_or_default()).into_owned(),
        })
    }

    /// Writes its page durably.
    pub(super) fn write(&self, backing: &dyn Backing) -> io::Result<()> {
        let mut buffer = AlignedBuffer::default();
        self.encode(buffer.get(PAGE as usize));
        buffer.write(backing, self.offset(), PAGE as usize)?;
        backing.flush()
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, host, .. } = self;
        write!(
            f,
            "session {} (process {process} on {host}",
            self.id.number()
        )?;
        // The year 9999 ends then; later times have no RFC 3339 form.
        const LATEST: u64 = 253_402_300_799;
        if self.opened > LATEST {
            return f.write_str(")");
        }
        let opened = UNIX_EPOCH + Duration::from_secs(self.opened);
        write!(f, ", opened {})", humantime::format_rfc3339_seconds(opened))
    }
}

/// The sessions that are remembered on a backing with a pool, the oldest first.
pub(super) fn all(backing: &dyn Backing) -> io::Result<Vec<Session>> {
    let len = (SESSIONS_KEPT * PAGE) as usize;
    Ok(decode_all(
        AlignedBuffer::default().read(backing, SESSIONS, len)?,
    ))
}

/// The same, of their pages.
pub(super) fn decode_all(pages: &[u8]) -> Vec<Session> {
    let pages = pages.chunks_exact(PAGE as usize);
    let mut sessions: Vec<_> = pages.filter_map(Session::decode).collect();
    sessions.sort_by_key(|session| session.id);
    sessions
}

/// Forgets all sessions but one.
pub(super) fn forget_others(backing: &dyn Backing, kept: &Session) -> io::Result<()> {
    let len = (SESSIONS_KEPT * PAGE) as usize;
    let mut buffer = AlignedBuffer::default();
    let pages = buffer.get(len);
    pages.fill(0);
    let at = (kept.offset() - SESSIONS) as usize;
    kept.encode(&mut pages[at..at + PAGE as usize]);
    buffer.write(backing, SESSIONS, len)?;
    backing.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_sessions_have_these_bytes() {
        let session = Session {
            id: SessionId(0x0000_0011_0403_0201),
            boot: BootId(*b"0123456789abcdef"),
            opened: 1_700_000_000,
            began: Some((0x0807_0605_0403_0201, 9)),
            superseded: Some(SessionId(0x12_0000_0000)),
            process: 4711,
            host: "host-a".to_owned(),
        };
        let mut page = vec![0xff; PAGE as usize];
        session.encode(&mut page);
        let expected = b"vSSDsess\x01\x02\x03\x04\x11\0\0\0\
            0123456789abcdef\x00\xf1\x53\x65\0\0\0\0\
            \x01\x02\x03\x04\x05\x06\x07\x08\x09\0\0\0\0\0\0\0\
            \0\0\0\0\x12\0\0\0\x67\x12\0\0host-a\0";
        assert_eq!(&page[..expected.len()], expected);
        assert!(page[LEN..].iter().all(|byte| *byte == 0));
        assert_eq!(Session::decode(&page), Some(session.clone()));
        assert_eq!(
            session.to_string(),
            "session 17 (process 4711 on host-a, opened 2023-11-14T22:13:20Z)"
        );
        assert_eq!(session.offset(), SESSIONS + PAGE);
        for byte in 0..LEN {
            let mut damaged = page.clone();
            damaged[byte] ^= 1;
            assert_eq!(Session::decode(&damaged), None, "byte {byte}");
        }
        let claimed = Session {
            began: None,
            superseded: None,
            ..Session::new(u32::MAX - 1, BootId([1; 16]))
        };
        claimed.encode(&mut page);
        assert_eq!(Session::decode(&page), Some(claimed));
    }
}
