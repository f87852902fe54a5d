//! How long requests took, by the phase that each belongs to.

use alloc::vec::Vec;

use workloads::latency::Histogram;
use workloads::{Report, report};

use crate::disk::Timing;
use crate::phases::Phase;

/// What was measured of a phase.
#[derive(Default)]
struct Measured {
    requests: Histogram,
    longest_stall_ns: u64,
}

/// Latencies of a job's requests, and how long it waited for the next.
#[derive(Default)]
pub struct Latencies {
    phases: Vec<Measured>,
    /// When a request came back last.
    last_ns: u64,
    /// No request was left in flight when it had.
    is_idle: bool,
    reports: Vec<Report>,
}

impl Latencies {
    /// Before the first request.
    pub fn new() -> Self {
        Self {
            is_idle: true,
            ..Self::default()
        }
    }

    /// Counts a request that came back and left others in flight, or none.
    pub fn record(&mut self, timing: &Timing, others: usize) {
        if self.phases.len() <= timing.phase {
            self.phases.resize_with(timing.phase + 1, Measured::default);
        }
        // After a rest, waiting begins with the next request.
        let waiting_since_ns = if self.is_idle {
            timing.submitted_ns
        } else {
            self.last_ns
        };
        let measured = &mut self.phases[timing.phase];
        measured
            .requests
            .record(timing.ended_ns.saturating_sub(timing.submitted_ns));
        let stall_ns = timing.ended_ns.saturating_sub(waiting_since_ns);
        measured.longest_stall_ns = measured.longest_stall_ns.max(stall_ns);
        self.last_ns = timing.ended_ns;
        self.is_idle = others == 0;
    }

    /// All is over: these were the phases, the last one until `ended_ns`.
    pub fn end(&mut self, phases: &[Phase], ended_ns: u64) {
        self.phases.resize_with(phases.len(), Measured::default);
        let ends = phases.iter().skip(1).map(|next| next.since_ns);
        self.reports = phases
            .iter()
            .zip(ends.chain([ended_ns]))
            .zip(&self.phases)
            .map(|((phase, end_ns), measured)| {
                Report::Latency(report::Latency {
                    phase: phase.kind,
                    phase_ns: end_ns.saturating_sub(phase.since_ns),
                    longest_stall_ns: measured.longest_stall_ns,
                    buckets: measured.requests.buckets(),
                })
            })
            .collect();
    }

    /// One report for each phase.
    pub fn reports(self) -> Vec<Report> {
        self.reports
    }
}
