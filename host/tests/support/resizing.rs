//! A vSSD of 4 MiB to resize, each of its blocks with a content of its own.

use vssd::units::Geometry;
use vssd_host::control::protocol::{Change, Resize};
use vssd_host::size::Amount;

use super::NO_DEADLINE_MS;
use super::daemon::{Daemon, Site};
use super::frontend::{Frontend, IOERR, OK};
use super::guest::Guest;

/// Its blocks, of 4 KiB.
pub const BLOCKS: u32 = 1024;

/// Sectors of a block.
pub const SECTORS: u64 = 8;

pub fn start() -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    (site, daemon)
}

pub fn boot(site: &Site) -> Guest {
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    Guest::boot(&site.path("vm1.sock"), geometry)
}

/// A resize whose guest may take as long as it likes.
pub fn to(blocks: u32) -> Resize {
    let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(blocks.into())));
    resize.deadline_ms = NO_DEADLINE_MS;
    resize
}

/// A content that identifies its block, and is never zeros.
pub fn own(block: u32) -> Vec<u8> {
    (block + 1).to_le_bytes().repeat(1024)
}

/// Fills every block with its own content.
pub fn fill(guest: &mut Frontend) {
    for block in 0..BLOCKS {
        assert_eq!(guest.write_at(u64::from(block) * SECTORS, &own(block)), OK);
    }
}

/// What a block reads as: its own content, zeros, or not at all.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    Own,
    Zeros,
    Refused,
}

pub fn content(guest: &mut Frontend, block: u32) -> Content {
    match guest.read_at(u64::from(block) * SECTORS, 4096) {
        Err(status) => {
            assert_eq!(status, IOERR);
            Content::Refused
        }
        Ok(bytes) if bytes == own(block) => Content::Own,
        Ok(bytes) => {
            assert!(bytes.iter().all(|b| *b == 0), "block {block} is garbled");
            Content::Zeros
        }
    }
}
