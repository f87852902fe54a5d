//! How it runs.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lab::testbed::{ResizeOptions, Shape, Testbed, Transport, fill};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use results::store::RunFolder;

use workloads::command::{DEFAULT_DEPTH, Enforce};
use workloads::{Command, GuestPick, HostPick, Pick, Report, command, report};

use super::params::Params;
use super::rows::{CorrectnessRow, CorrectnessTimingRow, Direction};
use crate::experiments::common::lab::Lab;
use crate::experiments::common::reports::stressed;

/// How long one pass over the device, or one resize, may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What depends on timing in a step.
#[derive(Clone, Copy, Default)]
struct Timing {
    resize_ns: u64,
    inflight_requests: u64,
    inflight_errors: u64,
}

/// What a step asks for.
struct Step {
    part: &'static str,
    pick: GuestPick,
    balloon: u32,
    enforce: Enforce,
}

struct Run<'a> {
    testbed: Box<dyn Testbed>,
    folder: &'a mut RunFolder,
    capacity: u32,
    step: u32,
    balloon: u32,
}

impl Run<'_> {
    fn options(seed: u64, pick: Pick) -> ResizeOptions {
        ResizeOptions {
            pick,
            deadline: PATIENCE,
            seed,
        }
    }

    /// Resizes to a balloon size and waits until the guest has followed;
    /// returns the nanoseconds until both lists agreed.
    fn resize(&mut self, balloon: u32, options: ResizeOptions) -> Result<u64> {
        let held = self.capacity - balloon;
        let resized = self.testbed.resize_to(held, options)?;
        ensure!(
            resized.held == held && resized.agreed,
            "a resize to {held} blocks ended as {} with {} held",
            resized.end,
            resized.held
        );
        if resized.from != held {
            self.testbed.guest().await_resized(held, PATIENCE)?;
        }
        Ok(resized.elapsed_ns)
    }

    /// Compares both lists and reads every block; records the row.
    fn check(&mut self, step: &Step, timing: Timing) -> Result<()> {
        let status = self.testbed.status()?;
        let info = self.testbed.guest().run(&Command::Info, PATIENCE)?;
        let lists_equal = info.iter().any(|report| {
            matches!(report, Report::Info(report::Info { held, digest, .. })
                if *held == status.held && format!("{digest:016x}") == status.digest)
        });
        let verify = Command::Verify(command::Verify {
            enforce: step.enforce,
        });
        let started = std::time::Instant::now();
        let reports = self.testbed.guest().run(&verify, PATIENCE)?;
        let verify_ns = started.elapsed().as_nanos() as u64;
        let Some(Report::Verified(report::Verified {
            ok,
            zeros,
            corrupt,
            errors,
            refused_by_driver,
            refused_by_device,
            unexpected,
            ..
        })) = reports.last()
        else {
            bail!("the guest did not report what it read");
        };
        let direction = if step.balloon < self.balloon {
            Direction::Grow
        } else {
            Direction::Shrink
        };
        self.folder.append(&CorrectnessRow {
            step: self.step,
            part: step.part.to_owned(),
            pick: step.pick.to_string(),
            direction,
            capacity_blocks: self.capacity,
            balloon_wanted_blocks: step.balloon,
            balloon_blocks: self.capacity - status.held,
            digest: status.digest,
            enforce: step.enforce.to_string(),
            read_errors: *errors,
            refused_by_driver: *refused_by_driver,
            refused_by_device: *refused_by_device,
            intact_blocks: *ok + *zeros,
            corrupt_blocks: *corrupt,
            unexpected_blocks: *unexpected,
            lists_equal,
            inflight_errors: timing.inflight_errors,
        })?;
        let real = self.testbed.transport() == Transport::Qemu;
        self.folder.append(&CorrectnessTimingRow {
            step: self.step,
            zero_blocks: *zeros,
            inflight_requests: timing.inflight_requests,
            resize_ns: real.then_some(timing.resize_ns),
            verify_ns: real.then_some(verify_ns),
        })?;
        self.step += 1;
        self.balloon = step.balloon;
        Ok(())
    }
}

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let steps = params.balloon_percent.len() as u64 + u64::from(params.random_steps) + 1;
    let bar = lab.progress.bar("correctness", steps);
    let shape = Shape {
        size: params.size,
        block_size: params.block_size,
        written: params.size,
    };
    let testbed = lab.testbed(shape, folder)?;
    let capacity = testbed.capacity();
    let mut run = Run {
        testbed,
        folder,
        capacity,
        step: 0,
        balloon: 0,
    };
    fill(&mut *run.testbed, lab.seed)?;
    let blocks = |percent: f64| (f64::from(capacity) * percent / 100.0).round() as u32;
    for (i, percent) in params.balloon_percent.iter().enumerate() {
        let step = Step {
            part: "walk",
            pick: params.picks[i % params.picks.len()],
            balloon: blocks(*percent),
            enforce: if (i as u32 + 1).is_multiple_of(params.device_enforces_every) {
                Enforce::Device
            } else {
                Enforce::Driver
            },
        };
        let seed = lab.seed.wrapping_add(i as u64);
        run.testbed.guest().set_pick(step.pick, seed, PATIENCE)?;
        let resize_ns = run.resize(step.balloon, Run::options(seed, Pick::Guest))?;
        let timing = Timing {
            resize_ns,
            ..Timing::default()
        };
        run.check(&step, timing)?;
        bar.inc(1);
    }
    // All blocks are back: after a rewrite the whole device must carry the new contents.
    fill(&mut *run.testbed, lab.seed.wrapping_add(1))?;
    let refilled = Step {
        part: "refill",
        pick: params.picks[0],
        balloon: 0,
        enforce: Enforce::Driver,
    };
    run.check(&refilled, Timing::default())?;
    bar.inc(1);
    random_walk(params, lab, &mut run, &bar)?;
    bar.finish_and_clear();
    run.testbed.shut_down()
}

/// Resizes of random sizes while the guest reads and writes.
fn random_walk(
    params: &Params,
    lab: &Lab,
    run: &mut Run<'_>,
    bar: &indicatif::ProgressBar,
) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(lab.seed);
    let most = f64::from(run.capacity) * params.random_percent / 100.0;
    for i in 0..params.random_steps {
        let seed = rng.random();
        let pick = params.picks[rng.random_range(0..params.picks.len())];
        let stress = Command::Stress(command::Stress {
            count: 0,
            seed,
            depth: DEFAULT_DEPTH,
            writes: 50,
            latency: false,
        });
        run.testbed.guest().set_pick(pick, seed, PATIENCE)?;
        run.testbed.guest().start(&stress)?;
        let mut resize_ns = 0;
        let mut balloon = 0;
        // Several resizes for each look, every third by the hypervisor's own picks.
        for j in 0..3 {
            balloon = rng.random_range(0..=most as u32);
            let pick = match (i + j) % 3 {
                0 => Pick::Host(HostPick::Uniform),
                _ => Pick::Guest,
            };
            resize_ns = run.resize(balloon, Run::options(seed, pick))?;
        }
        let reports = run.testbed.guest().stop(PATIENCE)?;
        let load = stressed(&reports)?;
        let step = Step {
            part: "random",
            pick,
            balloon,
            enforce: match i % 2 {
                0 => Enforce::Device,
                _ => Enforce::Driver,
            },
        };
        let timing = Timing {
            resize_ns,
            inflight_requests: load.reads + load.writes + load.lost_race,
            inflight_errors: load.errors + load.corrupt,
        };
        run.check(&step, timing)?;
        bar.inc(1);
    }
    Ok(())
}
