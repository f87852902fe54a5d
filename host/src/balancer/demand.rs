//! What a vSSD demanded in a period, from what its guest reports and what the host counts.
//!
//! A curve of one period is noisy, so each is blended with those before it. A guest that is late
//! once is taken to do what it did; one that stays silent is judged by its requests: it reads what
//! hits, and a cache writes what missed.

use vssd::demand::{ALL_MISS, Demand as Reported, Point};

use crate::arbiter::{Curve, Demand, Reports};

/// Periods without a report after which those before it are forgotten.
const FORGET_PERIODS: u32 = 4;

/// Blocks that requests read and wrote since the vSSD is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Blocks read.
    pub read: u64,
    /// Blocks written.
    pub written: u64,
}

/// What was heard of a vSSD at the end of a period.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Its requests so far.
    pub requests: Requests,
    /// A report that was not heard before, if one came; `None` in it if the guest has nothing to
    /// report.
    pub report: Option<Option<Reported>>,
}

/// What is remembered of the demand of a vSSD.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    requests: Option<Requests>,
    /// The demand of the last report, with blended curves.
    reported: Option<Demand>,
    /// The curves of the reports with accesses.
    reports: Reports,
    /// Periods since that report.
    silent: u32,
}

impl Memory {
    /// The demand of the period that ends.
    pub fn hear(&mut self, heard: &Heard) -> Demand {
        let before = self.requests.replace(heard.requests);
        match &heard.report {
            Some(Some(report)) => {
                let demand = self.blend(report);
                self.silent = 0;
                return self.reported.insert(demand).clone();
            }
            Some(None) => self.forget(),
            None => self.silent = self.silent.saturating_add(1),
        }
        if self.silent >= FORGET_PERIODS {
            self.forget();
        }
        self.reported
            .clone()
            .unwrap_or_else(|| counted(before, heard.requests))
    }

    /// Whether its guest reported a curve lately.
    pub fn has_curve(&self) -> bool {
        let reported = self.reported.as_ref();
        reported.is_some_and(|demand| demand.curve.is_some())
    }

    /// The part of the accesses that hit, as its guest reported it lately.
    pub fn hit_ratio(&self) -> Option<f64> {
        let reported = self.reported.as_ref();
        let reported = reported.filter(|demand| demand.accesses > 0)?;
        Some(reported.hits as f64 / reported.accesses as f64)
    }

    fn forget(&mut self) {
        self.reported = None;
        self.reports = Reports::default();
    }

    fn blend(&mut self, report: &Reported) -> Demand {
        if report.accesses > 0 {
            let accesses = report.accesses as f64;
            let [curve, reads] =
                [&report.curve, &report.reads].map(|points| curve(accesses, points).ok());
            self.reports.add(curve, reads);
        }
        Demand {
            accesses: report.accesses,
            hits: report.hits,
            writes: report.writes,
            curve: self.reports.curve().cloned(),
            reads: self.reports.reads().cloned(),
            recent: None,
            wanted: None,
        }
    }
}

fn curve(accesses: f64, points: &[Point]) -> Result<Curve, crate::arbiter::BadCurve> {
    let ratio = |point: &Point| f64::from(point.misses) / f64::from(ALL_MISS);
    let steps = points.iter().map(|point| (point.blocks, ratio(point)));
    Curve::of_steps(accesses, steps)
}

/// The demand by requests. Of the first period it is not known which are its own.
fn counted(before: Option<Requests>, now: Requests) -> Demand {
    let before = before.unwrap_or(now);
    // Both begin anew when a vSSD is served again.
    let read = now.read.saturating_sub(before.read);
    let written = now.written.saturating_sub(before.written);
    Demand {
        accesses: read + written,
        hits: read,
        writes: written,
        ..Demand::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(accesses: u64, points: &[(u32, u32)]) -> Heard {
        let point = |(blocks, percent): &(u32, u32)| Point {
            blocks: *blocks,
            misses: ALL_MISS / 100 * percent,
        };
        let demand = Reported {
            accesses,
            hits: accesses / 4,
            curve: points.iter().map(point).collect(),
            ..Reported::default()
        };
        Heard {
            report: Some(Some(demand)),
            ..Heard::default()
        }
    }

    fn requests(read: u64, written: u64) -> Heard {
        Heard {
            requests: Requests { read, written },
            report: None,
        }
    }

    fn ratio(demand: &Demand, blocks: u32) -> f64 {
        let curve = demand.curve.as_ref().unwrap();
        (100.0 * curve.misses(blocks) / curve.accesses()).round()
    }

    #[test]
    fn curves_are_blended_and_follow_the_accesses() {
        let mut memory = Memory::default();
        let demand = memory.hear(&report(1000, &[(10, 80)]));
        assert_eq!((demand.accesses, ratio(&demand, 10)), (1000, 80.0));
        let demand = memory.hear(&report(200, &[(10, 40)]));
        assert_eq!((demand.accesses, ratio(&demand, 10)), (200, 60.0));
        assert_eq!(memory.hit_ratio(), Some(0.25));
        // An idle period says nothing of the curve.
        let demand = memory.hear(&report(0, &[]));
        assert_eq!((demand.accesses, ratio(&demand, 10)), (0, 60.0));
        assert_eq!(memory.hit_ratio(), None);
        // More accesses than can be counted make no curve, and leave the last.
        let demand = memory.hear(&report(u64::MAX, &[(10, 1)]));
        assert_eq!(ratio(&demand, 10), 60.0);
    }

    #[test]
    fn a_late_guest_does_what_it_did_and_a_silent_one_is_judged_by_its_requests() {
        let mut memory = Memory::default();
        memory.hear(&report(1000, &[(10, 80)]));
        for period in 1..FORGET_PERIODS {
            let demand = memory.hear(&requests(10 * u64::from(period), 0));
            assert_eq!(demand.accesses, 1000, "period {period}");
        }
        assert!(memory.has_curve());
        let demand = memory.hear(&requests(100, 20));
        assert_eq!((demand.accesses, demand.hits, demand.writes), (90, 70, 20));
        assert!(!memory.has_curve());
        // Served again, it counts from zero.
        assert_eq!(memory.hear(&requests(5, 0)).accesses, 0);
        assert_eq!(Memory::default().hear(&requests(500, 500)).accesses, 0);
    }

    #[test]
    fn a_guest_without_anything_to_report_is_judged_at_once() {
        let mut memory = Memory::default();
        memory.hear(&report(1000, &[(10, 80)]));
        let heard = Heard {
            report: Some(None),
            ..requests(7, 0)
        };
        assert_eq!(memory.hear(&heard).accesses, 7);
        assert_eq!(memory.hit_ratio(), None);
    }
}
