//! What each command of an experiment does in the guest.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hint::black_box;

use guest_cache::mrc::DemandSampler;
use vssd::driver::{Driver, Fault};
use workloads::{Command, Report, command, report};

use super::Guest;
use crate::cached::MOST_SAMPLED;
use crate::job::{Fill, Flush, Read, ReadOptions, Stress, Verify};
use crate::port::{BlkPort, Machine, feature};
use crate::shape::why_fixed;

/// Accesses of a round of [`Command::TimeSampler`].
const DRAWN: u64 = 1 << 14;

/// Most of its accesses: until it is over, the guest does nothing else.
const MOST_TIMED: u32 = 10_000_000;

impl<M: Machine> Guest<'_, M> {
    /// Why a command cannot be carried out on this disk, if it cannot.
    fn refusal(&self, command: &Command) -> Option<String> {
        match command {
            Command::Policy(_) | Command::Hint(_) | Command::Wait(_) => why_fixed(self.shape.kind),
            Command::Fill(_)
            | Command::Stress(command::Stress { writes: 1.., .. })
            | Command::Cache(_)
                if self.shape.is_read_only =>
            {
                Some("the disk is read-only".to_string())
            }
            _ => None,
        }
    }

    pub(super) fn carry_out(&mut self, command: Command) -> Result<Result<(), String>, Fault> {
        if let Some(reason) = self.refusal(&command) {
            return Ok(Err(reason));
        }
        match command {
            Command::Fill(_) | Command::Verify(_) | Command::Read(_) | Command::Stress(_)
                if self.cache.is_some() =>
            {
                return Ok(Err(
                    "a cache is open, and what is on the vSSD is its own: `close` it first"
                        .to_string(),
                ));
            }
            Command::Info => {
                let report = self.info();
                self.report(&report);
            }
            Command::Policy(command::Policy { pick, seed }) => {
                self.app.set_pick(pick, seed);
                self.hardware.borrow_mut().disk.reconsider();
            }
            Command::Hint(command::Hint {
                workload,
                seed,
                start,
                count,
            }) => {
                let capacity = self.geometry.capacity();
                let sample = &mut self.app.sample;
                if let Err(error) = sample.draw(workload, seed, start, count, capacity) {
                    return Ok(Err(error.to_string()));
                }
            }
            Command::Fill(command::Fill { seed }) => {
                self.app.contents.reseed(seed);
                self.work(Fill::default())?;
            }
            Command::Verify(command::Verify { enforce }) => {
                self.work(Verify::new(enforce, self.geometry.capacity()))?;
            }
            Command::Read(command::Read {
                workload,
                seed,
                start,
                count,
                depth,
                per_block,
                check,
            }) => {
                let capacity = self.geometry.capacity();
                let stream = match workload.stream(capacity, seed, start) {
                    Ok(stream) => stream,
                    Err(error) => return Ok(Err(error.to_string())),
                };
                let options = ReadOptions {
                    count,
                    depth,
                    counted_blocks: if per_block { capacity } else { 0 },
                    check,
                };
                self.work(Read::new(stream, options))?;
            }
            Command::Stress(command::Stress {
                count,
                seed,
                depth,
                writes,
                latency,
            }) => self.work(Stress::new(count, seed, depth, writes, latency))?,
            Command::Flush if self.cache.is_none() => {
                self.log_missing_flush();
                let flush = self.run_job(Flush::default())?;
                if !flush.succeeded {
                    return Ok(Err("the device failed the flush".to_string()));
                }
            }
            Command::Wait(command::Wait { held }) => {
                let is_there = |driver: &Driver| driver.held().len() == held && driver.is_quiet();
                while !is_there(self.hardware.borrow().disk.driver()) {
                    self.poll_or_idle()?;
                }
            }
            Command::TimeSampler(command) => return Ok(self.time_sampler(command)),
            Command::Cache(_)
            | Command::Replay(_)
            | Command::Advise(_)
            | Command::DiscardBlocks(_)
            | Command::Stamps(_)
            | Command::WriteBack
            | Command::Flush
            | Command::Close => return self.carry_out_cached(command),
            Command::Exit => {}
        }
        Ok(Ok(()))
    }

    /// Times the sampler alone: accesses that were drawn before, in rounds of [`DRAWN`], of which the
    /// first fills the sample.
    fn time_sampler(&mut self, command: command::TimeSampler) -> Result<(), String> {
        let command::TimeSampler {
            workload,
            seed,
            span,
            sample,
            count,
        } = command;
        if count > MOST_TIMED {
            return Err(format!(
                "invalid `count` {count}; expected at most {MOST_TIMED}, as the guest does nothing else meanwhile"
            ));
        }
        let sampler = DemandSampler::new(sample.min(MOST_SAMPLED) as usize);
        let mut sampler = sampler.map_err(|error| error.to_string())?;
        let stream = workload.stream(span, seed, 0);
        let mut stream = stream.map_err(|error| error.to_string())?;
        let drawn: Vec<u32> = (0..DRAWN).map(|_| stream.next_block()).collect();
        let mut round = || {
            for block in &drawn {
                black_box(&mut sampler).access(*block, true, false);
            }
        };
        round();
        let rounds = u64::from(count).div_ceil(DRAWN).max(1);
        let started_ns = self.now_ns();
        (0..rounds).for_each(|_| round());
        let elapsed_ns = self.now_ns() - started_ns;
        self.report(&Report::SamplerTimed(report::SamplerTimed {
            accesses: rounds * DRAWN,
            elapsed_ns,
        }));
        Ok(())
    }

    fn log_missing_flush(&self) {
        let machine = &mut self.hardware.borrow_mut().machine;
        if machine.port().features() & feature::FLUSH == 0 {
            machine.log(format_args!(
                "the disk does not offer VIRTIO_BLK_F_FLUSH: its writes are durable when they end"
            ));
        }
    }

    fn info(&self) -> Report {
        let hw = self.hardware.borrow();
        let held = hw.disk.driver().held();
        let [surrendered, granted, revoked] = self.app.totals();
        Report::Info(report::Info {
            disk: self.shape.kind,
            read_only: self.shape.is_read_only,
            block_size: self.geometry.block_size(),
            capacity: held.capacity(),
            held: held.len(),
            digest: held.digest(),
            surrendered,
            granted,
            revoked,
        })
    }
}
