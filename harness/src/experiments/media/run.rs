//! Runs the media experiment.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::native::client::Client;
use lab::native::load::{Load, Pattern};
use lab::native::server::Server;
use lab::qemu::Drives;
use lab::testbed::GuestChannel;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use results::store::RunFolder;
use vssd_host::control::Client as Control;
use vssd_host::emulation::{MediaKind, MediaModel, Wear};
use vssd_host::io::Direction;
use vssd_host::latency::{Histogram, histogram};
use workloads::latency::Bucket;
use workloads::report::Stressed;
use workloads::{Command, Report, command, latency, report};

use super::params::{BLOCK, Params, UNIT};
use super::rows::{MediaRow, MediaWearRow};
use crate::experiments::common::boot;
use crate::experiments::common::lab::Lab;
use crate::experiments::common::reports::all;

/// Timeout of each operation of a guest or a backend.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let media = [None].into_iter().chain(MediaKind::ALL.map(Some));
    let bar = lab.progress.bar("media", MediaKind::ALL.len() as u64 + 1);
    for medium in media {
        let mut run = Run {
            params,
            lab,
            folder,
            medium,
            history: Vec::new(),
        };
        run.run()
            .with_context(|| format!("measure medium {}", run.name()))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A medium under measurement.
struct Run<'a> {
    params: &'a Params,
    lab: &'a Lab,
    folder: &'a mut RunFolder,
    medium: Option<MediaKind>,
    /// Loads so far, in order.
    history: Vec<Step>,
}

/// A load on a medium.
#[derive(Clone, Copy)]
enum Step {
    /// A sequential write of all of it.
    Fill,
    /// Requests at random.
    Random {
        op: Direction,
        depth: u16,
        requests: u64,
        /// Whether the client measured them, and the model shall.
        measured: bool,
    },
}

impl Run<'_> {
    fn name(&self) -> String {
        self.medium
            .map_or_else(|| "none".to_owned(), |kind| kind.to_string())
    }

    fn run(&mut self) -> Result<()> {
        let place = tempfile::Builder::new().prefix("vssd-").tempdir();
        let place = place.context("make a temporary folder")?;
        let name = self.name();
        let more = ["--media", &name];
        let more = self.medium.map_or(&[][..], |_| &more[..]);
        let server = Server::ours(place.path(), "memory", self.params.size.0, more)?;
        self.client(&server)?;
        self.guest(&server, place.path())?;
        if let Some(kind) = self.medium {
            let wear = wear(&place.path().join("control.sock"))?;
            self.model(kind, wear)?;
        }
        Ok(())
    }

    fn record(&mut self, side: &str, op: Direction, depth: u32, times: &Times) -> Result<()> {
        self.folder.append(&MediaRow {
            medium: self.name(),
            side: side.to_owned(),
            op: match op {
                Direction::Read => "read".to_owned(),
                Direction::Write => "write".to_owned(),
            },
            depth,
            requests: times.requests,
            elapsed_ns: times.elapsed_ns,
            min_ns: times.min_ns,
            p50_ns: times.p50_ns,
            p99_ns: times.p99_ns,
        })
    }

    fn random(&mut self, op: Direction, depth: u16, requests: u64, measured: bool) {
        self.history.push(Step::Random {
            op,
            depth,
            requests,
            measured,
        });
    }

    /// Blocks written so far.
    fn sent_blocks(&self) -> u64 {
        let blocks = self.history.iter().map(|step| match step {
            Step::Fill => self.params.blocks(),
            Step::Random {
                op: Direction::Write,
                requests,
                ..
            } => *requests,
            Step::Random { .. } => 0,
        });
        blocks.sum()
    }

    fn client(&mut self, server: &Server) -> Result<()> {
        let mut client = Client::vhost_user(&server.socket, self.params.size.0)?;
        client.fill().context("write the vSSD in full")?;
        self.history.push(Step::Fill);
        for depth in [1, self.params.depth] {
            for op in [Direction::Read, Direction::Write] {
                let (latency, elapsed_ns) = self.load(&mut client, op, depth)?;
                self.random(op, depth, latency.len(), true);
                let times = Times::of(&latency, elapsed_ns);
                self.record("client", op, depth.into(), &times)?;
            }
        }
        Ok(())
    }

    /// Times of the requests of a load, and of all together, nanoseconds.
    ///
    /// Flash collects garbage in bursts of tens of milliseconds, so writes at high depth overwrite
    /// it several times.
    fn load(&self, client: &mut Client, op: Direction, depth: u16) -> Result<(Histogram, u64)> {
        let flash = self.medium == Some(MediaKind::SlcFlash);
        let at_least = match (flash, op, depth) {
            (true, Direction::Write, 2..) => self.params.overwrites * self.params.blocks(),
            _ => 1,
        };
        let (mut latency, mut elapsed_ns, mut seed) = (histogram(), 0, self.lab.seed);
        while latency.len() < at_least {
            let duration = Duration::from_millis(self.params.load_ms);
            let slice = client.run(load_of(op, depth), duration, seed)?;
            latency.add(&slice.latency)?;
            elapsed_ns += slice.elapsed.as_nanos() as u64;
            seed += 1;
        }
        Ok((latency, elapsed_ns))
    }

    fn guest(&mut self, server: &Server, place: &Path) -> Result<()> {
        let vm_host = self.lab.vm_host()?;
        let mut guest = vm_host.launch(
            Drives {
                vssd: Some(&server.socket),
                ..Drives::default()
            },
            place.to_owned(),
        )?;
        boot::record(self.folder, vm_host, &guest)?;
        let seed = self.lab.seed;
        match guest
            .run(&Command::Fill(command::Fill { seed }), PATIENCE)?
            .last()
        {
            Some(Report::Filled(report::Filled { errors: 0, blocks }))
                if u64::from(*blocks) == self.params.blocks() =>
            {
                self.history.push(Step::Fill);
            }
            other => bail!("fill the guest's vSSD: {other:?}"),
        }
        for (op, writes) in [(Direction::Read, 0), (Direction::Write, 100)] {
            let command = Command::Stress(command::Stress {
                count: self.requests(op),
                seed,
                depth: 1,
                writes,
                latency: true,
            });
            let reports = guest.run(&command, PATIENCE)?;
            self.random(Direction::Write, 1, written(&reports)?, false);
            self.record("guest", op, 1, &Times::of_guest(&reports)?)?;
        }
        guest.shut_down()
    }

    /// Requests that fit into the duration of a load on this medium.
    fn requests(&self, op: Direction) -> u64 {
        let one_ns = self.medium.map_or(0, |kind| match op {
            Direction::Read => kind.times().read_ns,
            Direction::Write => kind.times().write_ns,
        });
        let fit = self.params.load_ms * 1_000_000 / one_ns.max(1);
        fit.clamp(10, self.params.requests)
    }

    /// Runs the same loads in the same order on the model alone, and records the wear of both.
    fn model(&mut self, kind: MediaKind, wear: Wear) -> Result<()> {
        let len = self.params.size.0;
        let mut model = MediaModel::new(kind, len)?;
        let mut rng = SmallRng::seed_from_u64(self.lab.seed);
        let mut now_ns = 0;
        for step in self.history.clone() {
            match step {
                Step::Fill => now_ns = fill(&mut model, len, now_ns),
                Step::Random {
                    op,
                    depth,
                    requests,
                    measured,
                } => {
                    let times =
                        closed_loop((&mut model, len), (op, depth), requests, now_ns, &mut rng);
                    now_ns += times.elapsed_ns;
                    if measured {
                        self.record("model", op, depth.into(), &times)?;
                    }
                }
            }
        }
        self.folder.append(&MediaWearRow {
            medium: kind.to_string(),
            sent_bytes: self.sent_blocks() * BLOCK,
            host_bytes: wear.host_bytes,
            media_bytes: wear.media_bytes,
            write_amplification: wear.write_amplification,
            model_write_amplification: model.wear().write_amplification,
            erases: wear.erases,
            cycles_max: wear.cycles_max,
            cycles_mean: wear.cycles_mean,
            cycles_limit: wear.limit.map(|(from, _)| from),
        })
    }
}

fn load_of(op: Direction, depth: u16) -> Load {
    Load {
        pattern: match op {
            Direction::Read => Pattern::RandomRead,
            Direction::Write => Pattern::RandomWrite,
        },
        bytes: BLOCK as u32,
        depth,
    }
}

/// Writes all of a model sequentially; returns the end time, nanoseconds.
fn fill(model: &mut MediaModel, len: u64, mut now_ns: u64) -> u64 {
    for offset in (0..len).step_by(UNIT as usize) {
        now_ns = model.start(now_ns, Direction::Write, offset, UNIT);
    }
    now_ns
}

/// Keeps `depth` random requests in flight from `begin_ns` on. They complete in the order of
/// submission, as on the device, which publishes used entries in ring order.
fn closed_loop(
    (model, len): (&mut MediaModel, u64),
    (op, depth): (Direction, u16),
    requests: u64,
    begin_ns: u64,
    rng: &mut SmallRng,
) -> Times {
    let mut latency = histogram();
    let mut ends: VecDeque<_> = (0..depth).map(|_| begin_ns).collect();
    let mut last_ns = begin_ns;
    for _ in 0..requests {
        let now_ns = ends.pop_front().expect("as many as `depth`");
        let block = rng.random_range(0..len / BLOCK);
        last_ns = last_ns.max(model.start(now_ns, op, block * BLOCK, BLOCK));
        latency.saturating_record(last_ns - now_ns);
        ends.push_back(last_ns);
    }
    Times::of(&latency, last_ns - begin_ns)
}

/// The wear of the backend's medium.
fn wear(control: &Path) -> Result<Wear> {
    let mut control = Control::connect(control, Some(PATIENCE))?;
    let media = control.status()?.pool.media;
    media.context("the status of the backend has no wear")
}

/// Blocks that a guest's stress command wrote.
fn written(reports: &[Report]) -> Result<u64> {
    let sound = all(reports).find(|of: &&Stressed| of.errors == 0 && of.corrupt == 0);
    let sound = sound.context("requests of the guest failed")?;
    Ok(sound.writes)
}

/// Times of requests.
struct Times {
    requests: u64,
    elapsed_ns: u64,
    min_ns: u64,
    p50_ns: u64,
    p99_ns: u64,
}

impl Times {
    fn of(latency: &Histogram, elapsed_ns: u64) -> Self {
        Self {
            requests: latency.len(),
            elapsed_ns,
            // The upper end of the lowest bucket.
            min_ns: latency.highest_equivalent(latency.min()),
            p50_ns: latency.value_at_quantile(0.5),
            p99_ns: latency.value_at_quantile(0.99),
        }
    }

    fn of_guest(reports: &[Report]) -> Result<Self> {
        let (mut elapsed_ns, mut buckets) = (0, Vec::<Bucket>::new());
        for phase in all::<report::Latency>(reports) {
            elapsed_ns += phase.phase_ns;
            buckets.extend(&phase.buckets);
        }
        buckets.sort_unstable();
        let least = buckets.first().context("the guest measured nothing")?.0;
        Ok(Self {
            requests: latency::total(&buckets),
            elapsed_ns,
            min_ns: latency::highest(least),
            p50_ns: latency::quantile_ns(&buckets, 500),
            p99_ns: latency::quantile_ns(&buckets, 990),
        })
    }
}
