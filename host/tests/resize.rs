//! The resize protocol end to end: control socket, device and a guest.

mod support;

use support::NO_DEADLINE_MS;
use support::daemon::{Daemon, Site};
use support::frontend::{Frontend, IOERR, OK};
use support::guest::{Guest, highest, refuse, scattered};
use vssd::driver::Driver;
use vssd::units::Geometry;
use vssd_host::block_list::BlockList;
use vssd_host::control::protocol::{Change, EncodingName, PickName, Reply, Request, Resize};
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

/// A resize whose guest may take as long as it likes.
fn to(blocks: u32) -> Resize {
    let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(blocks.into())));
    resize.deadline_ms = NO_DEADLINE_MS;
    resize
}

/// A content that tells which block it belongs to, and is never zeros.
fn own(block: u32) -> Vec<u8> {
    (block + 1).to_le_bytes().repeat(1024)
}

/// Fills every block with its own content.
fn fill(guest: &mut Frontend) {
    for block in 0..BLOCKS {
        assert_eq!(guest.write_at(u64::from(block) * SECTORS, &own(block)), OK);
    }
}

/// What a block reads as: its own content, zeros, or not at all.
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
        Ok(bytes) if bytes == own(block) => Content::Own,
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
        let wanted = if taken(block) {
            Content::Refused
        } else {
            Content::Own
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
    assert_eq!(daemon.vssd().counters.rejects["not-held"], 300);

    let id = daemon.begin(to(BLOCKS));
    guest.settle_at(BLOCKS);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    for block in 1..BLOCKS {
        let wanted = if taken(block) {
            Content::Zeros
        } else {
            Content::Own
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
}

/// What one guest gives up, another can have, and finds nothing of the first in it.
#[test]
fn blocks_given_up_can_be_anothers() {
    let site = Site::new();
    let specs = [
        site.spec("vm1", "size=4MiB"),
        site.spec("vm2", "size=4MiB,held=0B"),
    ];
    let daemon = site.start_with(&specs, &["--create", "--size", "4MiB"]);
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let mut guest = boot(&site);
    let mut other = Guest::boot(&site.path("vm2.sock"), geometry);
    fill(&mut guest.frontend);
    let grow = Resize::new("vm2", Change::To(Amount::Blocks(512)));
    let refused = daemon.client().call(&Request::Resize(grow.clone()));
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("can commit 0B"), "{said}");
    guest.choose = scattered;
    let id = daemon.begin(to(BLOCKS - 512));
    guest.settle_at(BLOCKS - 512);
    assert!(daemon.ended(id).is_complete());
    daemon.begin(grow);
    other.settle_at(512);
    for block in other.driver.held().runs().flat_map(|r| r.start..r.end()) {
        assert_eq!(content(&mut other.frontend, block), Content::Zeros);
        let sector = u64::from(block) * SECTORS;
        assert_eq!(other.frontend.write_at(sector, &[0x22; 512]), OK);
        let mut expected = [0; 4096];
        expected[..512].fill(0x22);
        assert_eq!(other.frontend.read_at(sector, 4096).unwrap(), expected);
    }
    for block in 1..BLOCKS {
        let wanted = if guest.driver.held().contains(block) {
            Content::Own
        } else {
            Content::Refused
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
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
        let wanted = if guest.driver.held().contains(block) {
            Content::Own
        } else {
            Content::Refused
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
}

/// [DEV-15] An unmodified guest loses nothing unless that is forced, and the refusal comes at
/// once, whoever is to pick.
#[test]
fn without_a_driver_blocks_are_taken_by_force_only() {
    let (site, daemon) = start();
    let refused = |resize: Resize| {
        let error = daemon.client().call(&Request::Resize(resize)).unwrap_err();
        error.to_string()
    };
    let said = refused(to(0));
    assert!(said.contains("no guest is connected"), "{said}");
    let mut plain = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(plain.write_at(0, &[1; 512]), OK);
    daemon.wait_until(|v| v.connected);
    for evict in [PickName::Guest, PickName::Uniform, PickName::Sequential] {
        let mut resize = to(0);
        resize.evict = evict;
        // It does not wait for that.
        resize.deadline_ms = 3_600_000;
        let said = refused(resize);
        for word in [
            "no vSSD driver answers",
            "--force",
            "4KiB (1 block)",
            "file system",
        ] {
            assert!(said.contains(word), "{said}");
        }
    }
    assert_eq!(
        (daemon.vssd().held, daemon.vssd().counters.resizes),
        (BLOCKS, 0)
    );
    assert_eq!(plain.write_at(0, &[1; 512]), OK);
    let mut resize = to(0);
    resize.deadline_ms = 20;
    resize.force = true;
    let ended = daemon.ended(daemon.begin(resize));
    assert!(ended.is_complete(), "{ended:?}");
    assert_eq!((ended.revoked, ended.agreed), (BLOCKS, false));
    assert_eq!(plain.write_at(0, &[1; 512]), IOERR);
}

/// [DEV-16] Blocks can be given back to such a guest: its requests simply work again. One that
/// gets a driver later has them all the same.
#[test]
fn without_a_driver_a_grow_takes_effect_at_once() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB,held=2MiB")]);
    let mut plain = Frontend::connect(&site.path("vm1.sock"));
    let (first, last) = (
        u64::from(BLOCKS / 2) * SECTORS,
        u64::from(BLOCKS - 1) * SECTORS,
    );
    assert_eq!(plain.write_at(first, &own(BLOCKS / 2)), IOERR);
    let ended = daemon.ended(daemon.begin(to(BLOCKS - 24)));
    assert!(ended.is_complete() && !ended.agreed, "{ended:?}");
    assert!(ended.elapsed_ns >= ended.device_ns && ended.device_ns > 0);
    assert_eq!(plain.write_at(first, &own(BLOCKS / 2)), OK);
    assert_eq!(content(&mut plain, BLOCKS / 2 + 1), Content::Zeros);
    assert_eq!(plain.write_at(last, &own(BLOCKS - 1)), IOERR);
    drop(plain);
    daemon.wait_until(|v| !v.connected);
    // Without any guest as well.
    assert!(daemon.ended(daemon.begin(to(BLOCKS))).is_complete());
    daemon.kill();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    assert_eq!(daemon.vssd().held, BLOCKS);
    let mut guest = boot(&site);
    assert_eq!(guest.driver.held().len(), BLOCKS);
    assert_eq!(content(&mut guest.frontend, BLOCKS / 2), Content::Own);
}

/// A guest that is reset, into a system without a driver, is as plain as any: its session does
/// not count any more. If it comes back, its shrink goes on.
#[test]
fn a_guest_that_is_reset_is_a_plain_one() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    daemon.wait_until(|v| v.driver);
    let mut resize = to(BLOCKS - 100);
    resize.deadline_ms = 100;
    let id = daemon.begin(resize);
    guest.frontend.reset_rings();
    let ended = daemon.ended(id);
    assert_eq!((ended.end.as_str(), ended.revoked), ("deadline", 0));
    assert!(!daemon.vssd().driver);
    let said = daemon.client().call(&Request::Resize(to(0))).unwrap_err();
    assert!(said.to_string().contains("--force"), "{said}");
    assert_eq!(guest.frontend.write_at(0, &own(0)), OK);
    guest.reboot();
    guest.run_until(Driver::is_quiet);
    daemon.wait_until(|v| v.driver && v.agreed);
    let id = daemon.begin(to(BLOCKS - 100));
    guest.settle_at(BLOCKS - 100);
    assert_eq!(daemon.ended(id).revoked, 0);
}

/// A guest that is reset in the middle of a grow has all of it, and so has its next driver.
#[test]
fn a_grow_goes_on_when_the_guest_is_reset() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB,held=2MiB")]);
    let mut guest = boot(&site);
    let mut resize = to(BLOCKS);
    resize.deadline_ms = 3_600_000;
    let id = daemon.begin(resize);
    guest.reboot();
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && !ended.agreed, "{ended:?}");
    guest.settle_at(BLOCKS);
    daemon.wait_until(|v| v.agreed);
}

/// Exactly the blocks that are named go, or none.
#[test]
fn given_blocks_are_taken_exactly() {
    let (site, daemon) = start();
    let mut guest = boot(&site);
    fill(&mut guest.frontend);
    let mut client = daemon.client();
    let mut take = |list: &str| {
        let list = BlockList::parse(list).unwrap();
        client.select("vm1", &list).unwrap();
        let count = Amount::Blocks(list.blocks());
        let mut resize = Resize::new("vm1", Change::Shrink(count));
        resize.evict = PickName::Given;
        resize.wait = false;
        match client.call(&Request::Resize(resize)) {
            Ok(Reply::Started { id }) => Ok(id),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let id = take("1000-1003,7,9-11").unwrap();
    guest.settle_at(BLOCKS - 8);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    assert_eq!((ended.revoked, ended.exchanges), (8, 0));
    for block in 1..BLOCKS {
        let wanted = match block {
            1000..=1003 | 7 | 9..=11 => Content::Refused,
            _ => Content::Own,
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
    // One of them is gone already: the rest stays.
    let said = take("500-510,10,1003").unwrap_err();
    assert!(said.contains("block 10 is not held"), "{said}");
    assert_eq!(daemon.vssd().held, BLOCKS - 8);
    let mut resize = Resize::new("vm1", Change::Shrink(Amount::Blocks(3)));
    resize.evict = PickName::Given;
    let said = daemon.client().resize(resize.clone()).unwrap_err();
    assert!(said.to_string().contains("--blocks"), "{said}");
    let mut client = daemon.client();
    client
        .select("vm1", &BlockList::parse("1-2").unwrap())
        .unwrap();
    let said = client.resize(resize).unwrap_err();
    assert!(said.to_string().contains("8KiB (2 blocks)"), "{said}");
    let beyond = BlockList::parse("5,1024").unwrap();
    let said = client.select("vm1", &beyond).unwrap_err();
    assert!(
        said.to_string().contains("block 1024 lies beyond"),
        "{said}"
    );
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
        resize.evict = PickName::Uniform;
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
    // deadline to come that revokes, as here.
    let id = daemon.begin(to(BLOCKS - 100));
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
    let id = daemon.begin(to(BLOCKS - 100));
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

    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    assert_eq!(daemon.vssd().digest, digest);
    guest.frontend.plug(&site.path("vm1.sock"));
    // The session is of another life: the guest is told, and starts over.
    guest.take_event();
    guest.run_until(Driver::is_quiet);
    assert_eq!(guest.driver.held().len(), BLOCKS - 200);
    for block in 1..BLOCKS {
        let wanted = if guest.driver.held().contains(block) {
            Content::Own
        } else {
            Content::Refused
        };
        assert_eq!(content(&mut guest.frontend, block), wanted, "{block}");
    }
    let id = daemon.begin(to(BLOCKS));
    guest.settle_at(BLOCKS);
    assert!(daemon.ended(id).agreed);
    assert_eq!(content(&mut guest.frontend, 2), Content::Zeros);
    assert_eq!(content(&mut guest.frontend, 1), Content::Own);
}

/// What lies on the medium without belonging to a block is never shown.
#[test]
fn old_bytes_of_the_medium_are_not_readable() {
    use std::os::unix::fs::FileExt;
    let site = Site::new();
    let specs = [site.spec("vm1", "size=4MiB,held=2MiB")];
    site.start(&specs).kill();
    let disk = std::fs::File::options()
        .write(true)
        .open(site.path("disk.img"))
        .unwrap();
    let len = disk.metadata().unwrap().len();
    disk.write_all_at(&b"secret!!".repeat(4 << 17), len - (4 << 20))
        .unwrap();
    let daemon = site.start(&specs);
    let mut guest = boot(&site);
    let id = daemon.begin(to(BLOCKS));
    guest.settle_at(BLOCKS);
    assert!(daemon.ended(id).is_complete());
    // The first write of a part of a block, too, leaves zeros in the rest.
    assert_eq!(guest.frontend.write_at(8 * 5 + 1, &[7; 512]), OK);
    for block in (0..BLOCKS).filter(|block| *block != 5) {
        assert_eq!(content(&mut guest.frontend, block), Content::Zeros);
    }
    let mut expected = [0; 4096];
    expected[512..1024].fill(7);
    assert_eq!(guest.frontend.read_at(8 * 5, 4096).unwrap(), expected);
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
