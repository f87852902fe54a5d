//! Claims of the linux experiment, part by part.

pub(super) mod cache;
mod churn;
pub(super) mod requests;
pub(super) mod times;

use results::verdict::Verdict;

use super::Rows;

/// Judges what was measured. A run with resizes under load must have rows of these.
pub(super) fn judge(rows: &Rows, is_churned: bool) -> Verdict {
    let (resizes, checks, times, overhead, peers, guests, cache) = rows;
    let mut verdict = Verdict::new("A stock Linux guest");
    if is_churned {
        verdict = churn::judge(verdict, resizes, checks);
    }
    verdict = times::judge(verdict, times);
    verdict = times::peers(verdict, peers);
    verdict = requests::judge(verdict, overhead);
    verdict = requests::own_guest(verdict, guests);
    cache::judge(verdict, cache)
}
