//! The arbiter in a backend: blocks move by what guests report, and no guest can stop that.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use support::PATIENCE;
use support::daemon::{Daemon, Log, Site};
use support::guest::{Guest, refuse};
use vssd::demand::{ALL_MISS, Demand, Point};
use vssd::driver::Driver;
use vssd::units::Geometry;
use vssd_host::balancer::Standing;
use vssd_host::control::protocol::{
    ArbiterStatus, Reply, Request, ShareStatus, Status, TrackerName,
};
use workloads::HostPick;

/// Blocks of each vSSD at full size, and of the pool.
const BLOCKS: u32 = 1024;

/// What the guest at least has in the end that gains most.
const MOST: u32 = 900;

/// A pool of 1024 blocks, half of which each of two vSSDs holds.
fn start(site: &Site, arbiter: &str, rest: [&str; 2]) -> (Daemon, Log) {
    let spec = |name: &str, rest: &str| site.spec(name, &format!("size=4MiB,held=2MiB{rest}"));
    let specs = [spec("vm1", rest[0]), spec("vm2", rest[1])];
    let more = ["--create", "--size", "4MiB", "--arbiter", arbiter];
    site.start_with_log(&specs, &more)
}

fn boot(site: &Site, name: &str, demand: Demand) -> Guest {
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let mut guest = Guest::boot(&site.path(&format!("{name}.sock")), geometry);
    guest.demand = Some(demand);
    guest
}

/// Runs a guest until it is as wanted.
fn run(mut guest: Guest, wanted: impl Fn(&Driver) -> bool + Send + 'static) -> JoinHandle<Guest> {
    thread::spawn(move || {
        guest.run_until(wanted);
        guest
    })
}

/// A demand of which each block up to `useful` saves as much.
fn demand(useful: u32) -> Demand {
    let part = |tenth: u32| Point {
        blocks: useful * tenth / 10,
        misses: ALL_MISS - ALL_MISS / 10 * tenth,
    };
    let curve = match useful {
        0 => vec![Point {
            blocks: 1,
            misses: ALL_MISS,
        }],
        _ => (1..=10).map(part).collect(),
    };
    Demand {
        accesses: 100_000,
        hits: 25_000,
        writes: 0,
        curve,
        reads: Vec::new(),
    }
}

fn arbiter(daemon: &Daemon) -> ArbiterStatus {
    match daemon.client().call(&Request::ArbiterStatus {}).unwrap() {
        Reply::Arbiter(status) => status,
        other => panic!("{other:?}"),
    }
}

/// Waits until the backend is as wanted.
fn wait_for(daemon: &Daemon, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut client = daemon.client();
    client.send(&Request::Watch {}).unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let Ok(Reply::Status(status)) = client.receive() else {
            panic!("no status");
        };
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < until, "it stays {status:?}");
    }
}

fn held(status: &Status) -> Vec<u32> {
    status.vssds.iter().map(|vssd| vssd.held).collect()
}

fn text(output: &std::process::Output) -> String {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    said + &String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn blocks_move_to_the_guest_that_gains() {
    let site = Site::new();
    let rest = [",reserve=256KiB", ",weight=2,quota=3MiB"];
    let (daemon, log) = start(&site, "policy=mrc,period=100ms", rest);
    // vm1 gains nothing from its blocks but its reservation; vm2 does up to its quota. Both go on
    // reporting until the end, as reports that stay away are forgotten.
    let is_over = Arc::new(AtomicBool::new(false));
    let guests = [("vm1", 0), ("vm2", 1000)].map(|(name, useful)| {
        let is_over = is_over.clone();
        let guest = boot(&site, name, demand(useful));
        run(guest, move |_| is_over.load(Ordering::Relaxed))
    });
    let status = wait_for(&daemon, |status| {
        let agreed = status.vssds.iter().all(|vssd| vssd.agreed);
        agreed && status.vssds[0].held <= 324 && status.vssds[1].held >= 700
    });
    let now = held(&status);
    assert!(now[0] >= 64 && now[1] <= 768, "{now:?}");

    let line = log.wait_for("vm1: 512 ->");
    assert!(line.contains("(mrc: saves "), "{line}");
    assert!(line.contains("; vm2 gains)"), "{line}");
    let line = log.wait_for("vm2: 512 ->");
    assert!(line.contains("(mrc: saves "), "{line}");

    let status = arbiter(&daemon);
    assert!(status.periods > 0);
    let [one, two] = &status.vssds[..] else {
        panic!("{status:?}");
    };
    assert_eq!((one.weight, two.weight), (1, 2));
    assert_eq!((one.reservation, two.reservation), (64, 0));
    assert_eq!((one.limit, two.limit), (BLOCKS, 768));
    assert!(two.wanted >= Some(700), "{two:?}");
    assert_eq!((one.hit_ratio, one.curve), (Some(0.25), true));
    assert!(two.decisions["grow"] >= 1 && two.decisions["revoke"] == 0);
    is_over.store(true, Ordering::Relaxed);
    let _guests = guests.map(|guest| guest.join().unwrap());

    let shown = text(&site.vssdctl(&["arbiter", "status"]));
    assert!(
        shown.starts_with("policy mrc, period 100ms, pick guest; "),
        "{shown}"
    );
    assert!(shown.contains(" 3MiB "), "{shown}");
    let explained = text(&site.vssdctl(&["arbiter", "explain", "vm2"]));
    assert!(explained.contains(" ago: vm2: 512 -> "), "{explained}");
    let unknown = text(&site.vssdctl(&["arbiter", "explain", "vm9"]));
    assert!(unknown.contains("no vSSD is called `vm9`"), "{unknown}");
}

#[test]
fn a_guest_that_mostly_writes_is_advised_to_bypass_the_vssd() {
    let site = Site::new();
    let (daemon, log) = start(&site, "policy=endurance,period=100ms", ["", ""]);
    let writes = Demand {
        writes: 90_000,
        ..demand(100)
    };
    let one = run(boot(&site, "vm1", writes), |driver| {
        driver.advice().bypass_writes && !driver.advice().admit_reused && driver.is_quiet()
    });
    let one = one.join().unwrap();
    log.wait_for("vm1: advice: bypass writes");
    let line = "vm1: its cache is advised to bypass writes";
    for shown in [&["status"][..], &["arbiter", "status"]] {
        let shown = text(&site.vssdctl(shown));
        assert!(shown.contains(line), "{shown}");
        assert!(!shown.contains("vm2: its cache"), "{shown}");
    }
    let explained = text(&site.vssdctl(&["arbiter", "explain", "vm1"]));
    let line = "ago: vm1: advice: bypass writes (endurance: 90 % of accesses write)";
    assert!(explained.contains(line), "{explained}");
    assert!(daemon.status().vssds[0].advice.bypass_writes);
    drop(one);
}

#[test]
fn a_guest_that_never_answers_is_passed_over_and_revoked() {
    let site = Site::new();
    let (daemon, log) = start(&site, "policy=mrc,period=100ms", ["", ""]);
    // It has a driver and never looks at an event again.
    let silent = boot(&site, "vm1", demand(1000));
    let two = run(boot(&site, "vm2", demand(1000)), |driver| {
        driver.held().len() >= MOST && driver.is_quiet()
    });
    let _two = two.join().unwrap();
    log.wait_for("vm1: 512 ->");
    assert!(held(&daemon.status())[0] <= BLOCKS - MOST);
    // It has given nothing up.
    assert_eq!(silent.driver.held().len(), 512);
}

#[test]
fn a_guest_that_gives_nothing_up_delays_others_by_its_deadline_only() {
    let site = Site::new();
    let (_daemon, log) = start(&site, "policy=mrc,period=100ms", ["", ""]);
    let mut hostile = boot(&site, "vm1", demand(0));
    hostile.choose = refuse;
    // It claims that nothing is of use to it, and keeps all of it.
    let one = run(hostile, |driver| {
        driver.held().len() <= BLOCKS - MOST && driver.is_quiet()
    });
    let two = run(boot(&site, "vm2", demand(1000)), |driver| {
        driver.held().len() >= MOST && driver.is_quiet()
    });
    let (_one, _two) = (one.join().unwrap(), two.join().unwrap());
    log.wait_for("vm2: 512 ->");
}

#[test]
fn without_a_guest_a_vssd_keeps_its_blocks_and_others_share_the_rest() {
    let site = Site::new();
    let (daemon, _log) = start(&site, "policy=mrc,period=100ms", ["", ""]);
    let add = site.spec("vm3", "size=4MiB,held=0B,create=true");
    let added = site.vssdctl(&["add", &add]);
    assert!(added.status.success(), "{}", text(&added));
    let two = run(boot(&site, "vm2", demand(0)), |driver| {
        driver.held().len() <= 112 && driver.is_quiet()
    });
    let three = run(boot(&site, "vm3", demand(1000)), |driver| {
        driver.held().len() >= 400 && driver.is_quiet()
    });
    let (_two, _three) = (two.join().unwrap(), three.join().unwrap());
    let status = daemon.status();
    assert_eq!(held(&status)[0], 512);
    assert_eq!(arbiter(&daemon).vssds[0].standing, Standing::NoDriver);
    let removed = site.vssdctl(&["remove", "vm3", "--delete"]);
    assert!(removed.status.success(), "{}", text(&removed));
    let is_gone = |status: &ArbiterStatus| status.vssds.iter().all(|vssd| vssd.name != "vm3");
    assert!(is_gone(&arbiter(&daemon)));
}

#[test]
fn a_backend_killed_in_between_converges() {
    let site = Site::new();
    let (arbiter, rest) = ("policy=shares,period=100ms", ["", ",weight=3"]);
    let (daemon, log) = start(&site, arbiter, rest);
    // vm1 does not answer, so its shrink is under way when the backend dies.
    let guests = [boot(&site, "vm1", demand(0)), boot(&site, "vm2", demand(0))];
    log.wait_for("vm1: 512 ->");
    daemon.kill();
    drop(guests);

    let (daemon, _log) = start(&site, arbiter, rest);
    let one = run(boot(&site, "vm1", demand(0)), |driver| {
        driver.held().len() == 256 && driver.is_quiet()
    });
    let two = run(boot(&site, "vm2", demand(0)), |driver| {
        driver.held().len() == 768 && driver.is_quiet()
    });
    let (_one, _two) = (one.join().unwrap(), two.join().unwrap());
    assert_eq!(daemon.status().panics, 0);
}

#[test]
fn policy_period_and_weights_change_at_runtime() {
    let site = Site::new();
    let (daemon, _log) = start(&site, "policy=shares,period=1day", ["", ""]);
    let one = run(boot(&site, "vm1", demand(0)), |driver| {
        driver.held().len() == 256 && driver.is_quiet()
    });
    let two = run(boot(&site, "vm2", demand(0)), |driver| {
        driver.held().len() == 768 && driver.is_quiet()
    });
    for (args, said) in [
        (
            &["--weight", "vm2=0"][..],
            "vm2: invalid weight 0: expected 1 to 10000",
        ),
        (
            &["--weight", "vm9=1", "--policy", "mrc"],
            "no vSSD is called `vm9`",
        ),
        (
            &["--weight", "vm2"],
            "invalid weight `vm2`: expected NAME=N",
        ),
        (&["--policy", "oracle"], "it needs the future"),
        (&["--policy", "best"], "expected static, equal, shares"),
        (
            &["--period", "1ms"],
            "invalid period `1ms`: expected 100ms to 1day",
        ),
        (
            &["--pick", "given"],
            "the arbiter cannot use the pick `given`, which needs a list of blocks: use guest",
        ),
        (
            &["--pick", "best"],
            "pick: invalid value `best`; expected guest, uniform",
        ),
        (&[], "required"),
    ] {
        let output = site.vssdctl(&[&["arbiter", "set"], args].concat());
        assert!(!output.status.success());
        assert!(text(&output).contains(said), "{args:?}: {}", text(&output));
    }
    let unchanged = arbiter(&daemon);
    assert_eq!(unchanged.policy, "shares".parse().unwrap());
    assert_eq!(unchanged.periods, 0);
    let set = ["arbiter", "set", "--period", "100ms", "--weight", "vm2=3"];
    assert!(site.vssdctl(&set).status.success());
    let (_one, _two) = (one.join().unwrap(), two.join().unwrap());
    let weights = |vssd: &ShareStatus| (vssd.weight, vssd.wanted);
    let vssds = arbiter(&daemon).vssds;
    assert_eq!(
        vssds.iter().map(weights).collect::<Vec<_>>(),
        [(1, Some(256)), (3, Some(768))]
    );
    let set = ["arbiter", "set", "--policy", "equal", "--pick", "clock"];
    assert!(site.vssdctl(&set).status.success());
    daemon.wait_until(|vssd| vssd.tracker.kind == TrackerName(Some(HostPick::Clock)));
    let json = text(&site.vssdctl(&["arbiter", "status", "--json"]));
    assert!(
        json.contains(r#""policy":"equal","period":"100ms","pick":"clock""#),
        "{json}"
    );
}

#[test]
fn an_arbiter_is_configured_in_a_file_and_refused_in_one_sentence() {
    let site = Site::new();
    let specs = [site.spec("vm1", "size=1MiB")];
    let daemon = site.start(&specs);
    let off = text(&site.vssdctl(&["arbiter", "status"]));
    assert!(
        off.contains("the arbiter is off: start vssd-host with --arbiter"),
        "{off}"
    );
    assert_eq!(off.lines().count(), 1);
    drop(daemon);
    std::fs::remove_file(site.path("disk.img")).unwrap();

    let config = |arbiter: &str, vssd: &str| {
        let text = format!(
            "{arbiter}\n[[vssd]]\nname = \"vm2\"\nsocket = \"{}\"\nsize = \"4MiB\"\n{vssd}\n",
            site.path("vm2.sock").display()
        );
        let path = site.path("config.toml");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let policy = "[arbiter]\npolicy = \"mrc\"\nperiod = \"30s\"";
    for (arbiter, vssd, said) in [
        (
            "[arbiter]\nperiod = \"10s\"",
            "",
            "the arbiter needs policy=NAME",
        ),
        (
            "[arbiter]\npolicy = \"best\"",
            "",
            "expected static, equal, shares",
        ),
        ("[arbiter]\npolicy = \"oracle\"", "", "it needs the future"),
        (
            policy,
            "weight = 0",
            "invalid weight 0: expected 1 to 10000",
        ),
        (
            policy,
            "hit-ratio = 2.0",
            "invalid hit ratio 2: expected 0 to 1",
        ),
        (policy, "quota = \"1MiB\"\nreserve = \"2MiB\"", "reserv"),
        (
            policy,
            "held = \"0B\"\nreserve = \"3MiB\"",
            "3MiB (768 blocks) were requested",
        ),
    ] {
        let config = config(arbiter, vssd);
        let more = [
            "--config",
            &config,
            "--create",
            "--size",
            "2MiB",
            "--overcommit",
            "4",
        ];
        let refused = Site::refused_command(site.command(&[], &more));
        assert!(refused.contains(said), "{arbiter}, {vssd}: {refused}");
    }
    let config = config(policy, "weight = 7\nhit-ratio = 0.5");
    let more = ["--config", &config, "--create"];
    let daemon = site.launch(site.command(&[], &more));
    let status = arbiter(&daemon);
    assert_eq!(status.period, "30s".parse().unwrap());
    let share = &status.vssds[0];
    assert_eq!((share.weight, share.hit_ratio_goal), (7, Some(0.5)));
}
