//! File systems on loop devices, with a real agent and a real backend.
//!
//! These need root, loop devices, `mkfs.ext4` and `mkfs.xfs`, so they run by name only: `cargo test
//! -p vssd-agent --test mounts`. They fail where they cannot run.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::disks::{BLOCK, Disk, Mounted, check_poison, gone, held, poison, run};
use support::{Agent, Host, Site};

const MIB: u64 = 1 << 20;
const LEN: u64 = 512 * MIB;
const BLOCKS: u32 = (LEN / BLOCK) as u32;
const FILE: usize = 1 << 20;

#[test]
#[ignore = "the backend of the other tests, in a process of its own"]
fn serve() {
    support::serve();
}

/// A vSSD with a file system, and its backend.
struct Vm {
    mounted: Mounted,
    disk: Disk,
    host: Host,
    site: Site,
    lists: u64,
}

impl Vm {
    fn new(kind: &'static str) -> Self {
        let site = Site::new();
        let disk = Disk::new(&site.path("guest.img"), LEN);
        let mounted = Mounted::make(kind, &disk.node, &site.path("mnt"));
        let host = site.host("512MiB", "4KiB");
        Self {
            mounted,
            disk,
            host,
            site,
            lists: 0,
        }
    }

    fn agent(&self) -> Agent {
        self.agent_with(&["--reserve", "8MiB"])
    }

    fn agent_with(&self, more: &[&str]) -> Agent {
        let at = self.mounted.at.to_str().unwrap();
        let mut args = vec!["--mount", at, "--disk", self.disk.path()];
        args.extend_from_slice(more);
        self.site.agent(args)
    }

    /// Waits until the host and this agent have the same list. The status of the host alone may
    /// still be that of an agent which was killed.
    fn agreed(&self, agent: &mut Agent) {
        agent.wait_for("holds ");
        self.host.wait_until(|v| v.driver && v.agreed);
    }

    /// The blocks that the host has; no agent is running.
    fn gone(&mut self) -> vssd::block_set::BlockSet {
        self.lists += 1;
        gone(&held(&self.site, 1000 + self.lists))
    }
}

fn for_each(test: impl Fn(&'static str)) {
    test("ext4");
    test("xfs");
}

/// The whole life of a balloon: what the host has is never written, through a full file system,
/// a remount and a check, and all of it comes back.
#[test]
fn blocks_of_a_mounted_file_system_go_and_come_back() {
    for_each(|kind| {
        let mut vm = Vm::new(kind);
        assert_eq!(vm.mounted.fill("a", FILE, 100), 100);
        let free = vm.mounted.available();
        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        let ended = vm.host.resize(BLOCKS / 2);
        assert!(ended.is_complete() && ended.agreed, "{ended:?}");
        let now = vm.mounted.available();
        assert!(
            now <= free - LEN / 2 && now > free - LEN / 2 - 16 * MIB,
            "{free} {now}"
        );
        agent.signal("TERM");
        assert_eq!(agent.end().0, Some(0));

        let missing = vm.gone();
        assert_eq!(missing.len(), BLOCKS / 2);
        let first = missing.next_in(0).unwrap();
        assert!(u64::from(first) * BLOCK >= 8 * MIB, "{first}");
        let end = BLOCKS - (2 * MIB / BLOCK) as u32;
        assert_eq!(missing.next_in(end), None);
        poison(&vm.disk.file, &missing);
        // Full, then half empty, then full again.
        let count = vm.mounted.fill("b", FILE, 1000);
        assert!(count > 50, "{count}");
        for number in (0..count).step_by(2) {
            fs::remove_file(vm.mounted.path(&format!("b{number}"))).unwrap();
        }
        let more = vm.mounted.fill("c", FILE / 4, 1000);
        vm.mounted.unmount();
        check_poison(&vm.disk.file, &missing);
        vm.mounted.mount_again();
        vm.mounted.verify("a", FILE, 0..100);
        vm.mounted.verify("b", FILE, (1..count).step_by(2));
        vm.mounted.verify("c", FILE / 4, 0..more);

        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        let ended = vm.host.resize(BLOCKS);
        assert!(ended.is_complete() && ended.agreed, "{ended:?}");
        agent.wait_for(&format!("holds {BLOCKS} blocks"));
        assert_eq!(vm.mounted.pieces(), Vec::<std::path::PathBuf>::new());
        let again = vm.mounted.fill("d", FILE, 1000);
        assert!(again as u64 * MIB > LEN / 2 - 16 * MIB, "{again}");
        vm.mounted.verify("d", FILE, 0..again);
        agent.signal("TERM");
        agent.ended();
        vm.mounted.unmount();
    });
}

/// Every other file of many is deleted before: free space is in thousands of pieces.
#[test]
fn free_space_in_fragments_is_given_up() {
    for_each(|kind| {
        let mut vm = Vm::new(kind);
        let small = 16 << 10;
        let count = vm.mounted.fill("a", small, 12_000);
        let rest = vm.mounted.fill("rest", FILE, 1000);
        run("sync", &[]);
        for number in (0..count).step_by(2) {
            fs::remove_file(vm.mounted.path(&format!("a{number}"))).unwrap();
        }
        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        let target = BLOCKS - (32 * MIB / BLOCK) as u32;
        let ended = vm.host.resize(target);
        assert!(ended.is_complete() && ended.agreed, "{ended:?}");
        agent.signal("TERM");
        agent.ended();
        let missing = vm.gone();
        assert!(missing.runs().count() > 100, "{missing:?}");
        poison(&vm.disk.file, &missing);
        vm.mounted.fill("b", FILE, 1000);
        vm.mounted.unmount();
        check_poison(&vm.disk.file, &missing);
        vm.mounted.mount_again();
        vm.mounted.verify("a", small, (1..count).step_by(2));
        vm.mounted.verify("rest", FILE, 0..rest);
        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        assert!(vm.host.resize(target + 5000).is_complete());
        assert!(vm.host.resize(BLOCKS).is_complete());
    });
}

/// The guest loses its power right after the host has the blocks: what the file system had in its
/// journal by then is all that it knows.
#[test]
fn the_balloon_outlives_a_power_cut() {
    for_each(|kind| {
        let mut vm = Vm::new(kind);
        vm.mounted.fill("a", FILE, 50);
        run("sync", &[]);
        for target in [BLOCKS * 3 / 4, BLOCKS * 7 / 8, BLOCKS / 2] {
            let mut agent = vm.agent();
            vm.agreed(&mut agent);
            assert!(vm.host.resize(target).is_complete());
            let copy = vm.site.path(&format!("cut{target}.img"));
            let (from, to) = (vm.disk.file.to_str().unwrap(), copy.to_str().unwrap());
            run("cp", &["--sparse=always", from, to]);
            agent.kill();
            let missing = vm.gone();
            let cut = Disk::on(&copy);
            let at = vm.site.path(&format!("cut{target}"));
            fs::create_dir(&at).unwrap();
            // The copy has the name of the original, which XFS minds.
            let options = if kind == "xfs" { "nouuid" } else { "defaults" };
            run("mount", &["-o", options, cut.path(), at.to_str().unwrap()]);
            let covered = physical_blocks(&at.join(".vssd-balloon"));
            run("umount", &[at.to_str().unwrap()]);
            assert_eq!(missing.len(), BLOCKS - target);
            assert!(
                missing.is_subset_of(&covered),
                "after a power cut at {target}"
            );
        }
    });
}

/// Blocks of the files in a folder, as `filefrag` says.
fn physical_blocks(folder: &Path) -> vssd::block_set::BlockSet {
    let mut blocks = vssd::block_set::BlockSet::empty(BLOCKS);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let said = run("filefrag", &["-v", "-b4096", path.to_str().unwrap()]);
        for line in said.lines() {
            // `   0:        0..    2047:      34816..     36863:   2048: …`
            let fields: Vec<&str> = line.split(':').map(str::trim).collect();
            if fields.len() < 4 || fields[0].parse::<u32>().is_err() {
                continue;
            }
            let (first, last) = fields[2].split_once("..").unwrap();
            let number = |text: &str| text.trim().parse::<u32>().unwrap();
            let (first, last) = (number(first), number(last));
            blocks.insert_range(first, last - first + 1);
        }
    }
    blocks
}

/// An agent that is killed at any time is followed by one that makes both lists equal.
#[test]
fn a_killed_agent_leaves_nothing_behind() {
    for_each(|kind| {
        let mut vm = Vm::new(kind);
        vm.mounted.fill("a", FILE, 20);
        for round in 0..24_u32 {
            let mut agent = vm.agent();
            vm.agreed(&mut agent);
            let targets = [BLOCKS / 3, BLOCKS * 2 / 3, BLOCKS, BLOCKS / 2];
            vm.host.begin(support::to(targets[round as usize % 4]));
            // Any time within the resize, from before its start to after its end.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(round) * 3 / 2));
            agent.kill();
            vm.host.cancel();
            vm.host.wait_until(|v| !v.driver && v.resize.is_none());
        }
        let mut agent = vm.agent();
        agent.wait_for("holds ");
        agent.kill();
        let missing = vm.gone();
        let covered = physical_blocks(&vm.mounted.path(".vssd-balloon"));
        assert_eq!(covered, missing);
        vm.mounted.verify("a", FILE, 0..20);
        vm.mounted.unmount();
        vm.mounted.mount_again();
    });
}

fn chattr(flag: &str, paths: &[&Path]) {
    for path in paths {
        run("chattr", &[flag, path.to_str().unwrap()]);
    }
}

/// No piece is changed by mistake; what is done on purpose is repaired or reported.
#[test]
fn what_is_done_to_the_balloon_is_noticed() {
    for_each(|kind| {
        let mut vm = Vm::new(kind);
        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        assert!(vm.host.resize(BLOCKS / 2).is_complete());
        agent.wait_for(&format!("holds {} blocks", BLOCKS / 2));
        let folder = vm.mounted.path(".vssd-balloon");
        let piece = vm.mounted.pieces().remove(0);
        for command in [
            format!("rm -f {}", piece.display()),
            format!("rm -rf {}", folder.display()),
            format!("mv {} {}", folder.display(), vm.mounted.path("x").display()),
            format!("echo x >> {}", piece.display()),
            format!("truncate -s 0 {}", piece.display()),
            format!("chmod 666 {}", piece.display()),
        ] {
            let output = Command::new("sh").args(["-c", &command]).output();
            assert!(!output.unwrap().status.success(), "{command}");
        }
        // The flag comes back by itself.
        chattr("-i", &[&piece]);
        agent.wait_for("was not immutable any more, and is again");
        // A piece that is moved is linked again.
        let other = vm.mounted.path("elsewhere");
        let script = format!(
            "until chattr -i {0} {1} && mv {1} {2}; do :; done",
            folder.display(),
            piece.display(),
            other.display()
        );
        run("sh", &["-c", &script]);
        agent.wait_for("was moved; it is linked there again");
        assert!(piece.exists());
        agent.kill();
        chattr("-i", &[&other]);
        fs::remove_file(&other).unwrap();
        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        // One that is deleted stays allocated as long as the agent has it open.
        let script = format!(
            "until chattr -i {0} {1} && rm -f {1} && test ! -e {1}; do :; done",
            folder.display(),
            piece.display()
        );
        run("sh", &["-c", &script]);
        agent.wait_for("was deleted. The host has its blocks");
        let ended = vm.host.resize(BLOCKS);
        assert!(ended.is_complete() && ended.agreed, "{ended:?}");
        agent.kill();
        vm.mounted.unmount();
        vm.mounted.mount_again();
    });
}

/// A piece is deleted while no agent is there: the next one takes the blocks back before they
/// are used.
#[test]
fn a_piece_deleted_behind_the_agents_back_is_covered_again() {
    for_each(|kind| {
        let mut vm = Vm::new(kind);
        let mut agent = vm.agent();
        vm.agreed(&mut agent);
        assert!(vm.host.resize(BLOCKS / 2).is_complete());
        agent.kill();
        let missing = vm.gone();
        let folder = vm.mounted.path(".vssd-balloon");
        let pieces = vm.mounted.pieces();
        chattr("-i", &[&folder]);
        for piece in &pieces {
            chattr("-i", &[piece]);
            fs::remove_file(piece).unwrap();
        }
        let mut agent = vm.agent();
        agent.wait_for("no balloon file covers them");
        agent.wait_for("all of them are covered again, and nothing was lost");
        agent.wait_for("holds ");
        assert!(vm.mounted.available() > 16 * MIB, "the rest is free again");
        agent.kill();
        assert_eq!(physical_blocks(&folder), missing);
        poison(&vm.disk.file, &missing);
        vm.mounted.fill("a", FILE, 1000);
        vm.mounted.unmount();
        check_poison(&vm.disk.file, &missing);
        vm.mounted.mount_again();
    });
}

#[test]
fn a_full_file_system_gives_what_it_has() {
    for_each(|kind| {
        let vm = Vm::new(kind);
        let mut agent = vm.agent_with(&["--reserve", "32MiB"]);
        vm.agreed(&mut agent);
        let ended = vm.host.resize(1);
        assert_eq!(ended.end, "declined", "{ended:?}");
        agent.wait_for("cannot be given up now");
        agent.wait_for("holds ");
        let left = vm.mounted.available();
        assert!((32 * MIB..56 * MIB).contains(&left), "{left}");
        assert!(ended.held < BLOCKS / 3, "{ended:?}");
        assert!(vm.host.resize(BLOCKS).is_complete());
    });
}

/// A vSSD whose blocks are larger than those of the file system, and a partition.
#[test]
fn partitions_and_larger_blocks() {
    let site = Site::new();
    let disk = Disk::new(&site.path("guest.img"), LEN);
    let first = disk.partition(1, 2048..821_248);
    let mut mounted = Mounted::make("ext4", &first, &site.path("mnt"));
    // This one is off the blocks of the vSSD.
    let second = disk.partition(2, 821_311..921_311);
    let odd = Mounted::make("ext4", &second, &site.path("odd"));
    let host = site.host("512MiB", "64KiB");
    let at = |mounted: &Mounted| mounted.at.to_str().unwrap().to_owned();
    let (code, said) = site
        .agent(["--mount", &at(&odd), "--disk", disk.path()])
        .end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("begins at sector 821311"), "{said}");
    drop(odd);
    mounted.fill("a", 100 << 10, 1000);
    let agent = site.agent(["--mount", &at(&mounted), "--disk", disk.path()]);
    host.wait_until(|v| v.driver && v.agreed);
    let ended = host.resize(8192 - 2000);
    assert!(ended.is_complete() && ended.agreed, "{ended:?}");
    agent.kill();
    let missing = gone(&held(&site, 1));
    assert_eq!(missing.len(), 2000);
    let mut small = vssd::block_set::BlockSet::empty(BLOCKS);
    for run in missing.runs() {
        small.insert_range(run.start * 16, run.len * 16);
    }
    poison(&disk.file, &small);
    mounted.fill("b", FILE, 1000);
    mounted.unmount();
    check_poison(&disk.file, &small);
    mounted.mount_again();
    mounted.verify("a", 100 << 10, 0..1000);
    let _agent = site.agent(["--mount", &at(&mounted), "--disk", disk.path()]);
    host.wait_until(|v| v.driver && v.agreed);
    assert!(host.resize(8192).is_complete());
}

/// Whatever cannot work is refused in one sentence, and with an exit code that keeps systemd from
/// trying again.
#[test]
fn bad_input_is_one_sentence() {
    let vm = Vm::new("ext4");
    let at = vm.mounted.at.to_str().unwrap();
    let other = Disk::new(&vm.site.path("other.img"), 64 * MIB);
    let folder = vm.mounted.path("folder");
    fs::create_dir(&folder).unwrap();
    let file = vm.mounted.path("file");
    support::write(&file, "");
    for (args, words) in [
        (vec!["--mount", at], "it has not the serial number `vm1`"),
        (
            vec!["--mount", at, "--disk", other.path()],
            "is not on the disk",
        ),
        (
            vec!["--mount", at, "--disk", file.to_str().unwrap()],
            "is not a block device",
        ),
        (
            vec!["--mount", folder.to_str().unwrap()],
            "is no mount point",
        ),
        (vec!["--mount", "/proc"], "file system of type proc"),
    ] {
        let (code, said) = vm.site.agent(&args).end();
        assert_eq!(code, Some(3), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    let mut first = vm.agent();
    vm.agreed(&mut first);
    // By another port, or the host would refuse it first.
    let site = Site::new();
    let _host = site.host("512MiB", "4KiB");
    let (code, said) = site.agent(["--mount", at, "--disk", vm.disk.path()]).end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("another agent has"), "{said}");
    drop(first);
    run("mount", &["-o", "remount,ro", at]);
    let (code, said) = vm.agent().end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("is mounted read-only"), "{said}");
}
