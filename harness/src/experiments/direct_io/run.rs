//! Runs the direct-io experiment.

use std::fs::File;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::native::client::Client;
use lab::native::load::{Load, Pattern};
use lab::native::server::Server;
use lab::page_cache::resident_bytes;
use lab::resources::check_room;
use results::store::RunFolder;

use super::params::Params;
use super::rows::DirectIoRow;
use crate::experiments::common::lab::Lab;

/// Reads after the fill.
const READS: Load = Load {
    pattern: Pattern::RandomRead,
    bytes: 64 << 10,
    depth: 8,
};

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    check_room(&std::env::temp_dir(), params.size)?;
    for (mode, more) in [("direct", None), ("buffered", Some("--buffered"))] {
        one(params, lab, folder, mode, more.as_slice())
            .with_context(|| format!("measure {mode} I/O"))?;
    }
    Ok(())
}

fn one(
    params: &Params,
    lab: &Lab,
    folder: &mut RunFolder,
    mode: &str,
    more: &[&str],
) -> Result<()> {
    let place = tempfile::Builder::new()
        .prefix("vssd-")
        .tempdir()
        .context("make a temporary folder")?;
    let path = place.path().join("backing.img");
    let backing = path
        .to_str()
        .context("the path of the temporary folder is not UTF-8")?;
    let server = Server::ours(place.path(), backing, params.size.0, more)?;
    let mut client = Client::vhost_user(&server.socket, params.size.0)?;
    let file = File::open(&path).with_context(|| format!("open {backing}"))?;
    let began = Instant::now();
    let mut record = |phase: &str, samples: Vec<(u64, u64)>, moved_bytes: u64| {
        samples.into_iter().try_for_each(|(at_ns, resident_bytes)| {
            folder.append(&DirectIoRow {
                mode: mode.to_owned(),
                phase: phase.to_owned(),
                at_ns,
                resident_bytes,
                moved_bytes,
                vssd_bytes: params.size.0,
            })
        })
    };
    record("before", vec![sample(&file, began)?], 0)?;
    let pause = Duration::from_millis(params.sample_ms);
    let (samples, ()) = sampled(&file, began, pause, || client.fill())?;
    let mut moved = params.size.0;
    record("write", samples, moved)?;
    let (samples, reads) = sampled(&file, began, pause, || {
        client.run(READS, Duration::from_millis(params.read_ms), lab.seed)
    })?;
    moved += reads.requests * u64::from(READS.bytes);
    record("read", samples, moved)?;
    record("after", vec![sample(&file, began)?], moved)
}

/// The time since `began`, nanoseconds, and the bytes in the page cache.
fn sample(file: &File, began: Instant) -> Result<(u64, u64)> {
    let resident = resident_bytes(file)
        .context("query the page cache with cachestat(2), which needs Linux 6.5 or newer")?;
    Ok((began.elapsed().as_nanos() as u64, resident))
}

/// Samples the page cache every `each` while `work` runs.
fn sampled<T>(
    file: &File,
    began: Instant,
    each: Duration,
    work: impl FnOnce() -> Result<T>,
) -> Result<(Vec<(u64, u64)>, T)> {
    thread::scope(|scope| {
        // Dropping the sender stops the sampler.
        let (working, done) = mpsc::channel::<()>();
        let sampler = scope.spawn(move || -> Result<Vec<(u64, u64)>> {
            let mut samples = vec![sample(file, began)?];
            while done.recv_timeout(each) == Err(RecvTimeoutError::Timeout) {
                samples.push(sample(file, began)?);
            }
            samples.push(sample(file, began)?);
            Ok(samples)
        });
        let result = work();
        drop(working);
        let samples = sampler.join().expect("the sampler does not panic")?;
        Ok((samples, result?))
    })
}
