//! Running a job: submitting and completing its requests, and settling the list afterwards.

use vssd::driver::Fault;

use super::Guest;
use crate::job::{Job, Next, View};
use crate::port::{BlkPort, Machine};

impl<M: Machine> Guest<'_, M> {
    /// Runs a job to its end and reports what it found.
    pub(super) fn work(&mut self, job: impl Job) -> Result<(), Fault> {
        let job = self.run_job(job)?;
        for report in job.reports(&self.app) {
            self.report(&report);
        }
        Ok(())
    }

    /// Keeps the queue full for a job until it ends, then waits until the list is quiet, so that
    /// the device has explained every failed request.
    pub(super) fn run_job<J: Job>(&mut self, mut job: J) -> Result<J, Fault> {
        self.app.lost.clear();
        let started_ns = self.now_ns();
        if job.is_timed() {
            self.hardware.borrow_mut().disk.watch(started_ns);
        }
        let mut ended = false;
        while !ended || self.hardware.borrow().disk.in_flight() > 0 {
            let mut progressed = self.poll()?;
            if !ended {
                let (any, end) = self.submit(&mut job);
                progressed |= any;
                ended = end;
            }
            let hw = &mut *self.hardware.borrow_mut();
            while let Some(done) = hw.disk.completion(hw.machine) {
                progressed = true;
                let view = View {
                    disk: &hw.disk,
                    geometry: self.geometry,
                    is_interrupted: false,
                };
                let bytes = done.request.count as usize * self.geometry.block_size() as usize;
                let buffer = &hw.machine.port().buffer(done.slot)[..bytes];
                job.done(&done, &view, &mut self.app, buffer);
            }
            if !progressed {
                hw.machine.idle();
            }
        }
        let phases = self.hardware.borrow_mut().disk.unwatch();
        job.ended(started_ns, self.now_ns(), &phases);
        self.settle()?;
        Ok(job)
    }

    /// Submits requests of a job while there are free slots. Returns whether there were any, and
    /// whether the job has ended.
    fn submit(&mut self, job: &mut impl Job) -> (bool, bool) {
        let mut any = false;
        let mut end = false;
        let hw = &mut *self.hardware.borrow_mut();
        while hw.disk.in_flight() < job.depth()
            && let Some(slot) = hw.disk.free_slot()
        {
            let view = View {
                disk: &hw.disk,
                geometry: self.geometry,
                is_interrupted: self.lines.is_waiting(),
            };
            let buffer = hw.machine.port().buffer(slot);
            match job.next(&view, &mut self.app, buffer) {
                Next::Request(request) => {
                    hw.disk.submit(hw.machine, request);
                }
                Next::Counted => {}
                Next::Later => break,
                Next::End => {
                    end = true;
                    break;
                }
            }
            any = true;
        }
        hw.machine.port().kick();
        (any, end)
    }
}
