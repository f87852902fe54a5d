//! Requests of a native client while the hypervisor takes the rest of its device.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lab::native::client::Client;
use lab::native::load::{Load, Pattern};
use results::store::RunFolder;
use vssd_host::control::Client as Control;
use vssd_host::control::protocol::{Change, Resize};
use vssd_host::latency::{Histogram, buckets, histogram};
use vssd_host::size::Amount;
use workloads::{HostPick, Pick};

use super::rows::{BLOCKS, DisturbedBucketRow, DisturbedRow, MOVED};
use super::server::{BLOCK, PATIENCE, start};

/// Bytes that the client reads in.
const READ: u64 = 1 << 30;

/// Shrinks under one load, each followed by a grow of the same size.
const SHRINKS: u32 = 4;

/// Time without a resize before each.
const QUIET: Duration = Duration::from_millis(60);

/// Duration of the load: half of it is for the resizes.
const LOAD: Duration = Duration::from_millis(4 * 60 * SHRINKS as u64);

/// Start and end.
type Span = (Instant, Instant);

/// The resizes under one load.
#[derive(Default)]
struct Resizes {
    shrinks: Vec<Span>,
    grows: Vec<Span>,
}

/// Shrinks under a load of reads: the upper half is taken while a client reads in the lower.
pub(super) fn measure(
    place: &Path,
    seed: u64,
    repetition: u32,
    folder: &mut RunFolder,
) -> Result<()> {
    let server = start(place, "pool.img", BLOCKS.into())?;
    let mut client = Client::vhost_user(&server.socket, u64::from(BLOCKS) * BLOCK)?;
    client.fill_first(READ)?;
    let load = Load {
        pattern: Pattern::RandomRead,
        bytes: BLOCK as u32,
        depth: 8,
    };
    let control = place.join("control.sock");
    let mut requests = Vec::new();
    let resizes = thread::scope(|scope| {
        let resizer = scope.spawn(move || resize(&control));
        let each = |began, ended| requests.push((began, ended));
        let seed = seed + u64::from(repetition);
        client.run_within(load, READ, LOAD, seed, each)?;
        match resizer.join() {
            Ok(resizes) => resizes,
            Err(_) => bail!("the thread that resizes panicked"),
        }
    })?;
    let (quiet, during) = sorted(&requests, &resizes);
    record(repetition, &resizes, &quiet, &during, folder)
}

fn resize(control: &Path) -> Result<Resizes> {
    let mut control = Control::connect(control, Some(PATIENCE))?;
    let mut to = |held: u32| {
        thread::sleep(QUIET);
        let mut resize = Resize::new("vm1", Change::To(Amount::Blocks(held.into())));
        resize.pick = Pick::Host(HostPick::Sequential);
        // The client is no vSSD driver.
        resize.force = true;
        let began = Instant::now();
        let resized = control.resize(resize)?;
        ensure!(
            resized.held == held,
            "a resize to {held} blocks ended as {resized:?}"
        );
        Ok((began, Instant::now()))
    };
    let mut resizes = Resizes::default();
    for _ in 0..SHRINKS {
        resizes.shrinks.push(to(BLOCKS - MOVED)?);
        resizes.grows.push(to(BLOCKS)?);
    }
    Ok(resizes)
}

/// Latencies of requests that overlap no resize, and of those that overlap a shrink. Requests that
/// overlap only a grow are in neither.
fn sorted(requests: &[Span], resizes: &Resizes) -> (Histogram, Histogram) {
    let touched = |spans: &[Span], (began, ended): Span| {
        spans.iter().any(|(from, to)| began < *to && ended > *from)
    };
    let (mut quiet, mut during) = (histogram(), histogram());
    for request in requests {
        let latency = (request.1 - request.0).as_nanos() as u64;
        if touched(&resizes.shrinks, *request) {
            during.saturating_record(latency);
        } else if !touched(&resizes.grows, *request) {
            quiet.saturating_record(latency);
        }
    }
    (quiet, during)
}

fn record(
    repetition: u32,
    resizes: &Resizes,
    quiet: &Histogram,
    during: &Histogram,
    folder: &mut RunFolder,
) -> Result<()> {
    let lasted: Duration = resizes.shrinks.iter().map(|(from, to)| *to - *from).sum();
    folder.append(&DisturbedRow {
        repetition,
        resize_ns: (lasted / SHRINKS).as_nanos() as u64,
        quiet_requests: quiet.len(),
        quiet_p99_ns: quiet.value_at_quantile(0.99),
        during_requests: during.len(),
        during_p99_ns: during.value_at_quantile(0.99),
    })?;
    let mut rows: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for (place, histogram) in [quiet, during].into_iter().enumerate() {
        for (value_ns, count) in buckets(histogram) {
            rows.entry(value_ns).or_default()[place] = count;
        }
    }
    for (value_ns, [quiet, during]) in rows {
        folder.append(&DisturbedBucketRow {
            repetition,
            value_ns,
            quiet,
            during,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_belongs_to_the_shrink_that_it_overlaps() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let resizes = Resizes {
            shrinks: vec![(at(10), at(20)), (at(50), at(60))],
            grows: vec![(at(30), at(40))],
        };
        let count = |from, to| {
            let (quiet, during) = sorted(&[(at(from), at(to))], &resizes);
            (quiet.len(), during.len())
        };
        for (from, to) in [(5, 11), (12, 13), (19, 30), (0, 70), (55, 80), (15, 35)] {
            assert_eq!(count(from, to), (0, 1), "{from} to {to} ms");
        }
        for (from, to) in [(0, 10), (20, 30), (40, 50), (60, 61)] {
            assert_eq!(count(from, to), (1, 0), "{from} to {to} ms");
        }
        assert_eq!(count(25, 35), (0, 0), "within a grow");
    }
}
