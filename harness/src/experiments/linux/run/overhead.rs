//! Requests of a Linux guest to a vSSD, beside those to other disks of the same guest.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::linux::image::LinuxImage;
use lab::linux::launch::{CPUS, LinuxDisk};
use lab::linux::testbed::LinuxTestbed;
use lab::native::server::Server;
use lab::testbed::Shape;
use lab::vm_host::VmHost;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use results::store::RunFolder;
use serde_json::Value;
use vssd_host::size::ByteSize;

use super::churn::PATIENCE;
use crate::experiments::common::lab::Lab;
use crate::experiments::linux::params::Params;
use crate::experiments::linux::rows::{Disk, LinuxOverheadRow, Way};

/// The guest's disks, in their order.
const DISKS: [(Disk, &str); 3] = [
    (Disk::VssdHost, "/dev/vda"),
    (Disk::QemuStorageDaemon, "/dev/vdb"),
    (Disk::VirtioBlk, "/dev/vdc"),
];

pub(super) fn run(
    params: &Params,
    lab: &Lab,
    vm_host: &VmHost,
    image: &LinuxImage,
    folder: &mut RunFolder,
) -> Result<()> {
    let overhead = &params.overhead;
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
    let shape = Shape {
        size,
        block_size: params.block_size,
        written: ByteSize(size.0 * DISKS.len() as u64),
    };
    let mut testbed = LinuxTestbed::start(vm_host, image, shape, more)?;
    for (_, disk) in DISKS {
        // Blocks that were never written are answered without the medium.
        let fill = format!(
            "dd if=/dev/urandom of=/run/fill bs=1M count=1 2>&1 && \
             for at in $(seq 0 {}); do dd if=/run/fill of={disk} bs=1M seek=$at oflag=direct 2>/dev/null || exit 1; done",
            (size.0 >> 20) - 1
        );
        testbed.guest.expect(&fill, PATIENCE)?;
    }
    let loads: Vec<(Way, u32)> = [Way::Read, Way::Write]
        .into_iter()
        .flat_map(|way| overhead.depths.iter().map(move |depth| (way, *depth)))
        .collect();
    let mut random = StdRng::seed_from_u64(lab.seed);
    let count = loads.len() * DISKS.len() * overhead.rounds as usize;
    let bar = lab
        .progress
        .bar("requests beside other disks", count as u64);
    for round in 0..overhead.rounds {
        for (way, depth) in &loads {
            let mut disks = DISKS;
            disks.shuffle(&mut random);
            for (disk, device) in disks {
                let script = fio(device, *way, *depth, overhead.slice_ms);
                let patience = Duration::from_millis(overhead.slice_ms) + PATIENCE;
                let output = testbed.guest.expect(&script, patience)?;
                let row = parse(&output, round, disk, *way, *depth)
                    .with_context(|| format!("fio printed: {output}"))?;
                folder.append(&row)?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    testbed.shut_down()
}

fn sparse(folder: &Path, name: &str, size: ByteSize) -> Result<std::path::PathBuf> {
    let path = folder.join(name);
    let file = File::create_new(&path).and_then(|file| file.set_len(size.0));
    file.with_context(|| format!("create {}", path.display()))?;
    Ok(path)
}

fn fio(device: &str, way: Way, depth: u32, slice_ms: u64) -> String {
    format!(
        "fio --name=slice --filename={device} --rw=rand{way} --bs=4k --iodepth={depth} --direct=1 \
         --ioengine=libaio --norandommap --randrepeat=0 --time_based --runtime={slice_ms}ms \
         --output-format=json 2>&1"
    )
}

/// The row of what fio printed; warnings may stand before the JSON.
fn parse(output: &str, round: u32, disk: Disk, way: Way, depth: u32) -> Result<LinuxOverheadRow> {
    let start = output.find('{').context("there is no JSON")?;
    let report: Value = serde_json::from_str(&output[start..])?;
    let of = &report["jobs"][0][way.to_string()];
    let number = |value: &Value, name: &str| {
        let number = value.as_f64().map(|number| number as u64);
        number.with_context(|| format!("it has no {name}"))
    };
    let percentile = |name: &str| number(&of["clat_ns"]["percentile"][name], name);
    Ok(LinuxOverheadRow {
        round,
        disk,
        way,
        depth,
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
        let row = parse(json, 1, Disk::VirtioBlk, Way::Read, 32).unwrap();
        assert_eq!((row.requests, row.elapsed_guest_ns), (2000, 1_000_000_000));
        assert_eq!((row.p50_guest_ns, row.p99_guest_ns), (480, 9000));
        assert!((row.iops() - 2000.0).abs() < 1e-9);
        assert!(parse(json, 1, Disk::VirtioBlk, Way::Write, 32).is_err());
        assert!(parse("fio: not found", 1, Disk::VirtioBlk, Way::Read, 1).is_err());
    }
}
