//! The guest's main loop: commands in, jobs run, resizes followed, reports out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use vssd::driver::Fault;
use vssd::units::{Geometry, SECTOR_SIZE};
use vssd::wire::{MARK_LEN, MARK_OFFSET, VERSION, marked_version};
use workloads::{Command, Report};

use crate::app::App;
use crate::channel::Lines;
use crate::disk::{BlockRequest, Disk};
use crate::job::{Fill, Flush, Job, Next, Read, ReadOptions, Stress, Verify, View};
use crate::port::{BlkOp, BlkPort, Exit, Machine, VssdPort};

/// A guest at work.
pub struct Guest<'m, M: Machine> {
    machine: &'m mut M,
    geometry: Geometry,
    disk: Disk,
    app: App,
    lines: Lines,
}

/// Reads the shape of the device and makes sure that it is a vSSD.
pub fn discover(port: &mut impl VssdPort) -> Result<Geometry, String> {
    let mut mark = [0; MARK_LEN];
    port.read_config(MARK_OFFSET, &mut mark);
    match marked_version(&mark) {
        Some(VERSION) => {}
        Some(version) => {
            return Err(format!(
                "the device speaks version {version} of the vSSD contract, this guest {VERSION}: \
                 use a guest and a backend of the same release"
            ));
        }
        None => {
            return Err(
                "the disk carries no vSSD mark: connect QEMU to the vSSD backend".to_string(),
            );
        }
    }
    let mut sectors = [0; 8];
    port.read_config(0, &mut sectors);
    let mut block_size = [0; 4];
    port.read_config(20, &mut block_size);
    let block_size = u32::from_le_bytes(block_size);
    let bytes = u64::from_le_bytes(sectors).saturating_mul(u64::from(SECTOR_SIZE));
    if block_size as usize > port.slot_len() {
        return Err(format!(
            "blocks of {block_size} bytes do not fit this guest's buffers"
        ));
    }
    Geometry::new(block_size, bytes / u64::from(block_size.max(1))).map_err(|e| e.to_string())
}

impl<'m, M: Machine> Guest<'m, M> {
    /// A guest on a vSSD of this shape, before its first exchange.
    pub fn new(machine: &'m mut M, geometry: Geometry) -> Self {
        let disk = Disk::new(geometry, machine.port());
        Self {
            machine,
            geometry,
            disk,
            app: App::new(geometry.capacity()),
            lines: Lines::default(),
        }
    }

    /// Carries out `script` and then what arrives on the channel.
    pub fn run(mut self, script: &str) -> Exit {
        self.lines.push_script(script);
        match self.serve() {
            Ok(exit) => exit,
            Err(fault) => {
                let reason = format!("gave up on the device: {fault}");
                self.report(&Report::Failed {
                    command: String::new(),
                    reason,
                });
                Exit::Failure
            }
        }
    }

    fn serve(&mut self) -> Result<Exit, Fault> {
        self.settle()?;
        let first_io_ns = self.first_io()?;
        let scripted = self.lines.is_waiting();
        self.report(&Report::Ready {
            version: env!("CARGO_PKG_VERSION").to_string(),
            block_size: self.geometry.block_size(),
            capacity: self.geometry.capacity(),
            held: self.disk.driver().held().len(),
            first_io_ns,
        });
        if !scripted && !self.machine.has_own_channel() {
            self.machine.log(format_args!(
                "type commands: info, fill, verify, read, exit, …"
            ));
        }
        loop {
            while let Some(line) = self.lines.pop() {
                let started = self.machine.now_ns();
                match line.parse::<Command>() {
                    Ok(Command::Exit) => {
                        self.done(line, started);
                        return Ok(Exit::Success);
                    }
                    Ok(command) => match self.carry_out(command)? {
                        Ok(()) => self.done(line, started),
                        Err(reason) => {
                            self.report(&Report::Failed {
                                command: line,
                                reason,
                            });
                            if scripted && !self.machine.has_own_channel() {
                                return Ok(Exit::Failure);
                            }
                        }
                    },
                    Err(error) => self.report(&Report::Failed {
                        command: line,
                        reason: error.to_string(),
                    }),
                }
            }
            if !self.turn()? {
                self.machine.idle();
            }
        }
    }

    fn done(&mut self, command: String, started_ns: u64) {
        let elapsed_ns = self.machine.now_ns() - started_ns;
        self.report(&Report::Done {
            command,
            elapsed_ns,
        });
    }

    /// Reads the first held block: how long a guest takes to its first I/O.
    /// Returns 0 when it holds none.
    fn first_io(&mut self) -> Result<u64, Fault> {
        let Some(first) = self.disk.driver().held().next_in(0) else {
            return Ok(0);
        };
        let request = BlockRequest {
            op: BlkOp::Read,
            first,
            count: 1,
        };
        self.disk.submit(self.machine, request);
        self.machine.port().kick();
        while self.disk.completion(self.machine).is_none() {
            if !self.turn()? {
                self.machine.idle();
            }
        }
        Ok(self.machine.now_ns())
    }

    fn carry_out(&mut self, command: Command) -> Result<Result<(), String>, Fault> {
        match command {
            Command::Info => {
                let held = self.disk.driver().held();
                let [surrendered, granted, revoked] = self.app.totals();
                let report = Report::Info {
                    block_size: self.geometry.block_size(),
                    capacity: held.capacity(),
                    held: held.len(),
                    digest: held.digest(),
                    surrendered,
                    granted,
                    revoked,
                };
                self.report(&report);
            }
            Command::Policy { policy, seed } => {
                self.app.set_policy(policy, seed);
                self.disk.reconsider();
            }
            Command::Hint {
                workload,
                seed,
                start,
                count,
            } => {
                let capacity = self.geometry.capacity();
                let sample = &mut self.app.sample;
                if let Err(error) = sample.draw(workload, seed, start, count, capacity) {
                    return Ok(Err(error.to_string()));
                }
            }
            Command::Fill { seed } => {
                self.app.contents.reseed(seed);
                self.work(Fill::default())?;
            }
            Command::Verify { enforce } => {
                self.work(Verify::new(enforce, self.geometry.capacity()))?;
            }
            Command::Read {
                workload,
                seed,
                start,
                count,
                depth,
                per_block,
                check,
            } => {
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
            Command::Stress {
                count,
                seed,
                depth,
                writes,
                latency,
            } => self.work(Stress::new(count, seed, depth, writes, latency))?,
            Command::Flush => {
                let flush = self.run_job(Flush::default())?;
                if !flush.succeeded {
                    return Ok(Err("the device failed the flush".to_string()));
                }
            }
            Command::Wait { held } => {
                while self.disk.driver().held().len() != held || !self.disk.driver().is_quiet() {
                    if !self.turn()? {
                        self.machine.idle();
                    }
                }
            }
            Command::Cache { .. }
            | Command::Replay { .. }
            | Command::Stamps { .. }
            | Command::WriteBack
            | Command::Close => return Ok(Err("this guest has no cache".to_string())),
            Command::Exit => {}
        }
        Ok(Ok(()))
    }

    /// Runs a job to its end and reports what it found.
    fn work(&mut self, job: impl Job) -> Result<(), Fault> {
        let job = self.run_job(job)?;
        for report in job.reports(&self.app) {
            self.report(&report);
        }
        Ok(())
    }

    /// Keeps the queue full for a job until it ends, then waits until the
    /// list is quiet, so that whatever it ran into has been explained.
    fn run_job<J: Job>(&mut self, mut job: J) -> Result<J, Fault> {
        self.app.lost.clear();
        let started_ns = self.machine.now_ns();
        if job.is_timed() {
            self.disk.watch(started_ns);
        }
        let mut ended = false;
        while !ended || self.disk.in_flight() > 0 {
            let mut progressed = self.turn()?;
            if !ended {
                let (any, end) = self.submit(&mut job);
                progressed |= any;
                ended = end;
            }
            while let Some(done) = self.disk.completion(self.machine) {
                progressed = true;
                let view = View {
                    disk: &self.disk,
                    geometry: self.geometry,
                    interrupted: false,
                };
                let bytes = done.request.count as usize * self.geometry.block_size() as usize;
                let buffer = &self.machine.port().buffer(done.slot)[..bytes];
                job.done(&done, &view, &mut self.app, buffer);
            }
            if !progressed {
                self.machine.idle();
            }
        }
        let phases = self.disk.unwatch();
        job.ended(started_ns, self.machine.now_ns(), &phases);
        self.settle()?;
        Ok(job)
    }

    /// Submits as much of a job as there is room for. Returns whether it did
    /// anything, and whether the job has no more.
    fn submit(&mut self, job: &mut impl Job) -> (bool, bool) {
        let mut any = false;
        let mut end = false;
        while self.disk.in_flight() < job.depth()
            && let Some(slot) = self.disk.free_slot()
        {
            let view = View {
                disk: &self.disk,
                geometry: self.geometry,
                interrupted: self.lines.is_waiting(),
            };
            let buffer = self.machine.port().buffer(slot);
            match job.next(&view, &mut self.app, buffer) {
                Next::Request(request) => self.disk.submit(self.machine, request),
                Next::Counted => {}
                Next::Later => break,
                Next::End => {
                    end = true;
                    break;
                }
            }
            any = true;
        }
        self.machine.port().kick();
        (any, end)
    }

    /// Waits until the list is attached and nothing is wanted of it.
    fn settle(&mut self) -> Result<(), Fault> {
        loop {
            let progressed = self.turn()?;
            if self.disk.driver().is_quiet() {
                return Ok(());
            }
            if !progressed {
                self.machine.idle();
            }
        }
    }

    /// One look at everything that may have happened besides I/O. Returns
    /// true when something had.
    fn turn(&mut self) -> Result<bool, Fault> {
        let mut progressed = self.disk.pump(self.machine, &mut self.app)?;
        progressed |= self.lines.poll(self.machine);
        if self.disk.driver().is_quiet()
            && let Some(report) = self.app.take_resized(self.disk.driver().held().len())
        {
            self.report(&report);
        }
        Ok(progressed)
    }

    fn report(&mut self, report: &Report) {
        send_report(self.machine, report);
    }
}

/// Sends a report: as JSON on a channel of its own, as a sentence to a person.
pub fn send_report(machine: &mut impl Machine, report: &Report) {
    if machine.has_own_channel() {
        let mut line: Vec<u8> = report.to_line().into_bytes();
        line.push(b'\n');
        machine.write_channel(&line);
    }
    // What comes by the thousand, or while somebody measures, is not printed
    // twice: a serial line is slow.
    let is_bulk = matches!(report, Report::Counts { .. } | Report::Resized { .. });
    if !machine.has_own_channel() || !is_bulk {
        machine.log(format_args!("{report}"));
    }
}
