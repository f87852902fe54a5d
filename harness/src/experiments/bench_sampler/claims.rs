//! Claims of the bench-sampler experiment.

use std::collections::BTreeMap;

use results::stats::{Ratio, median};
use results::table::Table;
use results::verdict::{Measured, Verdict};

use super::{SamplerRow, Side};

/// Bar for the time of a replay with the sample, over that without.
const RATIO: f64 = 1.02;

/// Both sides of a load: nanoseconds a request, by pair.
#[derive(Default)]
struct Load {
    sampled: BTreeMap<u32, f64>,
    plain: BTreeMap<u32, f64>,
    hits: u64,
    requests: u64,
}

impl Load {
    /// Of the pairs that have both sides.
    fn ratio(&self) -> Option<Ratio> {
        let pairs = self
            .sampled
            .iter()
            .filter_map(|(pair, ns)| Some(ns / self.plain.get(pair)?));
        Ratio::of_pairs(pairs)
    }
}

/// Judges the rows.
pub(crate) fn judge(rows: &[SamplerRow]) -> Verdict {
    let mut loads: BTreeMap<&str, Load> = BTreeMap::new();
    for row in rows {
        let load = loads.entry(&row.load).or_default();
        load.hits += row.hits;
        load.requests += row.requests;
        let side = match row.side {
            Side::Sampled => &mut load.sampled,
            Side::Plain => &mut load.plain,
        };
        side.insert(row.pair, row.elapsed_ns as f64 / row.requests as f64);
    }
    let mut verdict = Verdict::new("What the sample of the demand costs a guest").require(
        "Both guests hit and miss alike: the sample changes no decision of the cache.",
        Measured::every(loads.keys(), "loads", |load| hits_are_equal(rows, load)),
    );
    for (name, load) in &loads {
        verdict = verdict.require(
            format!("{name}: a replay takes at most {RATIO}x as long with the sample as without."),
            load.ratio()
                .map(|ratio| ratio.judged(|interval| interval.at_most(RATIO))),
        );
    }
    verdict.tables([costs(&loads)])
}

/// Whether each pair of a load has as many hits on both sides.
fn hits_are_equal(rows: &[SamplerRow], load: &str) -> bool {
    let of = |side| {
        let rows = rows
            .iter()
            .filter(|row| row.load == load && row.side == side);
        rows.map(|row| (row.pair, row.hits))
            .collect::<BTreeMap<_, _>>()
    };
    of(Side::Sampled) == of(Side::Plain)
}

fn costs(loads: &BTreeMap<&str, Load>) -> Table {
    let ns = |of: &BTreeMap<u32, f64>| median(of.values().copied()).unwrap_or(f64::NAN);
    Table::of(
        "Time of a request (medians)",
        loads,
        &[
            ("load", &|(name, _)| (**name).to_owned()),
            ("hit ratio", &|(_, of)| {
                format!("{:.3}", of.hits as f64 / of.requests as f64)
            }),
            ("without (ns)", &|(_, of)| format!("{:.0}", ns(&of.plain))),
            ("with (ns)", &|(_, of)| format!("{:.0}", ns(&of.sampled))),
            ("pairs", &|(_, of)| of.sampled.len().to_string()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of a load in which the sampled side takes so many ns, the plain one 1,000.
    fn pairs(ns: [u64; 8]) -> Vec<SamplerRow> {
        let pair = |(pair, ns)| {
            [(Side::Sampled, ns), (Side::Plain, 1000)].map(|(side, ns)| SamplerRow {
                load: "hits".to_owned(),
                pair,
                side,
                requests: 100,
                hits: 90,
                elapsed_ns: 100 * ns,
            })
        };
        (0..).zip(ns).flat_map(pair).collect()
    }

    #[test]
    fn a_sample_may_take_a_fiftieth() {
        assert!(judge(&pairs([1010; 8])).holds());
        assert!(!judge(&pairs([1030; 8])).holds());
        let verdict = judge(&pairs([900, 990, 1010, 1015, 1030, 1040, 1100, 1200]));
        assert!(!verdict.claims[1].holds() && !verdict.claims[1].is_missed());
        assert!(!judge(&[]).holds());
    }

    #[test]
    fn a_sample_that_changes_hits_is_seen() {
        let mut rows = pairs([1010; 8]);
        rows[4].hits += 1;
        assert!(judge(&rows).claims[0].is_missed());
        assert!(judge(&rows[1..]).claims[0].is_missed(), "half a pair");
    }
}
