//! How it runs.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::backend::{Backend, vssd_name};
use lab::fleet::{Fleet, FleetVm};
use lab::guest::Guest;
use lab::testbed::GuestChannel;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use results::store::RunFolder;
use terminal::interrupt;
use vssd_host::control::Client;
use vssd_host::control::client::ClientError;
use vssd_host::control::protocol::{Change, Reply, Request, Resize, Resized};
use vssd_host::size::Amount;
use workloads::command::Enforce;
use workloads::{Command, Content, GuestPick, HostPick, Pick, Report, command, report};

use super::faults::Origins;
use super::params::Params;
use super::rows::{SharingCheckRow, SharingRow};
use crate::experiments::common::boot;
use crate::experiments::common::lab::Lab;
use crate::experiments::common::reports::stressed;

/// How long one pass over a device, or one resize, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How guests pick, by turns.
const PICKS: [GuestPick; 3] = [GuestPick::Random, GuestPick::Scattered, GuestPick::Highest];

/// What a round begins with.
#[derive(Clone, Copy, PartialEq, Eq, strum::AsRefStr)]
#[strum(serialize_all = "kebab-case")]
enum Event {
    Calm,
    Rebooted,
    BackendRestarted,
}

impl Event {
    fn of_round(round: u32) -> Self {
        match round % 3 {
            0 => Self::Calm,
            1 => Self::Rebooted,
            _ => Self::BackendRestarted,
        }
    }
}

/// What the load of a guest came to.
#[derive(Clone, Copy, Default)]
struct StressCounts {
    requests: u64,
    errors: u64,
}

/// What a VM wrote is made of its seed. The first has the one that every guest
/// boots with, so that it knows its blocks again after it was killed.
fn content_seed(lab: &Lab, vm: usize) -> u64 {
    match vm {
        0 => 1,
        _ => lab.seed.wrapping_mul(1000).wrapping_add(1 + vm as u64),
    }
}

struct Run<'a> {
    params: &'a Params,
    lab: &'a Lab,
    folder: &'a mut RunFolder,
    began: Instant,
}

pub(crate) fn run(params: &Params, lab: &Lab, folder: &mut RunFolder) -> Result<()> {
    let vm_host = lab.vm_host()?;
    let bar = lab.progress.bar("sharing", u64::from(params.rounds) + 1);
    let mut fleet = Fleet::start(vm_host, params.shape(), params.sharing())?;
    for vm in &fleet.vms {
        boot::record(folder, vm_host, &vm.guest)?;
    }
    let mut run = Run {
        params,
        lab,
        folder,
        began: Instant::now(),
    };
    run.fill(&mut fleet)?;
    let idle = vec![StressCounts::default(); params.vms];
    run.check(&mut fleet, 0, "start", &idle)?;
    bar.inc(1);
    for round in 0..params.rounds {
        interrupt::check()?;
        fleet = run.round(fleet, round)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    fleet.shut_down()
}

impl Run<'_> {
    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn fill(&self, fleet: &mut Fleet) -> Result<()> {
        for (vm, FleetVm { guest, .. }) in fleet.vms.iter_mut().enumerate() {
            let seed = content_seed(self.lab, vm);
            let reports = guest.run(&Command::Fill(command::Fill { seed }), PATIENCE)?;
            let filled = matches!(
                reports.last(),
                Some(Report::Filled(report::Filled { errors: 0, .. }))
            );
            ensure!(filled, "{} could not write its blocks", vssd_name(vm));
        }
        Ok(())
    }

    fn round(&mut self, mut fleet: Fleet, round: u32) -> Result<Fleet> {
        let seed = self.lab.seed.wrapping_mul(1 << 20) + u64::from(round);
        let pick = PICKS[round as usize % PICKS.len()];
        for FleetVm { guest, .. } in &mut fleet.vms {
            guest.set_pick(pick, seed, PATIENCE)?;
            guest.start(&self.load(seed))?;
        }
        let event = Event::of_round(round);
        match event {
            Event::Calm => {}
            Event::Rebooted => {
                await_writes(&fleet.backend)?;
                fleet.kill_guest(0)?;
                boot::record(self.folder, self.lab.vm_host()?, &fleet.vms[0].guest)?;
                // What it finds now was written before it was killed.
                let found = verify(&mut fleet.vms[0].guest)?;
                self.record(&fleet, 0, round, "killed", found, StressCounts::default())?;
                let guest = &mut fleet.vms[0].guest;
                guest.set_pick(pick, seed, PATIENCE)?;
                guest.start(&self.load(seed))?;
            }
            Event::BackendRestarted => {
                await_writes(&fleet.backend)?;
                fleet = fleet.kill_backend()?;
            }
        }
        self.resizes(&fleet.backend, round, seed)?;
        let loads = self.stop_all(&mut fleet, (round, event.as_ref()))?;
        self.check(&mut fleet, round, event.as_ref(), &loads)?;
        Ok(fleet)
    }

    /// Takes the load off all guests; faults are recorded.
    fn stop_all(&mut self, fleet: &mut Fleet, round: (u32, &str)) -> Result<Vec<StressCounts>> {
        let origins = Origins {
            vms: (0..self.params.vms)
                .map(|vm| (vssd_name(vm), Content::new(content_seed(self.lab, vm))))
                .collect(),
            blocks: (self.params.size.0 / self.params.block_size.0) as u32,
            block_size: self.params.block_size.0,
        };
        let mut loads = Vec::new();
        for (vm, FleetVm { guest, .. }) in fleet.vms.iter_mut().enumerate() {
            let reports = guest.stop(PATIENCE)?;
            loads.push(load_of(&reports)?);
            let statuses = fleet.backend.statuses()?;
            let status = statuses.get(vm).context("every VM has a vSSD")?;
            let faults = origins.rows(&reports, round, status);
            faults.iter().try_for_each(|row| self.folder.append(row))?;
        }
        Ok(loads)
    }

    fn load(&self, seed: u64) -> Command {
        Command::Stress(command::Stress {
            count: 0,
            seed,
            depth: self.params.depth,
            writes: self.params.writes_percent,
            latency: false,
        })
    }

    /// Resizes all VMs at once, each by a thread and a connection of its own.
    fn resizes(&mut self, backend: &Backend, round: u32, seed: u64) -> Result<()> {
        let (params, limit) = (self.params, self.params.limit_blocks());
        let began = self.began;
        let rows = thread::scope(|scope| {
            let resizers: Vec<_> = (0..params.vms)
                .map(|vm| {
                    let rng = SmallRng::seed_from_u64(seed ^ (vm as u64) << 40);
                    scope.spawn(move || {
                        let resizer = Resizer {
                            client: backend.client(Some(PATIENCE))?,
                            backend,
                            vm,
                            rng,
                            params,
                            limit,
                            began,
                        };
                        resizer.run(round)
                    })
                })
                .collect();
            resizers
                .into_iter()
                .map(|thread| thread.join().expect("a resizer does not panic"))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut rows: Vec<SharingRow> = rows.into_iter().flatten().collect();
        rows.sort_by_key(|row| row.at_ns);
        rows.iter().try_for_each(|row| self.folder.append(row))
    }

    /// Compares the lists of all VMs, and reads every block of every guest.
    fn check(
        &mut self,
        fleet: &mut Fleet,
        round: u32,
        after: &str,
        loads: &[StressCounts],
    ) -> Result<()> {
        fleet.backend.await_agreed()?;
        for (vm, load) in loads.iter().enumerate() {
            let found = verify(&mut fleet.vms[vm].guest)?;
            self.record(fleet, vm, round, after, found, *load)?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        fleet: &Fleet,
        vm: usize,
        round: u32,
        after: &str,
        found: Found,
        load: StressCounts,
    ) -> Result<()> {
        let statuses = fleet.backend.statuses()?;
        let status = statuses.get(vm).context("every VM has a vSSD")?;
        self.folder.append(&SharingCheckRow {
            round,
            after: after.to_owned(),
            vssd: status.name.clone(),
            at_ns: self.now_ns(),
            capacity_blocks: status.capacity,
            held_blocks: status.held,
            held_by_all_blocks: statuses.iter().map(|status| status.held).sum(),
            limit_blocks: self.params.limit_blocks(),
            lists_equal: found.held == status.held && found.digest == status.digest,
            own_blocks: found.own,
            zero_blocks: found.zeros,
            foreign_blocks: found.foreign,
            unexpected_blocks: found.unexpected,
            inflight_requests: load.requests,
            inflight_errors: load.errors,
        })
    }
}

/// Waits until every guest has had requests served, so that what comes next
/// comes under load.
fn await_writes(backend: &Backend) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    let writes = || -> Result<Vec<u64>> {
        let statuses = backend.statuses()?;
        Ok(statuses.iter().map(|s| s.counters.writes).collect())
    };
    let before = writes()?;
    while writes()?.iter().zip(&before).any(|(now, then)| now <= then) {
        ensure!(
            Instant::now() < until,
            "a guest under load writes nothing any more"
        );
    }
    Ok(())
}

/// What a guest says of its list and of its blocks.
struct Found {
    held: u32,
    digest: String,
    own: u32,
    zeros: u32,
    foreign: u32,
    unexpected: u32,
}

fn verify(guest: &mut Guest) -> Result<Found> {
    let enforce = Enforce::Device;
    let read = guest.run(&Command::Verify(command::Verify { enforce }), PATIENCE)?;
    let info = guest.run(&Command::Info, PATIENCE)?;
    match (read.last(), info.last()) {
        (
            Some(Report::Verified(report::Verified {
                ok,
                zeros,
                corrupt,
                unexpected,
                ..
            })),
            Some(Report::Info(report::Info { held, digest, .. })),
        ) => Ok(Found {
            held: *held,
            digest: format!("{digest:016x}"),
            own: *ok,
            zeros: *zeros,
            foreign: *corrupt,
            unexpected: *unexpected,
        }),
        _ => bail!("the guest did not say what it read"),
    }
}

/// What a guest says of its load.
fn load_of(reports: &[Report]) -> Result<StressCounts> {
    let load = stressed(reports)?;
    Ok(StressCounts {
        requests: load.reads + load.writes + load.lost_race,
        errors: load.errors + load.corrupt,
    })
}

/// Resizes a VM again and again.
struct Resizer<'a> {
    client: Client,
    backend: &'a Backend,
    vm: usize,
    rng: SmallRng,
    params: &'a Params,
    limit: u32,
    began: Instant,
}

impl Resizer<'_> {
    fn run(mut self, round: u32) -> Result<Vec<SharingRow>> {
        (0..self.params.resizes)
            .map(|_| {
                interrupt::check()?;
                let pause_ms = self.rng.random_range(0..=self.params.pause_ms);
                thread::sleep(Duration::from_millis(pause_ms));
                self.resize(round)
            })
            .collect()
    }

    fn chance(&mut self, percent: f64) -> bool {
        self.rng.random_range(0.0..100.0) < percent
    }

    /// Grows by what seems to be free, or shrinks, by a random number of blocks.
    /// Another VM may take first what seemed to be free: then the pool refuses.
    fn resize(&mut self, round: u32) -> Result<SharingRow> {
        let statuses = self.client.status()?.vssds;
        let status = &statuses[self.vm];
        let all: u32 = statuses.iter().map(|status| status.held).sum();
        let room = (status.capacity - status.held).min(self.limit.saturating_sub(all));
        let grows = room > 0 && (status.held < 2 || self.chance(50.0));
        let target = if grows {
            status.held + self.rng.random_range(1..=room)
        } else {
            status.held - self.rng.random_range(0..=status.held / 2)
        };
        let mut resize = Resize::new(&status.name, Change::To(Amount::Blocks(target.into())));
        resize.deadline_ms = PATIENCE.as_millis() as u64 / 2;
        resize.seed = Some(self.rng.random());
        if !grows && self.chance(self.params.revoke_percent) {
            resize.pick = Pick::Host(HostPick::Uniform);
        }
        let kind = match (grows, resize.pick) {
            (true, _) => "grow",
            (false, Pick::Guest) => "shrink",
            (false, _) => "revoke",
        };
        let cancelled = self.chance(self.params.cancel_percent);
        let resized = if cancelled {
            self.cancelled(resize)
        } else {
            self.client.resize(resize).map_err(Into::into)
        };
        let resized = match resized {
            Ok(resized) => Some(resized),
            Err(error) if grows && is_refusal(&error) => None,
            Err(error) => return Err(error.context(format!("{kind} {}", status.name))),
        };
        let at_ns = self.began.elapsed().as_nanos() as u64;
        Ok(SharingRow {
            round,
            vssd: status.name.clone(),
            kind: kind.to_owned(),
            cancelled,
            from_blocks: resized.as_ref().map_or(status.held, |r| r.from),
            target_blocks: target,
            held_blocks: resized.as_ref().map_or(status.held, |r| r.held),
            revoked_blocks: resized.as_ref().map_or(0, |r| r.revoked),
            agreed: resized.as_ref().is_none_or(|r| r.agreed),
            elapsed_ns: resized.as_ref().map_or(0, |r| r.elapsed_ns),
            ended: resized.map_or_else(|| "refused".to_owned(), |r| r.end),
            at_ns,
        })
    }

    /// Starts a resize and takes it back at once; returns how it ended, which
    /// may be that it was quicker.
    fn cancelled(&mut self, mut resize: Resize) -> Result<Resized> {
        resize.wait = false;
        let vssd = resize.vssd.clone();
        let id = match self.client.call(&Request::Resize(resize))? {
            Reply::Started { id } => id,
            other => bail!("the backend answered {other:?}"),
        };
        match self.client.call(&Request::Cancel { vssd: vssd.clone() }) {
            Ok(_) | Err(ClientError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let mut watch = self.backend.client(Some(PATIENCE))?;
        watch.send(&Request::Watch {})?;
        let until = Instant::now() + PATIENCE;
        loop {
            let Reply::Status(status) = watch.receive()? else {
                bail!("the backend answered something else than its state");
            };
            let of = status.vssds.into_iter().find(|of| of.name == vssd);
            match of.and_then(|of| of.last_resize) {
                Some(resized) if resized.id == id => return Ok(resized),
                _ if Instant::now() > until => bail!("a cancelled resize of {vssd} does not end"),
                _ => {}
            }
        }
    }
}

fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<ClientError>(),
        Some(ClientError::Refused(_))
    )
}
