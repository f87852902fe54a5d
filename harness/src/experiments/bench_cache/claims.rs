//! Claims of the bench-cache experiment.

use guest_cache::Policy;
use results::stats::{Ratio, median};
use results::table::Table;
use results::verdict::{Measured, Outcome, Verdict};

use super::rows::{PassRow, Side, SurrenderRow, WalkRow};

/// Bar for the requests per second of LRU over those of libCacheSim's.
const LRU_RATIO: f64 = 2.0;

/// The same for every other policy.
const RATIO: f64 = 1.0;

/// Bar for giving up a block, in dependent memory accesses: the block's entry, its two neighbours
/// in the policy's list, and its place in the hash table.
const ACCESSES: f64 = 4.0;

/// Policies that differ from libCacheSim's by design, as their modules say.
const DEPARTING: [Policy; 2] = [Policy::Lirs, Policy::WTinyLfu];

/// The passes of both sides with a policy.
struct Compared<'a> {
    policy: Policy,
    ours: Vec<&'a PassRow>,
    peer: Vec<&'a PassRow>,
    /// Requests per second over those of the peer, by round.
    ratio: Ratio,
}

impl<'a> Compared<'a> {
    fn of(rows: &'a [PassRow], policy: Policy) -> Option<Self> {
        let (ours, peer) = (
            passes(rows, policy, Side::Ours),
            passes(rows, policy, Side::Peer),
        );
        let pairs = ours.iter().zip(&peer);
        let ratios = pairs.map(|(ours, peer)| peer.elapsed_ns as f64 / ours.elapsed_ns as f64);
        Some(Self {
            policy,
            ratio: Ratio::of_pairs(ratios)?,
            ours,
            peer,
        })
    }
}

/// The passes of one side, by round.
fn passes(rows: &[PassRow], policy: Policy, side: Side) -> Vec<&PassRow> {
    let of = rows
        .iter()
        .filter(|row| row.policy == policy.name() && row.who == side);
    let mut passes: Vec<&PassRow> = of.collect();
    passes.sort_by_key(|row| row.round);
    passes
}

/// Judges the rows.
pub(crate) fn judge(passes: &[PassRow], surrenders: &[SurrenderRow], walks: &[WalkRow]) -> Verdict {
    let compared = Policy::ALL
        .iter()
        .filter_map(|policy| Compared::of(passes, *policy));
    let compared: Vec<Compared<'_>> = compared.collect();
    let mut verdict = Verdict::new("The guest's cache against libCacheSim");
    for Compared { policy, ratio, .. } in &compared {
        let bar = match policy {
            Policy::Lru => LRU_RATIO,
            _ => RATIO,
        };
        verdict = verdict.require(
            format!("{policy}: at least {bar}x the requests per second of libCacheSim, on one processor."),
            Some(Measured::new(ratio.median >= bar, format!("{ratio}."))),
        );
    }
    verdict
        .require(
            "Both miss the same number of requests, with each policy of equal design (all but lirs and w-tiny-lfu).",
            same_misses(passes),
        )
        .require(
            format!(
                "Giving up 64 Ki clean blocks of a cache of 256 Ki takes at most {ACCESSES}x the time of a walk over \
                 64 Ki cache lines in random order, with every policy."
            ),
            surrender(surrenders, walks),
        )
        .tables([speeds(&compared), surrender_table(surrenders)])
}

fn same_misses(rows: &[PassRow]) -> Option<Measured> {
    let alike = Policy::ALL.iter().filter(|of| !DEPARTING.contains(of));
    let first = |policy, side| passes(rows, policy, side).first().map(|row| row.misses);
    Measured::every(alike, "policies", |of| {
        let ours = first(**of, Side::Ours);
        ours.is_some() && ours == first(**of, Side::Peer)
    })
}

fn surrender_ns(surrenders: &[SurrenderRow], policy: Policy) -> Option<f64> {
    let of = surrenders.iter().filter(|row| row.policy == policy.name());
    median(of.map(|row| row.elapsed_ns as f64))
}

fn surrender(surrenders: &[SurrenderRow], walks: &[WalkRow]) -> Option<Measured> {
    let times = Policy::ALL
        .iter()
        .filter_map(|of| Some((*of, surrender_ns(surrenders, *of)?)));
    let (policy, ns) = times.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let at_most = format!("At most {:.2} ms, with {policy} (medians)", ns / 1e6);
    if surrenders.iter().any(|row| row.given_up != row.slots / 4) {
        return Some(Measured::new(
            false,
            format!("{at_most}, but for fewer blocks."),
        ));
    }
    let Some(walk_ns) = median(walks.iter().map(|row| row.elapsed_ns as f64)) else {
        let why = "The run did not record the walk over memory.";
        return Some(Measured::new(
            Outcome::undecided(why),
            format!("{at_most}."),
        ));
    };
    let (ratio, walk_ms) = (ns / walk_ns, walk_ns / 1e6);
    Some(Measured::new(
        ns <= ACCESSES * walk_ns,
        format!("{at_most}, {ratio:.2}x the walk of {walk_ms:.2} ms."),
    ))
}

fn speeds(compared: &[Compared<'_>]) -> Table {
    let speed = |passes: &[&PassRow]| {
        let ns = median(passes.iter().map(|row| row.elapsed_ns as f64)).unwrap_or(f64::NAN);
        format!("{:.1}", passes[0].requests as f64 / ns * 1e3)
    };
    Table::of(
        "Requests per second (medians)",
        compared,
        &[
            ("policy", &|of| of.policy.to_string()),
            ("ours (M requests/s)", &|of| speed(&of.ours)),
            ("libCacheSim (M requests/s)", &|of| speed(&of.peer)),
            ("ratio", &|of| format!("{:.2}", of.ratio.median)),
            ("misses", &|of| of.ours[0].misses.to_string()),
            ("misses of libCacheSim", &|of| of.peer[0].misses.to_string()),
        ],
    )
}

fn surrender_table(surrenders: &[SurrenderRow]) -> Table {
    let of = |policy: &Policy| Some((*policy, surrender_ns(surrenders, *policy)?));
    Table::of(
        "Giving up 64 Ki of 256 Ki blocks (medians)",
        Policy::ALL.iter().filter_map(of),
        &[
            ("policy", &|(policy, _)| policy.to_string()),
            ("time (ms)", &|(_, ns)| format!("{:.2}", ns / 1e6)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use results::verdict::Claim;

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

    /// The claim about giving up blocks.
    fn giving_up(surrenders: &[SurrenderRow], walks: &[WalkRow]) -> Claim {
        judge(&[], surrenders, walks).claims.pop().unwrap()
    }

    #[test]
    fn giving_up_is_held_against_the_walk_of_the_same_run() {
        for (ns, holds) in [(4_000_000, true), (4_000_001, false)] {
            let claim = giving_up(&surrenders(ns), &[walk(1_000_000)]);
            assert_eq!(claim.outcome, holds.into(), "{claim:?}");
            // A machine with slower memory may take longer.
            assert!(giving_up(&surrenders(ns), &[walk(2_000_000)]).holds());
        }
        let mut one_slow = surrenders(1_000_000);
        one_slow[3].elapsed_ns = 5_000_000;
        assert!(giving_up(&one_slow, &[walk(1_000_000)]).is_missed());
    }

    #[test]
    fn without_a_walk_giving_up_cannot_be_judged() {
        let claim = giving_up(&surrenders(1), &[]);
        assert!(matches!(claim.outcome, Outcome::CannotBeJudged { .. }));
        assert!(giving_up(&[], &[walk(1)]).is_missed());
        let mut fewer = surrenders(1);
        fewer[0].given_up = 0;
        assert!(giving_up(&fewer, &[walk(1)]).is_missed());
    }
}
