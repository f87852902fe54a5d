//! Service times and stalls of requests, as the backend reports them.

mod support;

use std::time::Instant;

use support::NO_DEADLINE_MS;
use support::daemon::{Daemon, Site};
use support::frontend::OK;
use support::guest::Guest;
use vssd::units::Geometry;
use vssd_host::control::client::ClientError;
use vssd_host::control::protocol::{Change, LatencyStatus, Reply, Resize};
use vssd_host::latency::{Activity, Operation};
use vssd_host::size::Amount;

/// Blocks of the vSSD: 4 MiB of 4 KiB blocks.
const BLOCKS: u32 = 1024;

fn boot() -> (Site, Daemon, Guest) {
    let site = Site::new();
    let daemon = site.start(&[site.spec("vm1", "size=4MiB")]);
    let geometry = Geometry::new(4096, BLOCKS.into()).unwrap();
    let guest = Guest::boot(&site.path("vm1.sock"), geometry);
    (site, daemon, guest)
}

fn write(guest: &mut Guest, requests: u32) {
    for block in 0..requests {
        let sector = u64::from(block) * 8;
        assert_eq!(guest.frontend.write_at(sector, &[1; 4096]), OK);
    }
}

/// Starts a resize and leaves the guest in the middle of it.
fn begin(daemon: &Daemon, guest: &mut Guest, blocks: u32) -> u64 {
    let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(blocks.into())));
    resize.deadline_ms = NO_DEADLINE_MS;
    let id = daemon.begin(resize);
    guest.take_event();
    id
}

/// Requests of each activity.
fn measured(status: &LatencyStatus) -> Vec<(Activity, u64)> {
    status
        .activities
        .iter()
        .map(|of| (of.activity, of.service().len()))
        .collect()
}

#[test]
fn requests_are_sorted_by_what_the_device_does() {
    let (_site, daemon, mut guest) = boot();
    daemon.client().latency("vm1", true).unwrap();
    write(&mut guest, 100);
    let shrink = begin(&daemon, &mut guest, 600);
    write(&mut guest, 50);
    guest.settle_at(600);
    daemon.ended(shrink);
    let grow = begin(&daemon, &mut guest, BLOCKS);
    write(&mut guest, 20);
    guest.settle_at(BLOCKS);
    daemon.ended(grow);
    write(&mut guest, 1);

    let latency = daemon.client().latency("vm1", false).unwrap();
    let seen = measured(&latency);
    assert_eq!(
        seen,
        [
            (Activity::Quiet, 101),
            (Activity::Shrink, 50),
            (Activity::Grow, 20)
        ]
    );
    for of in latency.activities.iter().flat_map(|of| &of.operations) {
        assert_eq!(of.buckets.is_empty(), of.operation != Operation::Write);
        assert!(of.buckets.is_sorted(), "{:?}", of.buckets);
        assert!(of.buckets.iter().all(|(_, count)| *count > 0));
    }
}

#[test]
fn a_reset_starts_over_and_a_look_does_not() {
    let (_site, daemon, mut guest) = boot();
    let requests = |reset| {
        let latency = daemon.client().latency("vm1", reset).unwrap();
        measured(&latency).iter().map(|of| of.1).sum::<u64>()
    };
    write(&mut guest, 10);
    assert_eq!(requests(false), 10);
    assert_eq!(requests(true), 10);
    assert_eq!(requests(false), 0);
    write(&mut guest, 3);
    assert_eq!(requests(false), 3);
}

#[test]
fn people_get_a_table_and_programs_get_json() {
    let (site, daemon, mut guest) = boot();
    write(&mut guest, 10);
    let table = site.vssdctl(&["latency", "vm1"]);
    let text = String::from_utf8(table.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    // Writes while nothing moves, and the longest stalls of three activities.
    assert_eq!(lines.len(), 2 + 4, "{text}");
    assert!(
        lines[0].contains("P99.9") && lines[1].starts_with("quiet     write"),
        "{text}"
    );
    let json = site.vssdctl(&["latency", "vm1", "--reset", "--json"]);
    let reply = serde_json::from_slice(&json.stdout).unwrap();
    assert!(matches!(reply, Reply::Latency(_)), "{reply:?}");
    let strange = daemon.client().latency("vm9", false);
    assert!(
        matches!(strange, Err(ClientError::Refused(_))),
        "{strange:?}"
    );
}

#[test]
fn the_status_has_rates_and_times() {
    let (site, daemon, mut guest) = boot();
    let began = Instant::now();
    write(&mut guest, 40);
    assert_eq!(guest.frontend.flush(), OK);
    let status = daemon.status();
    let took_s = began.elapsed().as_secs_f64();
    let vssd = &status.vssds[0];
    let requests = |at: usize| vssd.latency[at].buckets.iter().map(|of| of.1).sum::<u64>();
    let counted = Operation::ALL.map(|operation| requests(operation as usize));
    let counters = &vssd.counters;
    assert_eq!(counted, [counters.reads, 40, 0, 1]);
    assert_eq!(counters.writes, 40);
    for rate in &vssd.rates {
        let writes = rate.writes * rate.seconds;
        // A window that is longer than all of this took has all of them.
        assert!(
            writes < 40.5 && (writes > 39.5 || rate.seconds < took_s),
            "{rate:?} after {took_s} s"
        );
        assert!(
            (rate.written_bytes - 4096.0 * rate.writes).abs() < 1.0,
            "{rate:?}"
        );
    }
    let table = String::from_utf8(site.vssdctl(&["status"]).stdout).unwrap();
    assert!(table.contains("WRITES/S"), "{table}");
}
