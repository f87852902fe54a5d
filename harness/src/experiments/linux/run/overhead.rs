//! Requests of a Linux guest to a vSSD, beside those to other disks of the same guest.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::linux::guest::LinuxGuest;
use lab::linux::launch::{CPUS, LinuxDisk};
use lab::native::server::Server;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use results::store::RunFolder;
use serde_json::Value;
use vssd_host::size::ByteSize;

use super::churn::PATIENCE;
use super::site::Site;
use crate::experiments::linux::rows::{Disk, LinuxOverheadRow, Way};

/// The guest's disks, in their order.
const DISKS: [(Disk, &str); 3] = [
    (Disk::VssdHost, "/dev/vda"),
    (Disk::QemuStorageDaemon, "/dev/vdb"),
    (Disk::VirtioBlk, "/dev/vdc"),
];

pub(super) fn run(site: &Site<'_>, folder: &mut RunFolder) -> Result<()> {
    let overhead = &site.params.overhead;
    let size = overhead.size;
    folder.fact("peer", Server::peer_version()?)?;
    let place = tempfile::Builder::new()
        .prefix("vssd-")
        .tempdir()
        .context("make a temporary folder")?;
    let queues = CPUS as u16;
    let peer_file = sparse(place.path(), "peer.img", size)?;
    let blockdev = format!(
        "driver=raw,node-name=disk,file.driver=file,file.filename={},file.aio=io_uring,file.cache.direct=on",
        peer_file.display()
    );
    // Dropped after the guest that uses it.
    let peer = Server::peer(place.path(), &blockdev, queues)?;
    let more = vec![
        LinuxDisk::VhostUser {
            socket: peer.socket.clone(),
            queues,
        },
        LinuxDisk::File {
            path: sparse(place.path(), "raw.img", size)?,
            queues,
        },
    ];
    let written = ByteSize(size.0 * DISKS.len() as u64);
    let mut testbed = site.guest(size, written, more)?;
    for (_, disk) in DISKS {
        fill_disk(&mut testbed.guest, disk, size)?;
    }
    let loads: Vec<(Way, u32)> = [Way::Read, Way::Write]
        .into_iter()
        .flat_map(|way| overhead.depths.iter().map(move |depth| (way, *depth)))
        .collect();
    let mut random = StdRng::seed_from_u64(site.lab.seed);
    let count = loads.len() * DISKS.len() * overhead.rounds as usize;
    let bar = site.lab.progress;
    let bar = bar.bar("requests beside other disks", count as u64);
    for round in 0..overhead.rounds {
        for (way, depth) in &loads {
            let mut disks = DISKS;
            disks.shuffle(&mut random);
            for (disk, device) in disks {
                let guest = &mut testbed.guest;
                let of = slice(guest, device, *way, *depth, overhead.slice_ms)?;
                folder.append(&LinuxOverheadRow {
                    round,
                    disk,
                    way: *way,
                    depth: *depth,
                    requests: of.requests,
                    elapsed_guest_ns: of.elapsed_guest_ns,
                    p50_guest_ns: of.p50_guest_ns,
                    p99_guest_ns: of.p99_guest_ns,
                })?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    testbed.shut_down()
}

/// A file of this size without contents.
pub(super) fn sparse(folder: &Path, name: &str, size: ByteSize) -> Result<PathBuf> {
    let path = folder.join(name);
    let file = File::create_new(&path).and_then(|file| file.set_len(size.0));
    file.with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

/// Writes a disk in full: blocks that were never written are answered without the medium.
pub(super) fn fill_disk(guest: &mut LinuxGuest, disk: &str, size: ByteSize) -> Result<()> {
    let script = format!(
        "dd if=/dev/urandom of=/run/fill bs=1M count=1 2>&1 && \
         for at in $(seq 0 {}); do dd if=/run/fill of={disk} bs=1M seek=$at oflag=direct 2>/dev/null || exit 1; done",
        (size.0 >> 20) - 1
    );
    guest.expect(&script, PATIENCE).map(drop)
}

/// What fio measured of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) requests: u64,
    pub(super) elapsed_guest_ns: u64,
    p50_guest_ns: u64,
    p99_guest_ns: u64,
}

/// Requests of 4 KiB at random places of a disk, for so long.
pub(super) fn slice(
    guest: &mut LinuxGuest,
    device: &str,
    way: Way,
    depth: u32,
    slice_ms: u64,
) -> Result<Slice> {
    let script = fio(device, way, depth, slice_ms);
    let patience = Duration::from_millis(slice_ms) + PATIENCE;
    let output = guest.expect(&script, patience)?;
    parse(&output, way).with_context(|| format!("fio printed: {output}"))
}

fn fio(device: &str, way: Way, depth: u32, slice_ms: u64) -> String {
    format!(
        "fio --name=slice --filename={device} --rw=rand{way} --bs=4k --iodepth={depth} --direct=1 \
         --ioengine=libaio --norandommap --randrepeat=0 --time_based --runtime={slice_ms}ms \
         --output-format=json 2>&1"
    )
}

/// What fio printed; warnings may stand before the JSON.
fn parse(output: &str, way: Way) -> Result<Slice> {
    let start = output.find('{').context("there is no JSON")?;
    let report: Value = serde_json::from_str(&output[start..])?;
    let of = &report["jobs"][0][way.to_string()];
    let number = |value: &Value, name: &str| {
        let number = value.as_f64().map(|number| number as u64);
        number.with_context(|| format!("it has no {name}"))
    };
    let percentile = |name: &str| number(&of["clat_ns"]["percentile"][name], name);
    Ok(Slice {
        requests: number(&of["total_ios"], "total_ios")?,
        elapsed_guest_ns: number(&of["runtime"], "runtime")? * 1_000_000,
        p50_guest_ns: percentile("50.000000")?,
        p99_guest_ns: percentile("99.000000")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_fio_is_read_after_its_warnings() {
        let json = r#"fio: a warning
            {"jobs": [{"read": {"total_ios": 2000, "runtime": 1000,
            "clat_ns": {"percentile": {"50.000000": 480, "99.000000": 9000}}}}]}"#;
        let of = parse(json, Way::Read).unwrap();
        assert_eq!((of.requests, of.elapsed_guest_ns), (2000, 1_000_000_000));
        assert_eq!((of.p50_guest_ns, of.p99_guest_ns), (480, 9000));
        assert!(parse(json, Way::Write).is_err());
        assert!(parse("fio: not found", Way::Read).is_err());
    }
}
