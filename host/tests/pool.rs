//! Pools of many vSSDs: the tools for them, vSSDs that come and go, and guests
//! that try to disturb others.

mod support;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::daemon::{Daemon, Site, pool};
use support::frontend::{
    Buffer, Frontend, MEMORY, OK, REQUESTS, RING_SIZE, SCRATCH, readable, writable,
};
use vssd_host::control::protocol::{Reply, Request, VssdStatus};
use vssd_host::pool::Shape;
use vssd_host::pool::journal::layout::{SessionId, Superblock};

fn text(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(said).unwrap()
}

fn call(daemon: &Daemon, request: &Request) -> Result<(), String> {
    match daemon.client().call(request) {
        Ok(Reply::Ok | Reply::Added(_)) => Ok(()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn of(daemon: &Daemon, name: &str) -> VssdStatus {
    let status = daemon.status();
    status.vssds.into_iter().find(|v| v.name == name).unwrap()
}

#[test]
fn a_pool_is_made_shown_checked_and_removed() {
    let site = Site::new();
    let file = site.path("disk.img");
    let path = file.to_str().unwrap();
    let made = pool(&["create", path, "--size", "8MiB", "--overcommit", "2"]);
    assert!(made.status.success(), "{}", text(&made));
    let again = pool(&["create", path, "--size", "8MiB"]);
    assert!(text(&again).contains("--force"), "{}", text(&again));

    let daemon = site.start_with(
        &[site.spec("vm1", "size=12MiB,reserve=1MiB,create=true")],
        &[],
    );
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(guest.write_at(0, &[1; 4096]), OK);
    assert_eq!(guest.flush(), OK);
    for command in ["status", "check", "rm"] {
        let refused = pool(&[command, path]);
        assert!(!refused.status.success());
        assert!(text(&refused).contains("in use"), "{}", text(&refused));
    }
    let status = daemon.status();
    assert_eq!(
        (status.pool.physical_blocks, status.pool.limit),
        (2048, 4096)
    );
    assert_eq!((status.pool.committed, status.pool.free), (3072, 2047));
    assert_eq!(of(&daemon, "vm1").used, 1);
    drop(guest);
    assert_eq!(daemon.terminate().code(), Some(0));

    let shown = text(&pool(&["status", path]));
    assert!(shown.contains("vm1") && shown.contains("12MiB"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_slice(&pool(&["status", path, "--json"]).stdout).unwrap();
    assert_eq!(json["vssds"][0]["written"], 1);
    let checked = pool(&["check", path]);
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(text(&checked).contains("no fault"), "{}", text(&checked));

    let refused = pool(&["rm", path]);
    assert!(text(&refused).contains("vm1"), "{}", text(&refused));
    assert!(file.exists());
    assert!(pool(&["rm", path, "--force"]).status.success());
    assert!(!file.exists());
}

#[test]
fn a_damaged_pool_is_refused_and_the_check_says_where() {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=1MiB")]);
    let mut guest = Frontend::connect(&site.path("vm1.sock"));
    for block in 0..3 {
        assert_eq!(guest.write_at(8 * block, &[1; 4096]), OK);
        assert_eq!(guest.flush(), OK);
    }
    drop(guest);
    daemon.terminate();
    // The third commit of the journal, with durable ones behind it.
    let shape = Shape {
        block_size: 4096,
        physical_blocks: 256,
        overcommit_permille: 1000,
    };
    let damaged = Superblock::new(shape, 0, 1, SessionId(0)).area(1) + 2 * 4096;
    let disk = fs::File::options()
        .write(true)
        .open(site.path("disk.img"))
        .unwrap();
    disk.write_all_at(&[0xff; 100], damaged).unwrap();
    let file = site.path("disk.img");
    let checked = pool(&["check", file.to_str().unwrap()]);
    assert!(!checked.status.success());
    let byte = format!("byte {damaged}:");
    assert!(text(&checked).contains(&byte), "{}", text(&checked));
    let said = site.refused(&[site.spec("vm1", "size=1MiB")], &[]);
    assert!(said.contains("damaged"), "{said}");
}

#[test]
fn what_cannot_be_a_pool_is_refused() {
    let site = Site::new();
    let file = site.path("disk.img");
    let path = file.to_str().unwrap();
    for (args, word) in [
        (&["create", path, "--size", "5000"][..], "5000"),
        (
            &["create", path, "--size", "1MiB", "--block-size", "3KiB"],
            "3072",
        ),
        (&["status", path], "does not exist"),
    ] {
        let refused = pool(args);
        assert!(!refused.status.success());
        assert!(text(&refused).contains(word), "{}", text(&refused));
    }
    fs::write(&file, "a letter").unwrap();
    for args in [&["check", path][..], &["rm", path]] {
        let refused = pool(args);
        assert!(text(&refused).contains("no pool"), "{}", text(&refused));
    }
    assert_eq!(fs::read(&file).unwrap(), b"a letter");
}

#[test]
fn vssds_come_and_go_while_others_are_served() {
    let site = Site::new();
    let daemon = site.start_with(
        &[site.spec("vm1", "size=4MiB,held=2MiB")],
        &["--create", "--size", "4MiB"],
    );
    let mut first = Frontend::connect(&site.path("vm1.sock"));
    assert_eq!(first.write_at(0, &[1; 4096]), OK);
    let add = |rest: &str| Request::Add {
        spec: site.spec("vm2", &format!("create=true,{rest}")),
    };
    let said = call(&daemon, &add("size=4MiB")).unwrap_err();
    assert!(said.contains("can commit 2MiB (512 blocks)"), "{said}");
    call(&daemon, &add("size=4MiB,held=2MiB")).unwrap();
    let said = call(&daemon, &add("size=4MiB,held=2MiB")).unwrap_err();
    assert!(said.contains("is served already"), "{said}");
    let mut second = Frontend::connect(&site.path("vm2.sock"));
    assert_eq!(second.write_at(0, &[2; 4096]), OK);

    let remove = |delete| Request::Remove {
        vssd: "vm2".to_owned(),
        delete,
    };
    call(&daemon, &remove(false)).unwrap();
    assert!(!site.path("vm2.sock").exists());
    assert!(call(&daemon, &remove(false)).unwrap_err().contains("vm2"));
    assert_eq!(first.read_at(0, 4096).unwrap(), [1; 4096]);
    // Its blocks wait for it.
    let added = site.vssdctl(&["add", &site.spec("vm2", "size=4MiB")]);
    assert!(added.status.success(), "{}", text(&added));
    let mut second = Frontend::connect(&site.path("vm2.sock"));
    assert_eq!(second.read_at(0, 4096).unwrap(), [2; 4096]);
    let removed = site.vssdctl(&["remove", "vm2", "--delete"]);
    assert!(removed.status.success(), "{}", text(&removed));
    let status = daemon.status().pool;
    assert_eq!((status.committed, status.free), (512, 1023));
    // The next of that name finds nothing of it.
    call(&daemon, &add("size=2MiB")).unwrap();
    let mut second = Frontend::connect(&site.path("vm2.sock"));
    assert_eq!(second.read_at(0, 4096).unwrap(), [0; 4096]);
    assert_eq!(first.read_at(0, 4096).unwrap(), [1; 4096]);
    assert_eq!(daemon.terminate().code(), Some(0));
}

#[test]
fn a_configuration_says_what_the_command_line_does_not() {
    let site = Site::new();
    let config = site.path("backend.toml");
    let socket = |name: &str| site.path(&format!("{name}.sock")).display().to_string();
    let vssds: String = (1..4)
        .map(|i| {
            let socket = socket(&format!("vm{i}"));
            format!("[[vssd]]\nname = \"vm{i}\"\nsocket = \"{socket}\"\nsize = \"1MiB\"\nquota = \"512KiB\"\n")
        })
        .collect();
    fs::write(
        &config,
        format!("create = true\nno-poll = true\nno-punch = true\nsize = \"2MiB\"\nmode = \"640\"\n{vssds}"),
    )
    .unwrap();
    let path = config.to_str().unwrap();
    let daemon = site.start_with(&[site.spec("vm4", "size=64KiB")], &["--config", path]);
    let status = daemon.status();
    let names: Vec<_> = status.vssds.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["vm1", "vm2", "vm3", "vm4"]);
    assert_eq!(status.vssds[0].held, 128);
    let mode = fs::metadata(site.path("disk.img"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    drop(daemon);
    for (line, word) in [
        ("colour = 1", "colour"),
        ("overcommit = \"0.1\"", "0.1"),
        ("[[vssd]]\nname = \"x\"", "size"),
        ("[[vssd]]\nname = \"x\"\nsize = \"1MiB\"", "socket"),
        ("size = 5", "string"),
    ] {
        fs::write(&config, line).unwrap();
        let said = site.refused(&[], &["--config", path]);
        assert!(
            said.contains(word) && said.contains("backend.toml"),
            "{said}"
        );
    }
}

/// Requests of one guest, each of which must succeed, until `stop` is set; returns how many there
/// were.
fn work(guest: &mut Frontend, rounds: u32, fill: u8) {
    for round in 0..rounds {
        let bytes = [fill ^ round as u8; 4096];
        let sector = u64::from(round % 200) * 8;
        assert_eq!(guest.write_at(sector, &bytes), OK);
        assert_eq!(guest.read_at(sector, 4096).unwrap(), bytes);
    }
}

/// A guest that makes requests as fast as it can, all the time, slows others
/// down at most: each of their requests is served, with the right contents.
#[test]
fn a_flood_stalls_no_other_guest() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB")];
    let daemon = site.start(&specs);
    let mut flooder = Frontend::connect(&site.path("vm1.sock"));
    let mut other = Frontend::connect(&site.path("vm2.sock"));
    let stop = AtomicBool::new(false);
    let flooded = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let (header, status) = flooder.envelope(support::frontend::OUT, 0);
            let data = readable(SCRATCH + 0x1000, 0x2_0000);
            let ring = &mut flooder.rings[REQUESTS];
            let heads: Vec<u16> = (0..RING_SIZE / 3).map(|i| 3 * i).collect();
            for head in &heads {
                ring.chain(&flooder.memory, *head, &[header, data, status]);
                ring.publish(&flooder.memory, *head);
            }
            ring.kick();
            let mut served = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let (head, _) = ring.wait_used(&flooder.memory);
                ring.publish(&flooder.memory, head as u16);
                ring.kick();
                served += 1;
            }
            served
        });
        work(&mut other, 500, 0x5a);
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap()
    });
    assert!(flooded > 0, "it was no flood");
    assert!(of(&daemon, "vm2").counters.writes >= 500);
}

/// A backend that is killed in the middle of many requests releases the pool at once, and the next
/// one finds what had ended.
#[test]
fn a_backend_killed_under_load_is_replaced() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=4MiB"), site.spec("vm2", "size=4MiB")];
    for round in 1..8u8 {
        let daemon = site.start(&specs);
        let mut guests = ["vm1.sock", "vm2.sock"].map(|name| Frontend::connect(&site.path(name)));
        for guest in &mut guests {
            if round > 1 {
                assert_eq!(guest.read_at(8000, 4096).unwrap(), [round - 1; 4096]);
            }
            assert_eq!(guest.write_at(8000, &[round; 4096]), OK);
            let (header, status) = guest.envelope(support::frontend::OUT, 0);
            let data = readable(SCRATCH + 0x1000, 0x2_0000);
            let ring = &mut guest.rings[REQUESTS];
            for head in (0..RING_SIZE / 3).map(|i| 3 * i) {
                ring.chain(&guest.memory, head, &[header, data, status]);
                ring.publish(&guest.memory, head);
            }
            ring.kick();
            ring.wait_used(&guest.memory);
        }
        daemon.kill();
    }
}

/// Garbage in one guest's rings reads, writes and stalls nothing of another.
#[test]
fn garbage_harms_only_its_sender() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB"), site.spec("vm2", "size=1MiB")];
    let daemon = site.start(&specs);
    let mut other = Frontend::connect(&site.path("vm2.sock"));
    work(&mut other, 200, 0x11);
    let before = other.read_at(0, 100 * 4096).unwrap();
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut liar = Frontend::connect(&site.path("vm1.sock"));
        for _ in 0..30 {
            let head = rng.random_range(0..RING_SIZE);
            let buffers: Vec<Buffer> = (0..rng.random_range(1..5))
                .map(|_| {
                    let addr = rng.random_range(0..2 * MEMORY);
                    let longest = 1u32 << rng.random_range(0..32);
                    let len = rng.random_range(0..longest);
                    if rng.random() {
                        readable(addr, len)
                    } else {
                        writable(addr, len)
                    }
                })
                .collect();
            let ring = &mut liar.rings[rng.random_range(0..3)];
            let head = head.min(RING_SIZE - 8);
            ring.chain(&liar.memory, head, &buffers);
            ring.publish(&liar.memory, head);
            if rng.random_range(0..10) == 0 {
                ring.claim(&liar.memory, rng.random());
            }
            ring.kick();
        }
        work(&mut other, 20, 0x11);
    }
    assert_eq!(
        other.read_at(20 * 4096 / 512, 80 * 4096).unwrap(),
        before[20 * 4096..]
    );
    assert_eq!(of(&daemon, "vm2").counters.io_errors, 0);
    // The liar itself may try again.
    let mut honest = Frontend::connect(&site.path("vm1.sock"));
    work(&mut honest, 10, 0x77);
}

/// A pool that emulates a slower medium answers no request before that medium would.
#[test]
fn a_medium_is_emulated() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    for (media, kind, at_least_us) in [("hdd", "read", 5_000), ("slc-flash", "write", 500)] {
        let daemon = site.start_with(&specs, &["--create", "--media", media]);
        let mut guest = Frontend::connect(&site.path("vm1.sock"));
        assert_eq!(guest.write_at(0, &[1; 4096]), OK);
        for _ in 0..20 {
            let began = Instant::now();
            match kind {
                "read" => assert_eq!(guest.read_at(0, 4096).unwrap(), [1; 4096]),
                _ => assert_eq!(guest.write_at(0, &[1; 4096]), OK),
            }
            let took = began.elapsed();
            assert!(
                took >= Duration::from_micros(at_least_us),
                "{media}: {took:?}"
            );
        }
        let written = daemon.status().pool.media.unwrap();
        assert!(written.host_bytes >= 4096, "{written:?}");
        assert_eq!(daemon.terminate().code(), Some(0));
    }
}
