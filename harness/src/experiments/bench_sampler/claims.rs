//! Claims of the bench-sampler experiment.

use std::collections::BTreeMap;

use results::stats::{Interval, Ratio, median};
use results::table::{Table, or_dash};
use results::verdict::{Measured, Verdict, distinct};

use super::{SamplerAloneRow, SamplerRow, Side};

/// Bar for the sampler's part of a request's time.
const PART: f64 = 0.02;

/// What was measured with one load.
struct Load<'a> {
    name: &'a str,
    /// Nanoseconds a request and hits, by pair.
    sampled: BTreeMap<u32, (f64, u64)>,
    plain: BTreeMap<u32, (f64, u64)>,
    /// Nanoseconds an access of the sampler alone.
    alone: Vec<f64>,
}

impl<'a> Load<'a> {
    fn of(name: &'a str, rows: &[SamplerRow], alone: &[SamplerAloneRow]) -> Self {
        let side = |side| {
            let of_side = rows
                .iter()
                .filter(|row| row.load == name && row.side == side);
            of_side
                .map(|row| {
                    let ns = row.elapsed_ns as f64 / row.requests as f64;
                    (row.pair, (ns, row.hits))
                })
                .collect()
        };
        let alone = alone.iter().filter(|row| row.load == name);
        Self {
            name,
            sampled: side(Side::Sampled),
            plain: side(Side::Plain),
            alone: alone
                .map(|row| row.elapsed_ns as f64 / row.accesses as f64)
                .collect(),
        }
    }

    /// Whether both sides of each pair have as many hits.
    fn is_even(&self) -> bool {
        let hits = |side: &BTreeMap<u32, (f64, u64)>| {
            let of = side.iter().map(|(pair, (_, hits))| (*pair, *hits));
            of.collect::<Vec<_>>()
        };
        hits(&self.sampled) == hits(&self.plain)
    }

    /// Median nanoseconds of a request without the sample.
    fn plain_ns(&self) -> Option<f64> {
        median(self.plain.values().map(|(ns, _)| *ns))
    }

    /// The sampler's part of a request: an access of it over a request without it, each the median.
    fn part(&self) -> Option<Interval> {
        let plain: Vec<f64> = self.plain.values().map(|(ns, _)| *ns).collect();
        let alone = median(self.alone.iter().copied())?;
        Interval::of(plain.len(), |drawn| {
            alone / median(drawn.iter().map(|at| plain[*at])).unwrap_or(f64::NAN)
        })
    }

    /// Times of a replay with the sample over those without, by pair.
    fn ratio(&self) -> Option<Ratio> {
        let pairs = self.sampled.iter();
        Ratio::of_pairs(pairs.filter_map(|(pair, (ns, _))| Some(ns / self.plain.get(pair)?.0)))
    }
}

/// Judges the rows.
pub(crate) fn judge(rows: &[SamplerRow], alone: &[SamplerAloneRow]) -> Verdict {
    let names = distinct(rows.iter().map(|row| row.load.as_str()));
    let loads = names.into_iter().map(|name| Load::of(name, rows, alone));
    let loads: Vec<Load<'_>> = loads.collect();
    let mut verdict = Verdict::new("What sampling costs a guest").require(
        "Both guests hit and miss alike: the sample changes no decision of the cache.",
        Measured::every(&loads, "loads", |load| load.is_even()),
    );
    for load in &loads {
        let measured = load.part().map(|part| {
            let percent = |part: f64| format!("{:.2}", 100.0 * part);
            let bounds = part.bounds.map_or(String::new(), |(low, high)| {
                format!(" [{}, {}]", percent(low), percent(high))
            });
            let evidence = format!("{}{bounds} %.", percent(part.value));
            Measured::new(part.at_most(PART), evidence)
        });
        let text = format!(
            "{}: the sampler takes at most {:.0} % of the time of a request.",
            load.name,
            100.0 * PART
        );
        verdict = verdict.require(text, measured);
    }
    let pairs = loads.iter().filter_map(|load| {
        let ratio = load.ratio()?;
        Some(format!(
            "{}: a replay with the sample took {:.2}x as long as one without ({} pairs; {}).",
            load.name,
            ratio.median,
            load.sampled.len(),
            ratio.interval()
        ))
    });
    verdict.findings(pairs).tables([costs(&loads)])
}

fn costs(loads: &[Load<'_>]) -> Table {
    let ns = |ns: Option<f64>, decimals: usize| or_dash(ns, |ns| format!("{ns:.decimals$}"));
    Table::of(
        "Times (medians)",
        loads,
        &[
            ("load", &|load| load.name.to_owned()),
            ("a request (ns)", &|load| ns(load.plain_ns(), 0)),
            ("with the sample (ns)", &|load| {
                ns(median(load.sampled.values().map(|(ns, _)| *ns)), 0)
            }),
            ("an access of the sampler (ns)", &|load| {
                ns(median(load.alone.iter().copied()), 1)
            }),
            ("pairs", &|load| load.sampled.len().to_string()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of a load in which a request takes 1,000 ns without the sample.
    fn pairs() -> Vec<SamplerRow> {
        let pair = |pair| {
            [(Side::Sampled, 1010), (Side::Plain, 1000)].map(|(side, ns)| SamplerRow {
                load: "hits".to_owned(),
                pair,
                side,
                requests: 100,
                hits: 90,
                elapsed_ns: 100 * ns,
            })
        };
        (0..8).flat_map(pair).collect()
    }

    /// The sampler alone, which takes so many ns an access.
    fn alone(ns: u64) -> Vec<SamplerAloneRow> {
        let row = |repetition| SamplerAloneRow {
            load: "hits".to_owned(),
            repetition,
            accesses: 100,
            elapsed_ns: 100 * ns,
        };
        (0..3).map(row).collect()
    }

    #[test]
    fn a_sampler_may_take_a_fiftieth_of_a_request() {
        let verdict = judge(&pairs(), &alone(20));
        assert!(verdict.holds(), "{:?}", verdict.missed());
        assert_eq!(verdict.claims[1].measured, "2.00 [2.00, 2.00] %.");
        assert!(verdict.findings[0].contains("1.01x"));
        assert!(judge(&pairs(), &alone(21)).claims[1].is_missed());
        assert!(!judge(&pairs(), &[]).holds());
        assert!(!judge(&[], &alone(20)).holds());
        let mut noisy = pairs();
        for row in noisy.iter_mut().filter(|row| row.pair < 4) {
            row.elapsed_ns *= 2;
        }
        let verdict = judge(&noisy, &alone(25));
        assert!(!verdict.claims[1].holds() && !verdict.claims[1].is_missed());
    }

    #[test]
    fn a_sample_that_changes_hits_is_seen() {
        let mut rows = pairs();
        rows[4].hits += 1;
        assert!(judge(&rows, &alone(1)).claims[0].is_missed());
        assert!(judge(&pairs()[1..], &alone(1)).claims[0].is_missed());
    }
}
