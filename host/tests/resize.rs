//! The resize protocol end to end: control socket, device and a guest.

mod support;

use support::daemon::{Daemon, Site};
use support::frontend::{Frontend, IOERR, OK};
use support::guest::{Guest, highest, refuse, scattered};
use vssd::driver::Driver;
use vssd::units::Geometry;
use vssd_host::control::protocol::{Change, EncodingName, EvictName, Reply, Request, Resize};
use vssd_host::size::Amount;

/// Blocks of the vSSD in most tests: 4 MiB of 4 KiB blocks.
const BLOCKS: u32 = 1024;

const SECTORS: u64 = 8;

fn start() -> (Site, Daemon) {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    (site, daemon)
}

fn boot(site: &Site) -> Guest {
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    Guest::boot(&site.path("vm1.sock"), geometry)
}

fn to(blocks: u32) -> Resize {
    Resize::new("vm1", Change::To(Amount::Blocks(blocks.into())))
}

/// Fills every block with its own number.
fn fill(guest: &mut Frontend) {
    for block in 0..BLOCKS {
        let bytes = block.to_le_bytes().repeat(1024);
        assert_eq!(guest.write_at(u64::from(block) * SECTORS, &bytes), OK);
    }
}

/// What a block reads as: its own number, zeros, or not at all.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    Own,
    Zeros,
    Refused,
}

fn content(guest: &mut Frontend, block: u32) -> Content {
    match guest.read_at(u64::from(block) * SECTORS, 4096) {
        Err(status) => {
            assert_eq!(status, IOERR);
            Content::Refused
        }
        Ok(bytes) if bytes == block.to_le_bytes().repeat(1024) => Content::Own,
        Ok(bytes) => {
            assert!(bytes.iter().all(|b| *b == 0), "block {block} is garbled");
            Content::Zeros
        }
    }
}

#[test]
fn a_guest_attaches_and_confirms_its_list() {
    let (site, daemon) = start();
    let before = daemon.vssd();
    assert!(!before.connected && !before.driver && !before.agreed);
    let guest = boot(&site);
    let vssd = daemon.wait_until(|v| v.connected && v.driver && v.agreed);
    assert_eq!(vssd.held, BLOCKS);
    let digest = format!("{:016x}", guest.driver.held().digest());
    assert_eq!(vssd.digest, digest);
}

/// The heart of it: what was given up is refused, all else is untouched, and
/// what comes back is empty. Block 0 holds zeros as content of its own.
#[test]
fn blocks_given_up_are_refused_and_come_back_empty() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    guest.choose = scattered;
    fill(&mut guest.frontend);
    let id = daemon.begin(to(BLOCKS - 300));
    guest.settle_at(BLOCKS - 300);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!((ended.from, ended.held, ended.revoked), (BLOCKS, 724, 0));
    assert_eq!(ended.exchanges, 1);
    assert!(ended.elapsed_ns >= ended.device_ns && ended.device_ns > 0);
    assert!(ended.message_bytes > 0);
    let taken = |block: u32| block < 600 && block.is_multiple_of(2);
    for block in 0..BLOCKS {
        let wanted = match taken(block) {
            true => Content::Refused,
            false => Content::Own,
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
    assert_eq!(daemon.vssd().counters.rejects["not-held"], 300);

    let id = daemon.begin(to(BLOCKS));
    guest.settle_at(BLOCKS);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    for block in 1..BLOCKS {
        let wanted = match taken(block) {
            true => Content::Zeros,
            false => Content::Own,
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
}

/// What was given up takes no room on the host.
#[test]
fn blocks_given_up_are_freed() {
    use std::os::unix::fs::MetadataExt;
    let (site, daemon) = start();
    let mut guest = boot(&site);
    fill(&mut guest.frontend);
    assert_eq!(guest.frontend.flush(), OK);
    let used = || site.path("disk.img").metadata().unwrap().blocks() * 512;
    let before = used();
    let id = daemon.begin(to(BLOCKS / 4));
    guest.settle_at(BLOCKS / 4);
    assert!(daemon.ended(id).is_complete());
    assert!(used() <= before - 3 * (1 << 20), "{before} {}", used());
}

/// The 2017 exchange, chosen while the guest runs.
#[test]
fn lists_of_4096_sectors_take_many_exchanges() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=128MiB")]);
    let geometry = Geometry::new(4096, 32768).unwrap();
    let mut guest = Guest::boot(&site.path("vm1.sock"), geometry);
    let request = Request::SetEncoding {
        vssd: "vm1".to_owned(),
        encoding: EncodingName::List4096,
    };
    assert_eq!(daemon.client().call(&request).unwrap(), Reply::Ok);
    guest.run_until(|d| d.encoding() == vssd::wire::Encoding::List4096 && d.is_quiet());
    for (target, exchanges) in [(32768 - 10_000, 20), (32768, 20)] {
        guest.choose = scattered;
        let id = daemon.begin(to(target));
        guest.settle_at(target);
        let ended = daemon.ended(id);
        assert!(ended.is_complete() && ended.agreed, "{ended:?}");
        assert_eq!(ended.exchanges, exchanges);
    }
    assert_eq!(daemon.vssd().encoding, EncodingName::List4096);
}

/// A guest that gives nothing loses blocks once the deadline is over, and is
/// told which.
#[test]
fn a_deadline_takes_what_the_guest_keeps() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    guest.choose = refuse;
    fill(&mut guest.frontend);
    let mut resize = to(BLOCKS - 100);
    resize.deadline_ms = 50;
    resize.seed = Some(1);
    let id = daemon.begin(resize);
    guest.settle_at(BLOCKS - 100);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!(ended.revoked, 100);
    assert!(ended.elapsed_ns >= 50_000_000);
    for block in 1..BLOCKS {
        let wanted = match guest.driver.held().contains(block) {
            true => Content::Own,
            false => Content::Refused,
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
}

/// Also where nobody speaks the protocol, as under an unmodified guest.
#[test]
fn a_deadline_works_without_a_driver() {
    let (site, daemon) = start();
    let mut plain = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(plain.write_at(0, &[1; 512]), OK);
    let mut resize = to(0);
    resize.deadline_ms = 20;
    let ended = daemon.ended(daemon.begin(resize));
    assert!(ended.is_complete(), "{ended:?}");
    assert_eq!((ended.revoked, ended.agreed), (BLOCKS, false));
    assert_eq!(plain.write_at(0, &[1; 512]), IOERR);
}

#[test]
fn without_revocation_the_deadline_ends_it_as_it_is() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    guest.choose = |held, count| highest(held, count.min(10));
    let mut resize = to(BLOCKS - 100);
    resize.revoke = false;
    let id = daemon.begin(resize);
    guest.settle_at(BLOCKS - 10);
    let ended = daemon.ended(id);
    assert_eq!((ended.end.as_str(), ended.held), ("declined", BLOCKS - 10));
    assert_eq!(ended.revoked, 0);

    // Nobody looks: the deadline has to notice by itself. What the guest has
    // not heard of it cannot confirm, but the list did not change.
    let mut resize = to(BLOCKS - 200);
    resize.revoke = false;
    resize.deadline_ms = 20;
    let ended = daemon.ended(daemon.begin(resize));
    assert_eq!((ended.end.as_str(), ended.held), ("deadline", BLOCKS - 10));
}

/// The hypervisor of 2017: picks at once, evenly, and by the seed.
#[test]
fn uniform_picks_follow_the_seed() {
    let picks = |seed: u64| {
        let (site, daemon) = start();
        let mut guest = boot(&site);
        let mut resize = to(BLOCKS - 256);
        resize.evict = EvictName::Uniform;
        resize.seed = Some(seed);
        let id = daemon.begin(resize);
        guest.settle_at(BLOCKS - 256);
        let ended = daemon.ended(id);
        assert!(ended.is_complete() && ended.agreed, "{ended:?}");
        assert_eq!((ended.revoked, ended.exchanges), (256, 0));
        guest.driver.held().digest()
    };
    assert_eq!(picks(7), picks(7));
    assert_ne!(picks(7), picks(8));
}

#[test]
fn a_cancelled_resize_keeps_what_has_moved() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    guest.choose = |held, count| highest(held, count.min(5));
    // A guest that has no more to give ends a resize, unless there is a
    // deadline to come that revokes.
    let mut resize = to(BLOCKS - 100);
    resize.deadline_ms = 3_600_000;
    let id = daemon.begin(resize);
    guest.settle_at(BLOCKS - 5);
    let cancel = Request::Cancel {
        vssd: "vm1".to_owned(),
    };
    let busy = daemon.client().call(&Request::Resize(to(1))).unwrap_err();
    assert!(busy.to_string().contains("under way"), "{busy}");
    let cancelled = daemon.client().call(&cancel).unwrap();
    assert_eq!(cancelled, Reply::Started { id });
    // The event that tells of it may have older ones before it in the ring.
    while daemon.vssd().last_resize.is_none() {
        guest.take_event();
        guest.settle_at(BLOCKS - 5);
    }
    let ended = daemon.ended(id);
    assert_eq!(
        (ended.end.as_str(), ended.held, ended.agreed),
        ("cancelled", BLOCKS - 5, true)
    );
    assert!(daemon.client().call(&cancel).is_err());
}

/// A guest that reboots in the middle of a resize finishes it afterwards: its
/// new driver knows nothing but what the device tells it.
#[test]
fn a_guest_that_reboots_goes_on() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    let mut resize = to(BLOCKS - 100);
    resize.deadline_ms = 3_600_000;
    let id = daemon.begin(resize);
    // The event is in the ring when the guest goes down.
    guest.reboot();
    guest.settle_at(BLOCKS - 100);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!(ended.revoked, 0);
}

/// Ownership outlives the backend, and so does the guest.
#[test]
fn a_killed_backend_remembers_who_owns_what() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    guest.choose = scattered;
    fill(&mut guest.frontend);
    let id = daemon.begin(to(BLOCKS - 200));
    guest.settle_at(BLOCKS - 200);
    assert!(daemon.ended(id).is_complete());
    let digest = daemon.vssd().digest;
    daemon.kill();
    guest.frontend.unplug();

    // A record that was cut short by the kill.
    use std::io::Write;
    let log = site.path("disk.img.vm1.owners");
    let mut log = std::fs::File::options().append(true).open(log).unwrap();
    log.write_all(b"OWN!\x02\0\0\0\x40\0\0\0\0\0\0\0half a record")
        .unwrap();

    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    assert_eq!(daemon.vssd().digest, digest);
    guest.frontend.plug(&site.path("vm1.sock"));
    // The session is of another life: the guest is told, and starts over.
    guest.take_event();
    guest.run_until(Driver::is_quiet);
    assert_eq!(guest.driver.held().len(), BLOCKS - 200);
    for block in 1..BLOCKS {
        let wanted = match guest.driver.held().contains(block) {
            true => Content::Own,
            false => Content::Refused,
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
    let id = daemon.begin(to(BLOCKS));
    guest.settle_at(BLOCKS);
    assert!(daemon.ended(id).agreed);
    assert_eq!(content(&mut guest.frontend, 2), Content::Zeros);
    assert_eq!(content(&mut guest.frontend, 1), Content::Own);
}

/// A record that is all there but not what was written counts for nothing.
#[test]
fn a_damaged_record_is_not_believed() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    let id = daemon.begin(to(BLOCKS - 100));
    guest.settle_at(BLOCKS - 100);
    assert!(daemon.ended(id).is_complete());
    daemon.kill();
    let log = site.path("disk.img.vm1.owners");
    let mut bytes = std::fs::read(&log).unwrap();
    // The last record ends in its only extent: where it starts, how long it
    // is. One block lower it would be as good a set as before.
    let start = bytes.len() - 8;
    assert_eq!(bytes[start..][..4], (BLOCKS - 100).to_le_bytes());
    let lower = BLOCKS - 101;
    bytes[start..][..4].copy_from_slice(&lower.to_le_bytes());
    std::fs::write(&log, bytes).unwrap();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    assert_eq!(daemon.vssd().held, BLOCKS);
}

/// Data in a block that nobody holds, as a kill between the two halves of a
/// release could leave it, is gone when the backend is up again.
#[test]
fn data_that_nobody_owns_is_scrubbed() {
    use std::os::unix::fs::FileExt;
    let site = Site::new();
    let specs = [site.spec("vm1", "size=4MiB,held=2MiB")];
    site.start(&specs).kill();
    let disk = std::fs::File::options()
        .write(true)
        .open(site.path("disk.img"))
        .unwrap();
    disk.write_all_at(b"secret", 3 << 20).unwrap();
    let daemon = site.start(&specs);
    let mut guest = boot(&site);
    let id = daemon.begin(to(BLOCKS));
    guest.settle_at(BLOCKS);
    assert!(daemon.ended(id).is_complete());
    assert_eq!(content(&mut guest.frontend, 768), Content::Zeros);
}

/// The driver confirms nothing: the resize ends when the grace time is over.
#[test]
fn a_guest_that_does_not_confirm_is_waited_for_in_vain_but_not_for_ever() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    let mut resize = to(BLOCKS - 10);
    resize.deadline_ms = 0;
    let id = daemon.begin(resize);
    guest.run_until(|driver| driver.held().len() == BLOCKS - 10 && driver.leaving().is_none());
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && !ended.agreed, "{ended:?}");
}
