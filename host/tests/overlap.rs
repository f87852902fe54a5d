//! Two backends on one pool at the same time, as on two machines that share a disk: how that ends,
//! and what `vssdctl pool check` reports.
//!
//! On one machine a second backend is refused. So the second one has a copy of the file here, and
//! the test is the disk that brings its writes to the first one.

mod support;

use std::fs::{self, File};
use std::io;
use std::process::Output;

use serde_json::json;
use support::daemon::{Site, pool};
use support::frontend::{Frontend, OK};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn blocks_that_two_backends_wrote_are_listed_with_and_without_a_record() {
    let (site, other) = (Site::new(), Site::new());
    let spec = |site: &Site| [site.spec("vm1", "size=4MiB")];
    let daemon = site.start(&spec(&site));
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for block in 0..4 {
        assert_eq!(guest.write_at(8 * block, &[1; 4096]), OK);
    }
    assert_eq!(guest.flush(), OK);
    drop(guest);
    assert_eq!(daemon.terminate().code(), Some(0));

    let (mut older, log) = site.start_with_log(&spec(&site), &[]);
    fs::copy(site.path("disk.img"), other.path("disk.img")).unwrap();
    let younger = other.start_with(&spec(&other), &[]);
    // Block 1 has a physical block, so neither write to it leaves a record; block 9 has none.
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(8, &[2; 4096]), OK);
    let mut guest = Frontend::connect(&other.path("vm1.sock"));
    for block in [1, 9] {
        assert_eq!(guest.write_at(8 * block, &[3; 4096]), OK);
    }
    assert_eq!(guest.flush(), OK);
    drop(guest);
    assert_eq!(younger.terminate().code(), Some(0));
    let disk = site.path("disk.img");
    let mut shared = File::options().write(true).open(&disk).unwrap();
    io::copy(
        &mut File::open(other.path("disk.img")).unwrap(),
        &mut shared,
    )
    .unwrap();
    shared.sync_all().unwrap();

    log.wait_for("another backend has opened this pool");
    assert!(!older.wait().success());
    let path = disk.to_str().unwrap();
    let checked = pool(&["check", path]);
    assert_eq!(checked.status.code(), Some(1));
    let text = out(&checked);
    let (summary, rest) = text.split_once('\n').unwrap();
    assert!(
        summary.starts_with("two backends had this pool at the same time: session "),
        "{text}"
    );
    assert_eq!(
        rest,
        "in doubt: block 9 of vm1, at physical block 9\n\
         possibly rewritten by both: blocks 0 to 3 of vm1\n\
         save this list; after accepting the pool, restore the listed blocks from a backup\n\
         all other blocks read as zeros: a first write there by one backend may be lost\n\
         accept the pool with `vssdctl pool check --accept`\n"
    );
    let checked: serde_json::Value =
        serde_json::from_str(&out(&pool(&["check", path, "--json"]))).unwrap();
    assert_eq!(
        checked["suspects"],
        json!([
            { "vssd": "vm1", "block": 9, "count": 1, "evidence": "recorded", "physical_block": 9 },
            { "vssd": "vm1", "block": 0, "count": 4, "evidence": "possible" },
        ])
    );
    let refused = site.refused(&spec(&site), &[]);
    assert!(refused.contains("vssdctl pool check"), "{refused}");
    assert!(pool(&["check", path, "--accept"]).status.success());
    let _daemon = site.start_with(&spec(&site), &[]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(8 * 9, 4096).unwrap(), [3; 4096]);
}
