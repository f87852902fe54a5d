//! The resize protocol end to end: control socket, device and a guest.

mod support;

use support::daemon::Site;
use support::frontend::OK;
use support::guest::{Guest, highest, refuse, scattered};
use support::resizing::{BLOCKS, Content, SECTORS, boot, content, fill, start, to};
use vssd::driver::Driver;
use vssd::units::Geometry;
use vssd_host::block_list::BlockList;
use vssd_host::control::protocol::{Change, EncodingName, Reply, Request, Resize};
use vssd_host::size::Amount;
use workloads::{HostPick, Pick};

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

/// The main property: what was given up is refused, all else is untouched, and what comes back is
/// empty. Block 0 holds zeros as content of its own.
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

/// A guest that gives up nothing loses blocks at the deadline, and learns which.
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

/// Exactly the named blocks are taken, or none.
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
        resize.pick = Pick::Host(HostPick::Given);
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
    resize.pick = Pick::Host(HostPick::Given);
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

    // No client asks: the deadline has to fire by itself. The guest cannot confirm what it does not
    // know of, but the list did not change.
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
        resize.pick = Pick::Host(HostPick::Uniform);
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
    // Its event may have older ones before it in the ring.
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

/// A guest that reboots in the middle of a resize finishes it afterwards: its new driver knows only
/// what the device reports.
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
    // The session is that of a dead backend: the guest is notified, and starts over.
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
    assert!(daemon.ended(id).is_complete());
    // On a busy disk the confirmation may come after the time that a resize waits for it.
    daemon.wait_until(|vssd| vssd.agreed);
    assert_eq!(content(&mut guest.frontend, 2), Content::Zeros);
    assert_eq!(content(&mut guest.frontend, 1), Content::Own);
}

/// Bytes on the medium that belong to no block are never readable.
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
