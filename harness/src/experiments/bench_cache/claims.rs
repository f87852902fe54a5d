//! What it shows: the measurements held against the bars.

use guest_cache::Policy;
use results::verdict::{Claim, Outcome, Source, Table, Verdict, median};

use super::rows::{PassRow, SurrenderRow, WalkRow, Who};
use crate::experiments::common::ratio::Ratio;

/// How many times the requests a second of libCacheSim's LRU ours has at least.
const LRU_RATIO: f64 = 2.0;

/// The same of every other policy.
const RATIO: f64 = 1.0;

/// Dependent accesses to memory whose time giving up a block may take: the block's entry, its
/// two neighbours in the policy's list, and its place in the hash table.
const ACCESSES: f64 = 4.0;

/// Policies that depart from libCacheSim's on purpose, as their modules say.
const DEPARTING: [Policy; 2] = [Policy::Lirs, Policy::WTinyLfu];

/// Holds what was measured against the bars.
pub(crate) fn judge(
    passes_made: &[PassRow],
    surrenders: &[SurrenderRow],
    walks: &[WalkRow],
) -> Verdict {
    let mut verdict = Verdict {
        title: "The guest's cache, beside libCacheSim".to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: Vec::new(),
    };
    let mut rows = Vec::new();
    for &policy in Policy::ALL {
        let of = |who: Who| passes(passes_made, policy, who);
        let (ours, peer) = (of(Who::Ours), of(Who::Peer));
        let pairs = ours.iter().zip(&peer);
        let ratios = pairs.map(|(ours, peer)| peer.elapsed_ns as f64 / ours.elapsed_ns as f64);
        let Some(ratio) = Ratio::of_pairs(ratios.collect()) else {
            continue;
        };
        let bar = match policy {
            Policy::Lru => LRU_RATIO,
            _ => RATIO,
        };
        verdict.claims.push(Claim {
            text: format!("{policy}: at least {bar} times the requests a second of libCacheSim's, on one processor."),
            source: Source::Requirement,
            measured: format!("{ratio}."),
            outcome: (ratio.median >= bar).into(),
        });
        let speed = |passes: &[&PassRow]| {
            let ns = median(passes.iter().map(|row| row.elapsed_ns)).unwrap_or(f64::NAN);
            let requests = passes.first().map_or(f64::NAN, |row| row.requests as f64);
            format!("{:.1}", requests / ns * 1e3)
        };
        let misses = |passes: &[&PassRow]| passes.first().map_or(0, |row| row.misses).to_string();
        rows.push(vec![
            policy.to_string(),
            speed(&ours),
            speed(&peer),
            format!("{:.2}", ratio.median),
            misses(&ours),
            misses(&peer),
        ]);
    }
    verdict.claims.push(same_misses(passes_made));
    verdict.claims.push(surrender(surrenders, walks));
    let head = [
        "policy",
        "ours (M requests/s)",
        "libCacheSim (M requests/s)",
        "ratio",
        "misses",
        "its misses",
    ];
    verdict.tables.push(Table {
        title: "Requests a second (medians)".to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows,
    });
    verdict.tables.push(surrender_table(surrenders));
    verdict
}

/// The passes of one side, by round.
fn passes(rows: &[PassRow], policy: Policy, who: Who) -> Vec<&PassRow> {
    let mut passes: Vec<&PassRow> = rows
        .iter()
        .filter(|row| row.policy == policy.name() && row.who == who)
        .collect();
    passes.sort_by_key(|row| row.round);
    passes
}

fn same_misses(rows: &[PassRow]) -> Claim {
    let alike = Policy::ALL.iter().filter(|of| !DEPARTING.contains(of));
    let alike: Vec<Policy> = alike.copied().collect();
    let first = |policy, who| passes(rows, policy, who).first().map(|row| row.misses);
    let equal = alike.iter().filter(|of| {
        let ours = first(**of, Who::Ours);
        ours.is_some() && ours == first(**of, Who::Peer)
    });
    let equal = equal.count();
    Claim {
        text: "Both miss the same number of requests, by each policy that is meant alike (all but lirs and w-tiny-lfu)."
            .to_owned(),
        source: Source::Requirement,
        measured: format!("Equal for {equal} of {} policies.", alike.len()),
        outcome: (equal == alike.len()).into(),
    }
}

fn surrender_ns(surrenders: &[SurrenderRow], policy: Policy) -> Option<f64> {
    let of = surrenders.iter().filter(|row| row.policy == policy.name());
    median(of.map(|row| row.elapsed_ns))
}

fn surrender(surrenders: &[SurrenderRow], walks: &[WalkRow]) -> Claim {
    let times = Policy::ALL
        .iter()
        .filter_map(|of| Some((*of, surrender_ns(surrenders, *of)?)));
    let slowest = times.max_by(|a, b| a.1.total_cmp(&b.1));
    let complete = surrenders.iter().all(|row| row.given_up == row.slots / 4);
    let walk_ns = median(walks.iter().map(|row| row.elapsed_ns));
    let (outcome, measured) = match (slowest, walk_ns) {
        (None, _) => (Outcome::DoesNotHold, "It was not measured.".to_owned()),
        (Some((policy, ns)), walk_ns) => {
            let at_most = format!("At most {:.2} ms, by {policy} (medians)", ns / 1e6);
            match walk_ns {
                _ if !complete => (
                    Outcome::DoesNotHold,
                    format!("{at_most}, but of fewer blocks."),
                ),
                None => (
                    Outcome::undecided("The run did not record the walk over memory."),
                    format!("{at_most}."),
                ),
                Some(walk_ns) => (
                    (ns <= ACCESSES * walk_ns).into(),
                    format!(
                        "{at_most}, {:.2} times the walk of {:.2} ms.",
                        ns / walk_ns,
                        walk_ns / 1e6
                    ),
                ),
            }
        }
    };
    Claim {
        text: format!(
            "Giving up 64 Ki clean blocks of a cache of 256 Ki takes at most {ACCESSES} times as long as a walk \
             over 64 Ki cache lines in random order, by every policy."
        ),
        source: Source::Requirement,
        measured,
        outcome,
    }
}

fn surrender_table(surrenders: &[SurrenderRow]) -> Table {
    let row = |policy: &Policy| {
        let ns = surrender_ns(surrenders, *policy)?;
        Some(vec![policy.to_string(), format!("{:.2}", ns / 1e6)])
    };
    Table {
        title: "Giving up 64 Ki of 256 Ki blocks (medians)".to_owned(),
        head: ["policy", "time (ms)"].map(str::to_owned).to_vec(),
        rows: Policy::ALL.iter().filter_map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surrenders(elapsed_ns: u64) -> Vec<SurrenderRow> {
        let row = |policy: &Policy| SurrenderRow {
            policy: policy.to_string(),
            round: 0,
            slots: 256 << 10,
            given_up: 64 << 10,
            elapsed_ns,
        };
        Policy::ALL.iter().map(row).collect()
    }

    fn walk(elapsed_ns: u64) -> WalkRow {
        WalkRow {
            round: 0,
            policy: Policy::Lru.to_string(),
            memory_bytes: 4 << 20,
            steps: 64 << 10,
            elapsed_ns,
        }
    }

    #[test]
    fn giving_up_is_held_against_the_walk_of_the_same_run() {
        for (ns, holds) in [(4_000_000, true), (4_000_001, false)] {
            let claim = surrender(&surrenders(ns), &[walk(1_000_000)]);
            assert_eq!(claim.outcome, holds.into(), "{claim:?}");
            // A machine with slower memory may take longer.
            assert!(surrender(&surrenders(ns), &[walk(2_000_000)]).holds());
        }
        let mut one_slow = surrenders(1_000_000);
        one_slow[3].elapsed_ns = 5_000_000;
        assert!(surrender(&one_slow, &[walk(1_000_000)]).is_missed());
    }

    #[test]
    fn without_a_walk_giving_up_cannot_be_judged() {
        let claim = surrender(&surrenders(1), &[]);
        assert!(matches!(claim.outcome, Outcome::CannotBeJudged { .. }));
        assert!(surrender(&[], &[walk(1)]).is_missed());
        let mut fewer = surrenders(1);
        fewer[0].given_up = 0;
        assert!(surrender(&fewer, &[walk(1)]).is_missed());
    }
}
