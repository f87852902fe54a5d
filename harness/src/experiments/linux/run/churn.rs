//! Resizes under load, with events between them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::linux::testbed::LinuxTestbed;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use results::store::RunFolder;

use super::site::Site;
use super::{agent, scripts};
use crate::experiments::common::params::in_blocks_of;
use crate::experiments::linux::file_system::{FileSystem, MOUNT};
use crate::experiments::linux::params::Churn;
use crate::experiments::linux::rows::{LinuxCheckRow, LinuxResizeRow};

/// The vSSD in the guest.
pub(super) const DISK: &str = "/dev/vda";

/// Timeout for scripts that end by themselves.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Lines of a console that tell of failures and are noted in the manifest.
const LINES_NOTED: usize = 20;

/// What happens between two resizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Reboot,
    Kill,
    PowerCut,
}

/// The events before each resize but the first, spread evenly and of each kind in turn.
fn events(churn: &Churn) -> Vec<Vec<Event>> {
    let mut left = [
        (Event::Reboot, churn.reboots),
        (Event::Kill, churn.kills),
        (Event::PowerCut, churn.power_cuts),
    ];
    let mut all = Vec::new();
    while left.iter().any(|(_, count)| *count > 0) {
        for (event, count) in left.iter_mut().filter(|(_, count)| *count > 0) {
            *count -= 1;
            all.push(*event);
        }
    }
    let (count, resizes) = (all.len() + 1, churn.resizes as usize);
    let mut at = vec![Vec::new(); resizes];
    for (place, event) in all.into_iter().enumerate() {
        at[(place + 1) * resizes / count].push(event);
    }
    at
}

/// What the jobs counted so far.
#[derive(Debug, Default)]
struct Counts {
    fio_rounds: u64,
    fio_failures: u64,
    files_checked: u64,
    files_bad: u64,
}

/// A file system under load.
struct Loaded<'a> {
    testbed: LinuxTestbed,
    file_system: FileSystem,
    folder: &'a mut RunFolder,
    random: StdRng,
    counts: Counts,
    /// Files written that must be there.
    kept: u32,
}

pub(super) fn run(site: &Site<'_>, file_system: FileSystem, folder: &mut RunFolder) -> Result<()> {
    let (params, churn) = (site.params, &site.params.churn);
    let capacity = params.capacity()?;
    let floor = in_blocks_of(params.block_size, "churn.floor", churn.floor)?;
    let mut testbed = site.guest(params.size, params.size, Vec::new())?;
    let boot_ns = testbed.guest.ready.as_nanos() as u64;
    testbed.guest.expect(&file_system.make(DISK), PATIENCE)?;
    let mut loaded = Loaded {
        testbed,
        file_system,
        folder,
        random: StdRng::seed_from_u64(site.lab.seed),
        counts: Counts::default(),
        kept: 0,
    };
    loaded.mount()?;
    loaded.start_jobs()?;
    let name = format!("{file_system}: resizes under load");
    let bar = site.lab.progress.bar(&name, u64::from(churn.resizes));
    for (number, events) in (0..churn.resizes).zip(events(churn)) {
        for event in events {
            loaded = loaded.suffer(event)?;
        }
        loaded.resize(number, floor, capacity)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    loaded.end(churn, params.block_size.0, boot_ns)
}

impl Loaded<'_> {
    fn mount(&mut self) -> Result<()> {
        let mount = self.file_system.mount(DISK);
        self.testbed.guest.expect(&mount, PATIENCE)?;
        agent::start(&mut self.testbed).map(drop)
    }

    fn unmount(&mut self) -> Result<()> {
        agent::stop(&mut self.testbed.guest)?;
        let unmount = format!("umount {MOUNT}");
        self.testbed.guest.expect(&unmount, PATIENCE).map(drop)
    }

    fn start_jobs(&mut self) -> Result<()> {
        let guest = &mut self.testbed.guest;
        guest.expect(&scripts::go(), PATIENCE)?;
        let seed = u64::from(self.random.random::<u16>());
        guest.start_job("fio", &scripts::fio(seed))?;
        guest.start_job("churn", &scripts::churn(seed))
    }

    /// Ends the jobs and adds what they counted.
    fn end_jobs(&mut self) -> Result<()> {
        let guest = &mut self.testbed.guest;
        guest.expect(&scripts::halt(), PATIENCE)?;
        let mut ended = |name: &str| {
            let output = guest.finish_job(name, PATIENCE)?;
            scripts::numbers::<2>(&output.text)
                .with_context(|| format!("the job {name} printed no counts: {}", output.text))
        };
        let [rounds, failures] = ended("fio")?;
        let [checked, bad] = ended("churn")?;
        self.counts.fio_rounds += rounds;
        self.counts.fio_failures += failures;
        self.counts.files_checked += checked;
        self.counts.files_bad += bad;
        Ok(())
    }

    /// Writes a file that must survive.
    fn keep(&mut self) -> Result<()> {
        let script = scripts::keep(self.kept);
        self.testbed.guest.expect(&script, PATIENCE)?;
        self.kept += 1;
        Ok(())
    }

    fn suffer(mut self, event: Event) -> Result<Self> {
        self.keep()?;
        match event {
            Event::Kill => {
                self.testbed = self.testbed.kill_backend()?;
                self.testbed.await_agreed()?;
                return Ok(self);
            }
            Event::Reboot => {
                self.end_jobs()?;
                self.unmount()?;
                self.testbed.guest.reboot()?;
            }
            // What the jobs counted is lost with the guest.
            Event::PowerCut => self.testbed = self.testbed.cut_power()?,
        }
        self.mount()?;
        if event == Event::PowerCut {
            // Files that were not on disk yet may be there without their contents.
            let forget = format!("rm -rf {MOUNT}/churn");
            self.testbed.guest.expect(&forget, PATIENCE)?;
        }
        self.start_jobs()?;
        Ok(self)
    }

    fn resize(&mut self, number: u32, floor: u32, capacity: u32) -> Result<()> {
        self.keep()?;
        let from_blocks = self.testbed.vssd.status()?.held;
        let target_blocks = self.random.random_range(floor..=capacity);
        let began = Instant::now();
        let resized = agent::resize(&mut self.testbed, target_blocks)?;
        let elapsed_ns = began.elapsed().as_nanos() as u64;
        self.folder.append(&LinuxResizeRow {
            file_system: self.file_system,
            number,
            from_blocks,
            target_blocks,
            held_blocks: resized.held,
            revoked_blocks: resized.revoked,
            end: resized.end,
            agreed: resized.agreed,
            elapsed_ns,
        })
    }

    fn end(mut self, churn: &Churn, block_size: u64, boot_ns: u64) -> Result<()> {
        self.end_jobs()?;
        let guest = &mut self.testbed.guest;
        let compared = guest.expect(&scripts::compare_kept(), PATIENCE)?;
        let [found, bad] = scripts::numbers::<2>(&compared)
            .with_context(|| format!("no counts in: {compared}"))?;
        let balloon = guest.expect(&scripts::balloon(block_size), PATIENCE)?;
        let [_, balloon_blocks] =
            scripts::numbers::<2>(&balloon).with_context(|| format!("no counts in: {balloon}"))?;
        let agent_bytes = agent::memory(guest)?;
        let status = self.testbed.await_agreed()?;
        self.unmount()?;
        let guest = &mut self.testbed.guest;
        let log = guest.failures()?;
        let fsck = guest.run(&self.file_system.check(DISK), PATIENCE)?;
        let all = guest.failures()?;
        let during_fsck = all.len() - log.len();
        let Counts {
            fio_rounds,
            fio_failures,
            files_checked,
            files_bad,
        } = self.counts;
        self.folder.append(&LinuxCheckRow {
            file_system: self.file_system,
            reboots: churn.reboots,
            kills: churn.kills,
            power_cuts: churn.power_cuts,
            fio_rounds,
            fio_failures,
            files_checked,
            files_bad,
            kept_checked: u64::from(self.kept),
            kept_bad: bad + u64::from(self.kept).saturating_sub(found),
            log_failures: log.len() as u64,
            fsck_log_failures: during_fsck as u64,
            fsck_code: fsck.code,
            taken_blocks: status.capacity - status.held,
            balloon_blocks,
            agreed: status.agreed,
            agent_bytes,
            boot_ns,
        })?;
        if !all.is_empty() {
            let name = format!("{}_failures", self.file_system);
            self.folder
                .fact(&name, &all[..all.len().min(LINES_NOTED)])?;
        }
        self.testbed.shut_down()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vssd_host::size::ByteSize;

    #[test]
    fn events_are_spread_and_alternate() {
        let churn = |resizes, reboots, kills, power_cuts| Churn {
            resizes,
            floor: ByteSize(0),
            reboots,
            kills,
            power_cuts,
        };
        let at = events(&churn(20, 1, 1, 0));
        assert_eq!(at.len(), 20);
        assert_eq!(
            (&at[6], &at[13]),
            (&vec![Event::Reboot], &vec![Event::Kill])
        );
        let all: usize = events(&churn(3, 5, 2, 4)).iter().map(Vec::len).sum();
        assert_eq!(all, 11);
        assert!(events(&churn(4, 0, 0, 0)).iter().all(Vec::is_empty));
    }
}
