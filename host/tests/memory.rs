//! Missing guest memory: the frontend that shares it is disconnected, or its requests fail. Others
//! go on.

mod support;

use std::fs::{self, File};

use rustix::fs::{MemfdFlags, memfd_create};
use support::daemon::{Daemon, Site};
use support::frontend::{
    COMMANDS, Frontend, IN, IOERR, MEMORY, OK, OUT, REQUESTS, SCRATCH, readable, writable,
};

/// Two vSSDs: the first has the frontend that misbehaves, the second a neighbour that must not be
/// affected.
struct Neighbours {
    site: Site,
    daemon: Daemon,
    neighbour: Frontend,
}

impl Neighbours {
    fn new() -> Self {
        let site = Site::new();
        let specs = ["vm1", "vm2"].map(|name| site.spec(name, "size=16MiB"));
        let mut command = site.command(&specs, &["--create"]);
        command.stderr(File::create(site.path("daemon.log")).unwrap());
        let daemon = site.launch(command);
        let mut neighbour = Frontend::connect(&site.path("vm2.sock"));
        assert_eq!(neighbour.write_at(8, &[2; 4096]), OK);
        Self {
            site,
            daemon,
            neighbour,
        }
    }

    /// A frontend of the first vSSD, and the file with its memory.
    fn frontend(&self) -> (Frontend, File) {
        let file = memfd(MEMORY);
        let mut frontend = Frontend::unplugged_on(file.try_clone().unwrap());
        frontend.plug(&self.site.path("vm1.sock"));
        assert_eq!(frontend.write_at(0, &[1; 4096]), OK);
        (frontend, file)
    }

    /// The neighbour is served by the same connection, and the first vSSD by another.
    fn assert_others_go_on(mut self) -> Site {
        assert_eq!(self.neighbour.read_at(8, 4096).unwrap(), [2; 4096]);
        let (mut next, _) = self.frontend();
        assert_eq!(next.read_at(0, 4096).unwrap(), [1; 4096]);
        assert_eq!(self.daemon.status().vssds.len(), 2);
        assert!(self.daemon.terminate().success());
        self.site
    }
}

fn memfd(len: u64) -> File {
    let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    file
}

#[test]
fn a_region_longer_than_its_file_is_refused() {
    let neighbours = Neighbours::new();
    let mut frontend = Frontend::unplugged_on(memfd(MEMORY / 4));
    frontend.share_memory(&neighbours.site.path("vm1.sock"));
    frontend.wait_hung_up();
    drop(frontend);
    let site = neighbours.assert_others_go_on();
    // It is logged, with the reason, and once.
    let log = fs::read_to_string(site.path("daemon.log")).unwrap();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for word in ["vm1", "memory region", &(MEMORY / 4).to_string()] {
        assert!(lines[0].contains(word), "no {word} in {log}");
    }
    assert_eq!(lines[0].matches("memory region").count(), 1, "{log}");
}

#[test]
fn a_request_whose_header_is_gone_is_not_answered() {
    let neighbours = Neighbours::new();
    let (mut frontend, file) = neighbours.frontend();
    // The rings stay, the request does not.
    let (header, status) = frontend.envelope(OUT, 0);
    let ring = &mut frontend.rings[REQUESTS];
    ring.chain(
        &frontend.memory,
        0,
        &[header, readable(SCRATCH, 512), status],
    );
    file.set_len(SCRATCH).unwrap();
    ring.publish(&frontend.memory, 0);
    ring.kick();
    frontend.wait_hung_up();
    let ring = &mut frontend.rings[REQUESTS];
    assert_eq!(ring.used_entry(&frontend.memory), None);
    drop(frontend);
    neighbours.assert_others_go_on();
}

#[test]
fn rings_that_are_gone_end_the_connection() {
    for ring in [REQUESTS, COMMANDS] {
        let neighbours = Neighbours::new();
        let (frontend, file) = neighbours.frontend();
        file.set_len(0).unwrap();
        frontend.rings[ring].kick();
        frontend.wait_hung_up();
        drop(frontend);
        neighbours.assert_others_go_on();
    }
}

#[test]
fn a_command_that_is_gone_is_not_answered() {
    let neighbours = Neighbours::new();
    let (mut frontend, file) = neighbours.frontend();
    file.set_len(SCRATCH).unwrap();
    let ring = &mut frontend.rings[COMMANDS];
    let buffers = [readable(0x40_0000, 64), writable(0x80_0000, 4096)];
    ring.chain(&frontend.memory, 0, &buffers);
    ring.publish(&frontend.memory, 0);
    ring.kick();
    frontend.wait_hung_up();
    let ring = &mut frontend.rings[COMMANDS];
    assert_eq!(ring.used_entry(&frontend.memory), None);
    drop(frontend);
    neighbours.assert_others_go_on();
}

/// What the kernel moves fails with an error, what the backend copies by itself (here because
/// the buffer is not aligned) ends the connection: either way nothing is acknowledged.
#[test]
fn data_that_are_gone_are_never_acknowledged() {
    const GONE: u64 = MEMORY / 2;
    for kind in [OUT, IN] {
        for offset in [0, 4] {
            let neighbours = Neighbours::new();
            let (mut frontend, file) = neighbours.frontend();
            file.set_len(GONE).unwrap();
            let data = match kind {
                OUT => readable(GONE + offset, 4096),
                _ => writable(GONE + offset, 4096),
            };
            let (header, status) = frontend.envelope(kind, 8);
            let ring = &mut frontend.rings[REQUESTS];
            ring.chain(&frontend.memory, 0, &[header, data, status]);
            ring.publish(&frontend.memory, 0);
            ring.kick();
            if offset == 0 && kind == OUT {
                assert_eq!(ring.wait_used(&frontend.memory), (0, 1));
                assert_eq!(frontend.read(SCRATCH + 16, 1), [IOERR]);
                assert_eq!(frontend.read_at(0, 4096).unwrap(), [1; 4096]);
            } else {
                // Blocks that were never written are zeros of the backend's own.
                frontend.wait_hung_up();
                // Whatever is in the status byte: a request without a used entry is unanswered.
                let ring = &mut frontend.rings[REQUESTS];
                assert_eq!(ring.used_entry(&frontend.memory), None);
            }
            drop(frontend);
            neighbours.assert_others_go_on();
        }
    }
}
