//! Guests on disks of fixed size, without the harness's channel: vSSDs with fewer than three
//! queues or with an agent's channel, and QEMU's own virtio-blk disks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use lab::backend::{Backend, BackendConfig, vssd_name};
use lab::process::Process;
use lab::qemu::{EXIT_SUCCESS, GUEST_IMAGE, Qemu};
use tempfile::TempDir;
use vssd_host::control::protocol::Request;
use vssd_host::size::ByteSize;

/// Timeout, generous for slow machines.
const PATIENCE: Duration = Duration::from_secs(600);

/// QEMU's exit status if the guest exits with an error or panics.
const EXIT_FAILURE: i32 = 35;

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 4096;

/// Commands that work on any disk.
const WORK: &str = "info; fill; verify; read workload=uniform count=300; \
                    stress count=300 writes=50; flush; verify enforce=device";

/// The output of a guest and QEMU's exit status.
struct Ended {
    code: Option<i32>,
    console: String,
    stderr: String,
}

impl Ended {
    #[track_caller]
    fn has(&self, texts: &[&str]) -> &Self {
        for text in texts {
            let found = self.console.contains(text);
            assert!(found, "no `{text}` in:\n{}{}", self.console, self.stderr);
        }
        // Errors are messages, not panics.
        assert!(!self.console.contains("panicked"), "{}", self.console);
        self
    }

    #[track_caller]
    fn ended_with(&self, code: i32) {
        let ended = self.code == Some(code);
        assert!(ended, "{:?}:\n{}{}", self.code, self.console, self.stderr);
    }
}

/// A folder for disks, sockets and logs.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of zeros.
    fn file(&self, name: &str, len: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }

    fn backend(&self, name: &str) -> Backend {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        Backend::start(BackendConfig {
            program: PathBuf::from(env!("CARGO_BIN_EXE_harness")),
            folder,
            size: ByteSize(BLOCKS * BLOCK),
            block_size: ByteSize(BLOCK),
            media: None,
            sharing: None,
        })
        .unwrap()
    }

    /// Runs a guest with two processors until it exits.
    fn run(&self, devices: &[String], script: &str) -> Ended {
        let (console, stderr) = (self.path("console.log"), self.path("qemu.log"));
        let qemu = Qemu::find(None).expect("these tests need QEMU");
        let mut command = std::process::Command::new(&qemu.program);
        command
            .args("-machine q35,accel=tcg,memory-backend=mem -cpu max -smp 2 -m 256M".split(' '))
            .args(["-object", "memory-backend-memfd,id=mem,size=256M,share=on"])
            .args("-nodefaults -no-user-config -display none -no-reboot".split(' '))
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-kernel", GUEST_IMAGE, "-append"])
            .arg(format!("{script}; exit"))
            .args(devices)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).unwrap());
        let process = Process::spawn(command, |_| {}, |_| {}).unwrap();
        let status = process.wait(PATIENCE);
        let text = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ended {
            code: status.and_then(|status| status.code()),
            console: text(&console),
            stderr: text(&stderr),
        }
    }
}

/// A vhost-user device of the backend with additional options.
fn vssd(id: &str, backend: &Backend, options: &str) -> Vec<String> {
    let socket = backend.socket(0);
    vec![
        "-chardev".to_owned(),
        format!("socket,id={id},path={}", socket.display()),
        "-device".to_owned(),
        format!("vhost-user-blk-pci,chardev={id}{options}"),
    ]
}

/// A virtio-blk device on a raw file with additional options of drive and device.
fn plain(id: &str, file: &Path, drive: &str, device: &str) -> Vec<String> {
    vec![
        "-drive".to_owned(),
        format!("if=none,id={id},format=raw,file={}{drive}", file.display()),
        "-device".to_owned(),
        format!("virtio-blk-pci,drive={id}{device}"),
    ]
}

/// Checks the output of [`WORK`].
fn assert_worked(ended: &Ended, kind: &str, blocks: u64, block_size: u64) {
    ended
        .has(&[
            &format!("ready: {kind}, {blocks} blocks of {block_size} bytes"),
            &format!("{kind}: {blocks} blocks of {block_size} bytes"),
            &format!("{blocks} blocks written, 0 errors"),
            &format!("{blocks} blocks as written, 0 zeros, 0 corrupt, 0 read errors"),
            "300 hits, 0 misses, 0 errors",
            "0 errors, 0 corrupt",
            ": flush",
            ": verify enforce=device",
        ])
        .ended_with(EXIT_SUCCESS);
}

#[test]
fn a_vssd_with_fewer_than_three_queues_is_a_disk_of_fixed_size() {
    let site = Site::new();
    let backend = site.backend("vm1");
    // The default is one queue per processor.
    for (option, kind) in [
        (",num-queues=1", "vSSD of fixed size (1 queue)"),
        (",num-queues=2", "vSSD of fixed size (2 queues)"),
        ("", "vSSD of fixed size (2 queues)"),
    ] {
        let ended = site.run(&vssd("c", &backend, option), WORK);
        assert_worked(&ended, kind, BLOCKS, BLOCK);
        ended.has(&["resizing needs num-queues=3 on its vhost-user-blk-pci device"]);
        for command in ["wait held=9", "policy pick=random", "hint count=9"] {
            let ended = site.run(&vssd("c", &backend, option), command);
            let failed = format!("failed: {command}: this vSSD has ");
            ended
                .has(&[&failed, "num-queues=3"])
                .ended_with(EXIT_FAILURE);
        }
    }
}

/// Each of its queues carries requests, and there is nothing that a driver of vSSDs could find. QEMU
/// takes as many as there are.
#[test]
fn a_vssd_with_an_agent_is_a_plain_disk_of_several_queues() {
    let site = Site::new();
    let backend = site.backend("vm1");
    let mut client = backend.client(Some(PATIENCE)).unwrap();
    let remove = Request::Remove {
        vssd: vssd_name(0),
        delete: true,
    };
    client.call(&remove).unwrap();
    let [socket, agent] = ["many.sock", "agent.sock"].map(|name| site.path(name));
    let size = ByteSize(BLOCKS * BLOCK);
    let spec = format!(
        "name=many,socket={},agent={},queues=4,size={size},create=true",
        socket.display(),
        agent.display()
    );
    client.call(&Request::Add { spec }).unwrap();
    let devices = |queues: &str| {
        let chardev = |id: &str, path: &Path| format!("socket,id={id},path={}", path.display());
        let options = [
            ["-chardev".to_owned(), chardev("c", &socket)],
            [
                "-device".to_owned(),
                format!("vhost-user-blk-pci,chardev=c{queues}"),
            ],
            ["-device".to_owned(), "virtio-serial-pci".to_owned()],
            ["-chardev".to_owned(), chardev("a", &agent)],
            [
                "-device".to_owned(),
                "virtserialport,chardev=a,name=org.vssd.0".to_owned(),
            ],
        ];
        options.concat()
    };
    let kind = "plain disk of fixed size";
    for queues in [",num-queues=4", ",num-queues=2", ""] {
        assert_worked(&site.run(&devices(queues), WORK), kind, BLOCKS, BLOCK);
    }
    let ended = site.run(&devices(",num-queues=5"), "info");
    let said = "The maximum number of queues supported by the backend is 4";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    ended.ended_with(1);
}

#[test]
fn qemus_own_disk_works_as_a_plain_disk() {
    let site = Site::new();
    let raw = site.file("raw.img", BLOCKS * BLOCK);
    let kind = "plain disk of fixed size";
    // Transitional (QEMU's default), modern only, and with larger sectors.
    for device in [
        "",
        ",disable-legacy=on,num-queues=4",
        ",logical_block_size=4096,physical_block_size=4096",
    ] {
        assert_worked(
            &site.run(&plain("d", &raw, "", device), WORK),
            kind,
            BLOCKS,
            BLOCK,
        );
    }
    let ended = site.run(&plain("d", &raw, "", ""), "wait held=9");
    ended
        .has(&[
            "failed: wait held=9: this disk is not a vSSD",
            "num-queues=3",
        ])
        .ended_with(EXIT_FAILURE);
    // A read-only disk reads the written data and is not changed.
    let before = fs::read(&raw).unwrap();
    let read_only = site.run(&plain("d", &raw, ",readonly=on", ""), "info; verify; fill");
    read_only
        .has(&[
            &format!("{kind}, read-only: {BLOCKS} blocks"),
            &format!("{BLOCKS} blocks as written"),
            "failed: fill: the disk is read-only",
        ])
        .ended_with(EXIT_FAILURE);
    assert!(fs::read(&raw).unwrap() == before, "it was written to");
}

#[test]
fn the_limits_of_a_disk_are_respected() {
    let site = Site::new();
    let kind = "plain disk of fixed size";
    // Not a multiple of the page size.
    let odd = site.file("odd.img", BLOCKS * BLOCK - 512);
    let ended = site.run(&plain("d", &odd, "", ""), WORK);
    assert_worked(&ended, kind, BLOCKS * 8 - 1, 512);
    // Without VIRTIO_BLK_F_FLUSH.
    let raw = site.file("raw.img", BLOCKS * BLOCK);
    let through = plain("d", &raw, ",cache=writethrough", ",config-wce=off");
    let ended = site.run(&through, WORK);
    assert_worked(&ended, kind, BLOCKS, BLOCK);
    ended.has(&["the disk does not offer VIRTIO_BLK_F_FLUSH"]);
    // Logical blocks larger than a page.
    let large = ",logical_block_size=32768,physical_block_size=32768";
    let ended = site.run(&plain("d", &raw, "", large), WORK);
    assert_worked(&ended, kind, BLOCKS / 8, 32768);

    let empty = site.file("empty.img", 0);
    let ended = site.run(&plain("d", &empty, "", ""), "info");
    ended.has(&["less than one block"]).ended_with(EXIT_FAILURE);
    let ended = site.run(&plain("d", &raw, "", ",queue-size=64"), "info");
    ended
        .has(&["64 entries, and this guest needs 128", "queue-size"])
        .ended_with(EXIT_FAILURE);
}

#[test]
fn the_error_for_a_legacy_device_names_the_options() {
    let site = Site::new();
    let raw = site.file("raw.img", BLOCKS * BLOCK);
    let backend = site.backend("vm1");
    for devices in [
        plain("d", &raw, "", ",disable-modern=on"),
        vssd("d", &backend, ",num-queues=3,disable-modern=on"),
    ] {
        let ended = site.run(&devices, "info");
        ended
            .has(&["legacy", "replace disable-modern=on by disable-legacy=on"])
            .ended_with(EXIT_FAILURE);
    }
}

/// The vSSD is the first disk with the vSSD mark, or else the first disk. The origin disk is the
/// next one.
#[test]
fn disks_are_identified_by_mark_and_order() {
    let site = Site::new();
    let backend = site.backend("vm1");
    let [one, two] = ["one.img", "two.img"].map(|name| site.file(name, BLOCKS * BLOCK));
    let script = "cache write=write-through; replay workload=uniform count=2000 writes=100; close";
    let is_written = |file: &Path| fs::read(file).unwrap().iter().any(|byte| *byte != 0);

    let devices = [
        plain("d", &one, "", ""),
        vssd("c", &backend, ",num-queues=3"),
    ];
    let ended = site.run(&devices.concat(), script);
    ended
        .has(&["vSSD at 00:02.0, an origin disk,", "done in", ": close"])
        .ended_with(EXIT_SUCCESS);
    assert!(is_written(&one), "the disk without the mark is the origin");

    let devices = [plain("d", &one, "", ""), plain("e", &two, "", "")];
    let ended = site.run(&devices.concat(), script);
    ended
        .has(&[
            "plain disk of fixed size at 00:01.0, an origin disk,",
            ": close",
        ])
        .ended_with(EXIT_SUCCESS);
    assert!(is_written(&two), "the second disk is the origin");
}
