//! Starting and stopping the daemon: each refusal is one sentence that says what to do, and leaves
//! nothing behind.

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
    assert!(said.contains("there is no pool"), "{said}");
    assert!(said.contains("--create"), "{said}");
    // Nothing was made of it.
    assert_eq!(fs::metadata(site.path("disk.img")).unwrap().len(), 4096);
}

#[test]
fn another_shape_is_refused() {
    let site = Site::new();
    let (first, second) = (site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB"));
    site.start(&[first.clone(), second.clone()]).kill();
    let changed = [
        (
            "size=2MiB",
            "vm1 has 1MiB (256 blocks) in this pool, not 2MiB",
        ),
        ("size=1MiB,block-size=8KiB", "the pool has blocks of 4096"),
    ];
    for (shape, word) in changed {
        let specs = [site.spec("vm1", shape), second.clone()];
        let said = site.refused(&specs, &["--create"]);
        assert!(said.contains(word), "{said}");
    }
    // As it was, it starts, in any order; but there is no room for one more.
    site.start(&[second.clone(), first.clone()]).kill();
    let specs = [first, second, site.spec("vm3", "size=1MiB")];
    let said = site.refused(&specs, &["--create"]);
    assert!(said.contains("can commit 0B"), "{said}");
}

#[test]
fn the_blocks_of_a_vssd_that_is_not_named_are_not_given_away() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    let daemon = site.start(&specs);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    let secret = "secret of vm1".repeat(512).as_bytes()[..512].to_vec();
    assert_eq!(guest.write_at(0, &secret), OK);
    daemon.kill();
    let said = site.refused(&[site.spec("vm3", "size=1MiB")], &["--create"]);
    assert!(said.contains("can commit 0B"), "{said}");
    let _daemon = site.start(&specs);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(0, 512).unwrap(), secret);
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
    assert!(said.contains("is not a socket"), "{said}");
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
fn a_foreign_file_is_not_touched() {
    let site = Site::new();
    let disk = site.path("disk.img");
    let letter = "a letter, and a long one at that, which must not be lost";
    for copies in [1, 1000] {
        fs::write(&disk, letter.repeat(copies)).unwrap();
        let said = site.refused(&[site.spec("vm1", "size=1MiB")], &["--create"]);
        assert!(said.contains("is not empty (data at 0B)"), "{said}");
        assert_eq!(fs::read_to_string(&disk).unwrap(), letter.repeat(copies));
    }
}

#[test]
fn impossible_command_lines_are_refused() {
    let site = Site::new();
    let good = site.spec("vm1", "size=1MiB");
    let said = site.refused(&[good.clone(), good], &["--create"]);
    assert!(said.contains("two vSSDs are called vm1"), "{said}");
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
