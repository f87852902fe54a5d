//! Adding and removing vSSDs: what cannot be served leaves nothing behind, nothing is created by
//! mistake, and permissions do not depend on the umask.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::daemon::{Daemon, Site, pool};
use support::frontend::{Frontend, OK};
use vssd_host::control::client::ClientError;
use vssd_host::control::protocol::{Added, Change, Reply, Request, Resize};
use vssd_host::size::Amount;
use workloads::{HostPick, Pick};

fn text(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(said).unwrap()
}

fn add(daemon: &Daemon, spec: String) -> Result<Added, String> {
    match daemon.client().call(&Request::Add { spec }) {
        Ok(Reply::Added(added)) => Ok(added),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn names(daemon: &Daemon) -> (Vec<String>, Vec<String>) {
    let status = daemon.status();
    let served = status.vssds.into_iter().map(|v| v.name);
    let unserved = status.unserved.into_iter().map(|v| v.name);
    (served.collect(), unserved.collect())
}

#[test]
fn what_cannot_listen_takes_no_room_in_the_pool() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    let daemon = site.start_with(&specs, &["--create", "--size", "2MiB"]);
    let before = daemon.status().pool;
    let long = "x".repeat(120);
    let file = site.path("file");
    fs::write(&file, "").unwrap();
    for (socket, words) in [
        (site.path(&long), "at most 107 bytes"),
        (site.path("folder/vm2.sock"), "folder does not exist"),
        (file, "is not a socket"),
        (
            site.path("vm1.sock"),
            "vSSD vm1 and vSSD vm2 have the same socket",
        ),
    ] {
        let spec = format!("name=vm2,socket={},size=1MiB,create=true", socket.display());
        let said = add(&daemon, spec).unwrap_err();
        assert!(said.contains(words), "{said}");
        assert!(said.contains(socket.to_str().unwrap()), "{said}");
    }
    let status = daemon.status();
    assert_eq!(status.pool.committed, before.committed);
    assert_eq!(names(&daemon), (vec!["vm1".to_owned()], vec![]));
    // Its room is there for the one that can.
    let added = add(&daemon, site.spec("vm2", "size=1MiB,create=true")).unwrap();
    assert!(added.new && added.warnings.is_empty(), "{added:?}");
}

/// The same at start: of several, none is left that was made for a start that failed.
#[test]
fn a_start_that_fails_makes_no_vssd() {
    let site = Site::new();
    let (first, large) = (site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=3MiB"));
    let nowhere = site
        .spec("vm2", "size=1MiB")
        .replace("vm2.sock", "folder/vm2.sock");
    let options = ["--create", "--size", "2MiB"];
    let said = site.refused(&[first.clone(), nowhere], &options);
    assert!(said.contains("folder does not exist"), "{said}");
    assert!(!site.path("disk.img").exists(), "a pool was made");
    let long = site.path(&"x".repeat(120));
    let elsewhere = [&options[..], &["--metrics", "192.0.2.1:9100"]].concat();
    site.refused(std::slice::from_ref(&first), &elsewhere);
    assert!(!site.path("disk.img").exists(), "a pool was made");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssd-host"));
    command.arg("--backing").arg(site.path("disk.img"));
    command
        .args(["--create", "--vssd", &first])
        .arg("--control")
        .arg(long);
    let output = command.output().unwrap();
    assert!(
        text(&output).contains("at most 107 bytes"),
        "{}",
        text(&output)
    );
    assert!(!site.path("disk.img").exists(), "a pool was made");
    // One that fits, and one that does not.
    let said = site.refused(&[first.clone(), large], &options);
    assert!(said.contains("can commit 1MiB"), "{said}");
    for name in ["vm1.sock", "vm2.sock", "control.sock"] {
        assert!(!site.path(name).exists(), "{name} is left");
    }
    assert!(!site.path("disk.img").exists(), "the pool is left");
}

/// A pool that was there before stays, and nothing new is left in it either.
#[test]
fn a_start_that_fails_leaves_no_vssd_in_a_pool_that_stays() {
    let site = Site::new();
    let disk = site.path("disk.img");
    let made = pool(&["create", disk.to_str().unwrap(), "--size", "1MiB"]);
    assert!(made.status.success(), "{}", text(&made));
    let specs = [
        site.spec("vm1", "size=512KiB,create=true"),
        site.spec("vm2", "size=1MiB,create=true"),
    ];
    let said = site.refused(&specs, &[]);
    assert!(said.contains("create vSSD vm2"), "{said}");
    // Its room is there for the one that did not fit.
    let daemon = site.start_with(&specs[1..], &[]);
    assert_eq!(names(&daemon), (vec!["vm2".to_owned()], vec![]));
}

#[test]
fn what_is_in_the_pool_and_not_served_can_be_seen_and_deleted() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB")];
    let daemon = site.start(&specs);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    assert!(site.vssdctl(&["remove", "vm1"]).status.success());
    assert_eq!(
        names(&daemon),
        (vec!["vm2".to_owned()], vec!["vm1".to_owned()])
    );
    let unserved = daemon.status().unserved.remove(0);
    assert_eq!(
        (unserved.capacity, unserved.held, unserved.used),
        (256, 256, 1)
    );
    let status = text(&site.vssdctl(&["status"]));
    assert!(
        status.contains("vm1: in the pool and not served; 1MiB of 1MiB held"),
        "{status}"
    );
    for args in [&["grow", "vm1", "1"][..], &["remove", "vm1"]] {
        let output = site.vssdctl(args);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("is not served"), "{}", text(&output));
        assert!(text(&output).contains("--delete"), "{}", text(&output));
    }
    // Served again, and after a start without it deleted.
    assert!(site.vssdctl(&["add", &specs[0]]).status.success());
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]);
    drop(guest);
    daemon.kill();
    let daemon = site.start_with(&specs[1..], &[]);
    assert_eq!(daemon.status().unserved.len(), 1);
    let deleted = site.vssdctl(&["remove", "vm1", "--delete"]);
    assert!(deleted.status.success(), "{}", text(&deleted));
    assert!(daemon.status().unserved.is_empty());
    let again = site.vssdctl(&["remove", "vm1", "--delete"]);
    assert!(
        text(&again).contains("no vSSD is called `vm1`"),
        "{}",
        text(&again)
    );
    assert_eq!(daemon.status().pool.committed, 256);
}

#[test]
fn a_mistyped_name_makes_nothing() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB")];
    let options = ["--create", "--size", "8MiB"];
    let (daemon, ready) = site.launch_with_line(site.command(&specs, &options));
    assert_eq!(ready, "ready (new: vm1, vm2)");
    let typo = site.spec("vm11", "size=1MiB");
    for output in [
        add(&daemon, typo.clone()).unwrap_err(),
        text(&site.vssdctl(&["add", &typo])),
    ] {
        for word in [
            "no vSSD called `vm11`",
            "it has: vm1, vm2",
            "create=true",
            "--create",
        ] {
            assert!(output.contains(word), "{output}");
        }
    }
    assert!(!site.path("vm11.sock").exists());
    daemon.kill();
    let said = site.refused(std::slice::from_ref(&typo), &[]);
    assert!(said.contains("it has: vm1, vm2"), "{said}");
    // Nothing is created the second time, even if it is allowed; a new name shows.
    let (daemon, ready) = site.launch_with_line(site.command(&specs, &options));
    assert_eq!(ready, "ready");
    let made = site.vssdctl(&["add", &typo, "--create"]);
    assert!(
        text(&made).starts_with("created a new vSSD"),
        "{}",
        text(&made)
    );
    daemon.kill();
    let log = File::create(site.path("daemon.log")).unwrap();
    let one_new = [specs[0].clone(), site.spec("vm3", "size=1MiB,create=true")];
    let mut command = site.command(&one_new, &[]);
    command.stderr(log);
    let (daemon, ready) = site.launch_with_line(command);
    assert_eq!(ready, "ready (new: vm3)");
    assert_eq!(daemon.terminate().code(), Some(0));
    let log = fs::read_to_string(site.path("daemon.log")).unwrap();
    assert!(
        log.contains("created a new vSSD") && log.contains("vm3"),
        "{log}"
    );
    // In a configuration.
    let config = site.path("backend.toml");
    let socket = site.path("vm4.sock");
    let vssd = format!("[[vssd]]\nname = \"vm4\"\nsocket = {socket:?}\nsize = \"1MiB\"\n");
    fs::write(&config, &vssd).unwrap();
    let said = site.refused(&[], &["--config", config.to_str().unwrap()]);
    assert!(said.contains("create=true"), "{said}");
    fs::write(&config, format!("{vssd}create = true\n")).unwrap();
    site.start_with(&[], &["--config", config.to_str().unwrap()]);
}

/// A pool that ends with the backend has no vSSD before, so each is meant to be new.
#[test]
fn in_memory_every_vssd_is_new() {
    let site = Site::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssd-host"));
    command
        .args(["--backing", "memory", "--control"])
        .arg(site.path("control.sock"))
        .args(["--vssd", &site.spec("vm1", "size=1MiB")]);
    let (_daemon, ready) = site.launch_with_line(command);
    assert_eq!(ready, "ready (new: vm1)");
}

#[test]
fn options_without_effect_are_warned_about() {
    let site = Site::new();
    let log = File::create(site.path("daemon.log")).unwrap();
    let mut specs = [site.spec("vm1", "size=4MiB,held=3MiB")];
    let mut command = site.command(&specs, &["--create", "--size", "16MiB"]);
    command.stderr(log);
    let daemon = site.launch(command);
    // A plain guest sees all of the disk, and has trouble at its end.
    let less = add(&daemon, site.spec("vm2", "size=4MiB,held=1MiB,create=true")).unwrap();
    assert_eq!(less.warnings.len(), 1, "{less:?}");
    for word in [
        "without a vSSD driver",
        "4MiB",
        "3MiB",
        "mkfs",
        "leave out held",
    ] {
        assert!(less.warnings[0].contains(word), "{less:?}");
    }
    let all = add(&daemon, site.spec("vm3", "size=4MiB,create=true")).unwrap();
    assert!(all.warnings.is_empty(), "{all:?}");
    assert!(site.vssdctl(&["remove", "vm2"]).status.success());
    let other = site.spec("vm2", "size=4MiB,held=2MiB");
    let again = text(&site.vssdctl(&["add", &other]));
    for word in [
        "warning: held=2MiB is for a new vSSD only",
        "vm2",
        "holds 1MiB",
    ] {
        assert!(again.contains(word), "{again}");
    }
    assert_eq!(daemon.status().vssds.last().unwrap().held, 256);
    assert_eq!(daemon.terminate().code(), Some(0));
    let log = fs::read_to_string(site.path("daemon.log")).unwrap();
    assert!(
        log.contains("WARN") && log.contains("without a vSSD driver"),
        "{log}"
    );
    // At a start as well, of the pool too.
    specs[0] = site.spec("vm1", "size=4MiB,held=1MiB");
    let log = File::create(site.path("daemon.log")).unwrap();
    let options = ["--create", "--size", "32MiB", "--overcommit", "2"];
    let mut command = site.command(&specs, &options);
    command.stderr(log);
    let daemon = site.launch(command);
    assert_eq!(daemon.vssd().held, 768);
    assert_eq!(daemon.terminate().code(), Some(0));
    let log = fs::read_to_string(site.path("daemon.log")).unwrap();
    for word in [
        "held=1MiB is for a new vSSD only",
        "--size 32MiB is for a new pool only: this one has 16MiB",
        "--overcommit 2 is for a new pool only",
    ] {
        assert!(log.contains(word), "{log}");
    }
}

fn mode(site: &Site, name: &str) -> u32 {
    fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn sockets_are_for_their_owner_or_as_options_say() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB")];
    let own_group = fs::metadata(site.path("")).unwrap().gid().to_string();
    let config = site.path("backend.toml");
    fs::write(
        &config,
        format!("mode = \"0666\"\ngroup = \"{own_group}\"\n"),
    )
    .unwrap();
    for (umask, more, expected) in [
        ("0000", vec![], 0o600),
        ("0777", vec![], 0o600),
        ("0022", vec!["--group", &own_group], 0o660),
        ("0022", vec!["--group", &own_group, "--mode", "0640"], 0o640),
        ("0077", vec!["--config", config.to_str().unwrap()], 0o666),
    ] {
        let inner = site.command(
            &specs,
            &[&["--create", "--size", "4MiB"], &more[..]].concat(),
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
            .arg(inner.get_program())
            .args(inner.get_args());
        let daemon = site.launch(command);
        add(&daemon, site.spec("vm3", "size=1MiB,create=true")).unwrap();
        for name in ["vm1.sock", "vm2.sock", "vm3.sock", "control.sock"] {
            assert_eq!(mode(&site, name), expected, "{name} by {umask} {more:?}");
        }
        assert_eq!(daemon.terminate().code(), Some(0));
    }
    for (option, value, word) in [
        ("--mode", "0700", "0700"),
        ("--mode", "rw", "rw"),
        ("--group", "no-such-group", "no-such-group"),
    ] {
        let said = site.refused(&specs, &["--create", option, value]);
        assert!(said.contains(word), "{said}");
    }
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client that is using a vSSD when it is removed changes nothing: not a volume that is deleted,
/// and not one that is served again. Every request is answered.
#[test]
fn a_resize_that_meets_a_removal_leaves_the_pool_whole() {
    for delete in [true, false] {
        let site = Site::new();
        let keep = site.spec("keep", "size=1MiB");
        let size = ["--create", "--size", "2MiB"];
        let daemon = site.start_with(std::slice::from_ref(&keep), &size);
        let other = site.spec("x", "size=1MiB,create=true");
        let over = AtomicBool::new(false);
        let outcomes = thread::scope(|scope| {
            let resizer = |blocks: u64| {
                let (daemon, over) = (&daemon, &over);
                move || {
                    let mut client = daemon.client();
                    let mut done = 0u32;
                    while !over.load(Ordering::Relaxed) {
                        let mut resize = Resize::new("x", Change::To(Amount::Blocks(blocks)));
                        (resize.pick, resize.force) = (Pick::Host(HostPick::Sequential), true);
                        // Refused or done, it is answered: the connection stays.
                        match client.call(&Request::Resize(resize)) {
                            Ok(Reply::Resized(_)) => done += 1,
                            Ok(other) => panic!("{other:?}"),
                            Err(ClientError::Refused(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    done
                }
            };
            let resizers = [scope.spawn(resizer(100)), scope.spawn(resizer(200))];
            let watcher = scope.spawn(|| {
                let mut client = daemon.client();
                while !over.load(Ordering::Relaxed) {
                    client.status().unwrap();
                }
            });
            // The others end, too, if this fails.
            let _end = SetWhenDropped(&over);
            for _ in 0..40 {
                add(&daemon, other.clone()).unwrap();
                let vssd = "x".to_owned();
                let removed = daemon.client().call(&Request::Remove { vssd, delete });
                assert!(matches!(removed, Ok(Reply::Ok)), "{removed:?}");
            }
            over.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
            resizers.map(|resizer| resizer.join().unwrap())
        });
        println!("resizes done: {outcomes:?}, deleted: {delete}");
        // What is held is what is committed.
        add(&daemon, other.clone()).unwrap();
        let status = daemon.status();
        let held: u64 = status.vssds.iter().map(|v| u64::from(v.held)).sum();
        assert_eq!((status.pool.committed, status.panics), (held, 0));
        assert!(daemon.terminate().success());
        let checked = pool(&["check", site.path("disk.img").to_str().unwrap()]);
        assert!(checked.status.success(), "{}", text(&checked));
        let daemon = site.start_with(&[keep, other], &[]);
        let status = daemon.status();
        let after: u64 = status.vssds.iter().map(|v| u64::from(v.held)).sum();
        assert_eq!((after, status.pool.committed), (held, held));
    }
}

/// A client that waits for a resize of a removed vSSD gets an error.
#[test]
fn a_resize_ends_when_its_vssd_is_removed() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(1)));
    (resize.force, resize.deadline_ms) = (true, 0);
    let mut client = daemon.client();
    client.send(&Request::Resize(resize)).unwrap();
    daemon.wait_until(|vssd| vssd.resize.is_some());
    let remove = Request::Remove {
        vssd: "vm1".to_owned(),
        delete: true,
    };
    assert!(matches!(daemon.client().call(&remove), Ok(Reply::Ok)));
    let said = client.receive().unwrap_err().to_string();
    assert!(said.contains("vm1 was removed"), "{said}");
}

/// A failed start leaves an existing pool unchanged, and creates none.
#[test]
fn a_start_that_fails_is_undone() {
    let site = Site::new();
    let small = [
        site.spec("vm1", "size=1MiB,create=true"),
        site.spec("vm2", "size=1MiB,create=true"),
    ];
    let said = site.refused(&small, &["--create", "--size", "1MiB"]);
    assert!(said.contains("vm2"), "{said}");
    assert!(!site.path("disk.img").exists());
    drop(site.start_with(&small[..1], &["--create", "--size", "1MiB"]));
    let more = [
        site.spec("vm1", "size=1MiB,reserve=512KiB"),
        small[1].clone(),
    ];
    site.refused(&more, &[]);
    let daemon = site.start_with(&[site.spec("vm1", "size=1MiB")], &[]);
    assert_eq!(daemon.vssd().reservation, 0);
    // Set for one vSSD it applies, whatever is set for all.
    drop(daemon);
    let refused = [
        site.spec("vm1", "size=1MiB"),
        site.spec("typo", "size=4KiB,create=false"),
    ];
    let said = site.refused(&refused, &["--create"]);
    assert!(said.contains("typo"), "{said}");
}
