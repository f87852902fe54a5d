//! `vssdctl`: its output and exit codes.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::process::Output;

use support::daemon::Site;
use vssd_host::control::protocol::{MAX_LINE, Reply};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn exit_codes_show_the_outcome() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    // No driver is there: blocks are taken by force, or not at all.
    let shrink = ["shrink", "vm1", "1MiB", "--deadline", "10ms"];
    let refused = site.vssdctl(&shrink);
    assert_eq!(code(&refused), 1);
    for word in [
        "no guest is connected",
        "--force",
        "nothing was taken",
        "4MiB",
    ] {
        assert!(err(&refused).contains(word), "{}", err(&refused));
    }
    let forced = site.vssdctl(&[&shrink[..], &["--force"]].concat());
    assert_eq!(code(&forced), 4, "{}", err(&forced));
    assert!(out(&forced).starts_with("complete: took 256 of 256 blocks (1MiB of 1MiB)"));
    assert!(
        out(&forced).contains("256 were taken by force"),
        "{}",
        out(&forced)
    );
    assert!(
        out(&forced).contains("guest holds 3MiB"),
        "{}",
        out(&forced)
    );
    let grown = site.vssdctl(&["grow", "vm1", "512KiB"]);
    assert_eq!(code(&grown), 0, "{}", err(&grown));
    assert!(
        out(&grown).starts_with("complete: gave 128 of 128 blocks"),
        "{}",
        out(&grown)
    );

    let partial = ["shrink", "vm1", "10", "--deadline", "10ms", "--no-revoke"];
    let partial = site.vssdctl(&partial);
    assert_eq!(code(&partial), 3);
    assert!(out(&partial).starts_with("deadline: "), "{}", out(&partial));

    for refused in [
        &["shrink", "vm2", "1MiB"][..],
        &["grow", "vm1", "1GiB"],
        &["shrink", "vm1", "5000"],
        &["resize", "vm1", "--to", "1000B"],
        &["cancel", "vm1"],
        &["shrink", "vm1", "--pick", "given", "--blocks", "1,2,x"],
        &["shrink", "vm1", "--pick", "given", "--blocks", "3-2"],
        &[
            "shrink",
            "vm1",
            "--pick",
            "given",
            "--blocks",
            "/no/such/file",
        ],
        &[
            "shrink", "vm1", "--pick", "given", "--blocks", "1024", "--force",
        ],
    ] {
        let output = site.vssdctl(refused);
        assert_eq!(code(&output), 1, "{refused:?}");
        assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
        assert_eq!(out(&output), "");
    }
    for usage in [
        &["shrink", "vm1", "1MB"][..],
        &["shrink", "vm1", "1MiB", "--deadline", "soon"],
        &["shrink", "vm1", "1MiB", "--pick", "unknown"],
        &["shrink", "vm1"],
        &["shrink", "vm1", "1MiB", "--pick", "given"],
        &["shrink", "vm1", "1MiB", "--pick", "given", "--blocks", "1"],
        &["shrink", "vm1", "--blocks", "1"],
        &["fly"],
        &[],
    ] {
        assert_eq!(code(&site.vssdctl(usage)), 2, "{usage:?}");
    }
}

#[test]
fn a_resize_may_be_left_to_itself_and_cancelled() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    let begun = [
        "resize",
        "vm1",
        "--to",
        "2MiB",
        "--deadline",
        "none",
        "--no-wait",
    ];
    let begun = site.vssdctl(&begun);
    assert_eq!((code(&begun), out(&begun).as_str()), (0, "resize 1\n"));
    let status = site.vssdctl(&["status"]);
    assert!(out(&status).contains("moving to 2MiB"), "{}", out(&status));
    assert_eq!(code(&site.vssdctl(&["cancel", "vm1"])), 0);
    assert_eq!(daemon.ended(1).end, "cancelled");
}

#[test]
fn programs_get_json() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=4MiB,held=1MiB")]);
    let status = site.vssdctl(&["status", "--json"]);
    let Reply::Status(status) = serde_json::from_str(&out(&status)).unwrap() else {
        panic!("{}", out(&status));
    };
    assert_eq!(
        (status.vssds[0].held, status.vssds[0].capacity),
        (256, 1024)
    );
    let people = site.vssdctl(&["status"]);
    assert!(out(&people).contains("1MiB"), "{}", out(&people));
}

#[test]
fn picks_by_use_need_tracking() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    let shrink = |by: &str| site.vssdctl(&["shrink", "vm1", "1MiB", "--force", "--pick", by]);
    for by in ["lru", "clock"] {
        let refused = shrink(by);
        assert_eq!(code(&refused), 1);
        assert!(err(&refused).contains("vssdctl track"), "{}", err(&refused));
        assert_eq!(code(&site.vssdctl(&["track", "vm1", by])), 0);
        let taken = shrink(by);
        assert_eq!(code(&taken), 4, "{}", err(&taken));
        assert!(
            out(&taken).contains("256 were taken by force"),
            "{}",
            out(&taken)
        );
    }
    // Two bits for each block are kept now, and four bytes no more.
    let status = site.vssdctl(&["status", "--json"]);
    assert!(out(&status).contains(r#""kind":"clock","memory_bytes":256"#));
    assert_eq!(code(&site.vssdctl(&["track", "vm1", "2q"])), 0);
    let refused = shrink("arc");
    assert!(
        err(&refused).contains("`vssdctl track NAME arc`"),
        "{}",
        err(&refused)
    );
    assert_eq!(code(&shrink("2q")), 4);
    let status = site.vssdctl(&["status", "--json"]);
    assert!(out(&status).contains(r#""kind":"2q""#));
    let unknown = site.vssdctl(&["track", "vm1", "belady"]);
    assert_eq!(code(&unknown), 2);
    assert!(
        err(&unknown).contains("w-tiny-lfu, lirs"),
        "{}",
        err(&unknown)
    );
    assert_eq!(code(&site.vssdctl(&["observe", "vm1", "none"])), 0);
    assert_eq!(code(&shrink("lru")), 1);
    // The earlier spellings of the command and of --pick.
    let earlier = ["shrink", "vm1", "1MiB", "--force", "--evict", "sequential"];
    assert_eq!(code(&site.vssdctl(&earlier)), 4);
}

/// Blocks can be named on the command line, in a file and on standard input; a list of any
/// length gets there.
#[test]
fn blocks_to_take_can_be_named() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1GiB")]);
    let held = || daemon.vssd().held;
    let all = 1 << 18;
    let take = ["shrink", "vm1", "--pick", "given", "--force", "--blocks"];
    let taken = site.vssdctl(&[&take[..], &["0-1,5"]].concat());
    assert_eq!(code(&taken), 4, "{}", err(&taken));
    assert!(
        out(&taken).starts_with("complete: took 3 of 3 blocks"),
        "{}",
        out(&taken)
    );
    let again = site.vssdctl(&[&take[..], &["6,5"]].concat());
    assert_eq!(code(&again), 1);
    assert!(
        err(&again).contains("block 5 is not held"),
        "{}",
        err(&again)
    );
    assert_eq!(held(), all - 3);
    // Every other block of the rest: many times what a line of the protocol may have.
    let mut list = "# every other block\n".to_owned();
    (10..all)
        .step_by(2)
        .for_each(|block| writeln!(list, "{block}").unwrap());
    assert!(list.len() > 10 * MAX_LINE);
    let file = site.path("blocks");
    fs::write(&file, list).unwrap();
    let taken = site.vssdctl(&[&take[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(code(&taken), 4, "{}", err(&taken));
    assert_eq!(held(), all - 3 - (all - 10) / 2);
    let taken = site.vssdctl_with(&[&take[..], &["-"]].concat(), "11\n13 # and\n15-15");
    assert_eq!(code(&taken), 4, "{}", err(&taken));
    assert_eq!(held(), all - 6 - (all - 10) / 2);
    // A plain guest's blocks, too, go by force only.
    let refused = site.vssdctl(&["shrink", "vm1", "--pick", "given", "--blocks", "17"]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("--force"), "{}", err(&refused));
}

/// Lists as editors, spreadsheets and users write them.
#[test]
fn a_list_of_blocks_may_have_marks_comments_and_blank_lines() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    let file = site.path("blocks");
    let take = ["shrink", "vm1", "--pick", "given", "--force", "--blocks"];
    let lines = ["# mine", "", "  ", "0-3, 9", "17 # and", ""];
    let mut held = 1024;
    for (mark, end) in [("", "\n"), ("\u{feff}", "\n"), ("\u{feff}", "\r\n")] {
        for first in [0, 3] {
            fs::write(&file, format!("{mark}{}", lines[first..].join(end))).unwrap();
            let taken = site.vssdctl(&[&take[..], &[file.to_str().unwrap()]].concat());
            assert_eq!(code(&taken), 4, "{mark:?} {end:?}: {}", err(&taken));
            held -= 6;
            assert_eq!(daemon.vssd().held, held);
            assert_eq!(code(&site.vssdctl(&["grow", "vm1", "6"])), 0);
            held += 6;
        }
    }
    // A mark elsewhere is something else.
    fs::write(&file, "1\n\u{feff}2\n").unwrap();
    let refused = site.vssdctl(&[&take[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("line 2"), "{}", err(&refused));
}

/// A missing guest is not waited for.
#[test]
fn blocks_of_an_absent_guest_are_taken_by_force_at_once() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    let taken = site.vssdctl(&["shrink", "vm1", "1MiB", "--force", "--deadline", "86400s"]);
    assert_eq!(code(&taken), 4, "{}", err(&taken));
    assert!(
        out(&taken).contains("256 were taken by force"),
        "{}",
        out(&taken)
    );
    let to = [
        "resize",
        "vm1",
        "--to",
        "2MiB",
        "--force",
        "--deadline",
        "86400s",
    ];
    assert_eq!(code(&site.vssdctl(&to)), 4);
    // Nothing is left to do.
    let again = site.vssdctl(&to);
    assert_eq!(code(&again), 0);
    assert_eq!(out(&again), "complete: the guest holds 2MiB already\n");
}

#[test]
fn an_encoding_can_be_set() {
    let site = Site::new();
    let _daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    assert_eq!(code(&site.vssdctl(&["encoding", "vm1", "list-4096"])), 0);
    let status = site.vssdctl(&["status", "--json"]);
    assert!(out(&status).contains(r#""encoding":"list-4096""#));
    assert_eq!(code(&site.vssdctl(&["encoding", "vm2", "compact"])), 1);
}

#[test]
fn without_a_backend_it_says_what_to_do() {
    let output = Site::new().vssdctl(&["status"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("start vssd-host"), "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 1);
}

#[test]
fn the_backend_can_be_ended() {
    let site = Site::new();
    let mut daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    assert_eq!(code(&site.vssdctl(&["shutdown"])), 0);
    assert_eq!(daemon.wait().code(), Some(0));
}
