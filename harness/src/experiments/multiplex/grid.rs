//! Who picks the blocks of shrinks, by who decides the sizes: question 1 of 2017 within question 2.

use std::collections::BTreeMap;

use results::chart::plot::Plot;
use results::chart::scale::Scale;
use results::chart::series::{LOOKS, Series};
use results::stats::Mean;
use results::table::{Table, or_dash};
use results::verdict::distinct;

use super::rows::{GUEST, MultiplexRow};

/// The rows of one schedule, of which several picks were run.
struct Grid<'a> {
    schedule: &'a str,
    rows: Vec<&'a MultiplexRow>,
    policies: Vec<&'a str>,
    picks: Vec<&'a str>,
}

impl<'a> Grid<'a> {
    fn all(rows: &'a [MultiplexRow]) -> Vec<Self> {
        let schedules = distinct(rows.iter().map(|row| row.schedule.as_str()));
        let grids = schedules.into_iter().map(|schedule| {
            let of: Vec<&MultiplexRow> =
                rows.iter().filter(|row| row.schedule == schedule).collect();
            Self {
                schedule,
                policies: distinct(of.iter().map(|row| row.policy.as_str())),
                picks: distinct(of.iter().map(|row| row.pick.as_str())),
                rows: of,
            }
        });
        grids.filter(|grid| grid.picks.len() > 1).collect()
    }

    /// Origin traffic of a policy with a pick, for each 100 accesses.
    fn traffic(&self, policy: &str, pick: &str) -> Option<Mean> {
        let of = self.rows.iter();
        let of = of.filter(|row| row.policy == policy && row.pick == pick);
        Mean::of(&of.map(|row| row.traffic_percent()).collect::<Vec<_>>())
    }

    /// How much more traffic than with the guest's pick a policy causes with `pick`, percent, in pairs by
    /// seed.
    fn more(&self, policy: &str, pick: &str) -> Option<Mean> {
        let of = |pick: &str| -> BTreeMap<u64, f64> {
            let of = self.rows.iter();
            of.filter(|row| row.policy == policy && row.pick == pick)
                .map(|row| (row.seed, row.traffic_percent()))
                .collect()
        };
        let by_guest = of(GUEST);
        let more = of(pick).into_iter().filter_map(|(seed, traffic)| {
            let guest = *by_guest.get(&seed)?;
            (guest > 0.0).then(|| 100.0 * (traffic - guest) / guest)
        });
        Mean::of(&more.collect::<Vec<_>>())
    }
}

/// A table for each schedule that was run with several picks: a row for each policy, a column for each pick.
pub(super) fn tables(rows: &[MultiplexRow]) -> Vec<Table> {
    let tables = Grid::all(rows).into_iter().map(|grid| {
        Table::crossed(
            format!(
                "Who picks, by who decides, under `{}`: origin traffic (% of accesses)",
                grid.schedule
            ),
            "policy",
            &grid.policies,
            &grid.picks,
            |pick| named(pick),
            |policy, pick| or_dash(grid.traffic(policy, pick), |mean| mean.text(2)),
        )
    });
    tables.collect()
}

/// How much more traffic each pick of the host causes than the guest's, by policy.
pub(super) fn findings(rows: &[MultiplexRow]) -> Vec<String> {
    let grids = Grid::all(rows);
    let findings = grids.iter().flat_map(|grid| {
        let others = grid.picks.iter().filter(|pick| **pick != GUEST);
        others.filter_map(|pick| {
            let of_policies = grid.policies.iter().filter_map(|policy| {
                let more = grid.more(policy, pick)?;
                Some(format!("`{policy}` {} %", more.text(1)))
            });
            let of_policies: Vec<String> = of_policies.collect();
            (!of_policies.is_empty()).then(|| {
                format!(
                    "`{}`: origin traffic that a pick of the host by `{pick}` causes beyond the guest's: {}.",
                    grid.schedule,
                    of_policies.join(", ")
                )
            })
        })
    });
    findings.collect()
}

/// Origin traffic of every policy and pick; a panel for each schedule. `None` where one side picked only.
pub(super) fn figure(rows: &[MultiplexRow]) -> Option<Plot> {
    let grids = Grid::all(rows);
    let policies = &grids.first()?.policies;
    let names = policies.iter().map(|policy| (*policy).to_owned());
    let plot = Plot::new(
        "multiplex_grid",
        "Who picks, by who decides",
        Scale::linear("Origin traffic (% of accesses)"),
        Scale::names("", names).without_grid(),
    )
    .caption(
        "Blocks read from and written to the origin disks of all VMs for each 100 accesses; less is better. Rows are \
         policies of the arbiter, colours are who picks the blocks that a shrink takes. Means over the seeds with 95 % \
         intervals.",
    );
    Some(grids.iter().fold(plot, |plot, grid| {
        let series = grid.picks.iter().enumerate().map(|(number, pick)| {
            let mut series = Series::new(named(pick), LOOKS[number % LOOKS.len()]);
            let mut marks = Vec::new();
            for (row, policy) in policies.iter().enumerate() {
                let Some(mean) = grid.traffic(policy, pick) else {
                    continue;
                };
                // The marks of a row are one below the other.
                let place = (number as f64 + 0.5) / grid.picks.len() as f64 - 0.5;
                let row = row as f64 + 0.6 * place;
                if let Some((low, high)) = mean.bounds {
                    series = series.interval((low, row), (high, row));
                }
                marks.push((mean.value, row));
            }
            series.marks(marks)
        });
        plot.panel(grid.schedule, series)
    }))
}

fn named(pick: &str) -> String {
    match pick {
        GUEST => "the guest picks".to_owned(),
        pick => format!("the host picks by {pick}"),
    }
}
