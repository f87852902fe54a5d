//! How the daemon starts and ends: each refusal is a sentence that says what
//! to do, and leaves nothing behind.

mod support;

use std::fs;
use std::os::unix::net::UnixListener;

use support::daemon::Site;
use support::frontend::{Frontend, OK};

#[test]
fn a_missing_or_small_backing_says_what_to_do() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    let said = site.refused(&specs, &[]);
    assert!(said.contains("disk.img does not exist"), "{said}");
    assert!(said.contains("--create"), "{said}");
    fs::write(site.path("disk.img"), vec![0; 4096]).unwrap();
    let said = site.refused(&specs, &[]);
    assert!(said.contains("4KiB") && said.contains("1MiB"), "{said}");
    assert!(said.contains("--create"), "{said}");
    // Nothing was made of it.
    assert_eq!(fs::metadata(site.path("disk.img")).unwrap().len(), 4096);
}

#[test]
fn another_layout_is_refused() {
    let site = Site::new();
    let (first, second) = (site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB"));
    site.start(&[first.clone(), second.clone()]).kill();
    let changed = [
        [site.spec("vm1", "size=2MiB"), second.clone()],
        [
            site.spec("vm1", "size=1MiB,block-size=8KiB"),
            second.clone(),
        ],
        [second.clone(), first.clone()],
    ];
    for specs in changed {
        let said = site.refused(&specs, &["--create"]);
        assert!(said.contains(".owners"), "{said}");
        assert!(said.contains("start the backend with the sizes"), "{said}");
    }
    // As it was, it starts; and with one more behind.
    site.start(&[first.clone(), second.clone()]).kill();
    site.start(&[first, second, site.spec("vm3", "size=1MiB")]);
}

#[test]
fn the_place_of_a_vssd_that_is_not_named_is_not_given_away() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(
        guest.write_at(0, b"secret of vm1".repeat(512)[..512].as_ref()),
        OK
    );
    daemon.kill();
    let said = site.refused(&[site.spec("vm3", "size=1MiB")], &[]);
    assert!(said.contains("vm1"), "{said}");
}

#[test]
fn two_backends_do_not_share_a_backing() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let other = format!(
        "name=vm1,socket={},size=1MiB",
        site.path("other.sock").display()
    );
    let said = site.refused(&[other], &["--create"]);
    assert!(said.contains("in use by another backend"), "{said}");
}

#[test]
fn a_busy_socket_is_left_alone_and_a_stale_one_replaced() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    for name in ["vm1.sock", "control.sock"] {
        let listener = UnixListener::bind(site.path(name)).unwrap();
        let said = site.refused(&specs, &["--create"]);
        assert!(said.contains("another program listens at"), "{said}");
        assert!(said.contains(name), "{said}");
        assert!(site.path(name).exists(), "it took the socket away");
        // The file stays behind, as when its owner is killed.
        drop(listener);
    }
    site.start(&specs).kill();
    assert!(site.path("vm1.sock").exists(), "a kill leaves it");
    site.start(&specs);
}

#[test]
fn what_is_no_socket_is_not_removed() {
    let site = Site::new();
    fs::write(site.path("vm1.sock"), "precious").unwrap();
    let said = site.refused(&[site.spec("vm1", "size=1MiB")], &["--create"]);
    assert!(said.contains("is no socket"), "{said}");
    let kept = fs::read_to_string(site.path("vm1.sock")).unwrap();
    assert_eq!(kept, "precious");
}

#[test]
fn a_failed_start_leaves_no_socket() {
    let site = Site::new();
    let _busy = UnixListener::bind(site.path("vm2.sock")).unwrap();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB")];
    site.refused(&specs, &["--create"]);
    assert!(!site.path("vm1.sock").exists());
}

#[test]
fn a_foreign_file_in_place_of_the_log_is_not_touched() {
    let site = Site::new();
    let log = site.path("disk.img.vm1.owners");
    fs::write(
        &log,
        "a letter, and a long one at that, which nobody may lose",
    )
    .unwrap();
    let said = site.refused(&[site.spec("vm1", "size=1MiB")], &["--create"]);
    assert!(said.contains("no ownership log"), "{said}");
    assert!(fs::read_to_string(&log).unwrap().starts_with("a letter"));
}

#[test]
fn impossible_command_lines_are_refused() {
    let site = Site::new();
    let good = site.spec("vm1", "size=1MiB");
    let said = site.refused(&[good.clone(), good], &["--create"]);
    assert!(said.contains("same name"), "{said}");
    for (rest, word) in [
        ("size=1MB", "1MB"),
        ("size=5000", "5000"),
        ("size=1MiB,encoding=morse", "morse"),
        ("size=1MiB,held=3MiB", "3MiB"),
    ] {
        let said = site.refused(&[site.spec("vm1", rest)], &["--create"]);
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_signal_ends_it_in_good_order() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let _guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(daemon.terminate().code(), Some(0));
    assert!(!site.path("vm1.sock").exists());
    assert!(!site.path("control.sock").exists());
}
