//! What the hypervisor takes by the requests of a guest, for each way to track them.

mod support;

use support::daemon::Daemon;
use support::frontend::{DISCARD, OK, WRITE_ZEROES};
use support::guest::{Guest, highest};
use support::resizing::{BLOCKS, SECTORS, boot, fill, own, start, to};
use vssd::block_set::BlockSet;
use vssd_host::control::protocol::{Reply, Request, TrackerName};
use workloads::{HostPick, Pick};

fn set(blocks: impl IntoIterator<Item = u32>) -> BlockSet {
    let mut set = BlockSet::empty(BLOCKS);
    for block in blocks {
        set.insert(block);
    }
    set
}

fn track(daemon: &Daemon, pick: HostPick) {
    let request = Request::Track {
        vssd: "vm1".to_owned(),
        tracker: TrackerName(Some(pick)),
    };
    assert_eq!(daemon.client().call(&request).unwrap(), Reply::Ok);
}

/// The hypervisor shrinks the guest to so many blocks.
fn shrink_to(daemon: &Daemon, guest: &mut Guest, pick: HostPick, blocks: u32) {
    let mut resize = to(blocks);
    resize.pick = Pick::Host(pick);
    let id = daemon.begin(resize);
    guest.settle_at(blocks);
    let ended = daemon.ended(id);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
}

fn read(guest: &mut Guest, blocks: impl IntoIterator<Item = u32>) {
    for block in blocks {
        let read = guest.frontend.read_at(u64::from(block) * SECTORS, 512);
        assert!(read.is_ok(), "block {block}");
    }
}

/// Discarded blocks go first, then those not requested, then what the pick finds least in use.
#[test]
fn what_is_discarded_goes_first_and_what_is_used_last() {
    for pick in [
        HostPick::Lru,
        HostPick::Clock,
        HostPick::Lfu,
        HostPick::Arc,
        HostPick::Lirs,
    ] {
        let (site, daemon) = start();
        let mut guest = boot(&site);
        fill(&mut guest.frontend);
        track(&daemon, pick);
        read(&mut guest, 0..600);
        let sector = |block: u64| block * SECTORS;
        let (unmap, keep) = (1, 0);
        // Of the first one, half a block at each end stays.
        for (kind, sector, sectors, flags) in [
            (DISCARD, sector(100) + 4, 10 * 8, 0),
            (WRITE_ZEROES, sector(200), 8, unmap),
            (WRITE_ZEROES, sector(300), 8, keep),
        ] {
            assert_eq!(guest.frontend.range(kind, sector, sectors, flags), OK);
        }
        shrink_to(&daemon, &mut guest, pick, BLOCKS - 10);
        let mut kept = BlockSet::full(BLOCKS);
        kept.subtract(&set((101..110).chain([200])));
        assert_eq!(guest.driver.held(), &kept, "{pick}");
        shrink_to(&daemon, &mut guest, pick, 590);
        kept.remove_range(600, BLOCKS - 600);
        assert_eq!(guest.driver.held(), &kept, "{pick}");
        read(&mut guest, (0..100).chain(0..100));
        shrink_to(&daemon, &mut guest, pick, 150);
        assert!(set(0..100).is_subset_of(guest.driver.held()), "{pick}");
    }
}

/// A block that comes back is empty, whatever its history.
#[test]
fn a_block_that_was_given_up_has_no_history() {
    for pick in [HostPick::Lru, HostPick::Clock, HostPick::Arc] {
        let (site, daemon) = start();
        let mut guest = boot(&site);
        guest.choose = highest;
        fill(&mut guest.frontend);
        track(&daemon, pick);
        read(&mut guest, (0..BLOCKS).chain(900..BLOCKS));
        for target in [900, BLOCKS] {
            let id = daemon.begin(to(target));
            guest.settle_at(target);
            assert!(daemon.ended(id).is_complete());
        }
        read(&mut guest, [950]);
        shrink_to(&daemon, &mut guest, pick, 901);
        let kept = set((0..900).chain([950]));
        assert_eq!(guest.driver.held(), &kept, "{pick}");
    }
}

/// A discarded block that is written again has contents to lose.
#[test]
fn a_discarded_block_is_kept_once_it_is_requested() {
    for pick in HostPick::tracked() {
        let (site, daemon) = start();
        let mut guest = boot(&site);
        fill(&mut guest.frontend);
        track(&daemon, pick);
        read(&mut guest, 0..BLOCKS);
        let (first, blocks) = (500, 20);
        let discarded = guest
            .frontend
            .range(DISCARD, first * SECTORS, blocks * SECTORS as u32, 0);
        assert_eq!(discarded, OK);
        let written = 505;
        assert_eq!(
            guest
                .frontend
                .write_at(u64::from(written) * SECTORS, &own(written)),
            OK
        );
        shrink_to(&daemon, &mut guest, pick, BLOCKS - 19);
        let mut kept = BlockSet::full(BLOCKS);
        kept.subtract(&set((500..520).filter(|block| *block != written)));
        assert_eq!(guest.driver.held(), &kept, "{pick}");
    }
}
