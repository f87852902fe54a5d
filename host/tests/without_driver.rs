//! Resizes of a vSSD whose guest has no driver, or not at that moment.

mod support;

use support::daemon::Site;
use support::frontend::{Frontend, IOERR, OK};
use support::resizing::{BLOCKS, Content, SECTORS, boot, content, own, start, to};
use vssd::driver::Driver;
use vssd_host::control::protocol::{Request, Resize};
use workloads::{HostPick, Pick};

/// [DEV-15] An unmodified guest loses nothing unless that is forced, and the refusal comes at once
/// for every pick.
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
    for pick in [
        Pick::Guest,
        Pick::Host(HostPick::Uniform),
        Pick::Host(HostPick::Sequential),
    ] {
        let mut resize = to(0);
        resize.pick = pick;
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
    // Long enough for the reset to come first on a busy machine.
    resize.deadline_ms = 2_000;
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
