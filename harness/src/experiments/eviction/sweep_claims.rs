//! Where it pays that the guest picks: a sweep's points, each a difference of
//! miss ratios, and the line at which the difference is gone.

use std::collections::{BTreeMap, BTreeSet};

use results::stats::Mean;
use results::verdict::{Source, Table, Verdict};

use super::picker::Picker;
use super::sweep_table::{SweepRow, SweepTable};

/// The least saving that counts as one, percentage points of all reads.
pub(crate) const WORTH_IT: f64 = 1.0;

/// How far the ratios of neighbours on an axis may differ for it to be taken
/// as geometric.
const GEOMETRIC: f64 = 1.3;

/// The two pickers that are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duel {
    /// Of the guest.
    pub guest: Picker,
    /// Of the hypervisor.
    pub host: Picker,
}

/// A point of the sweep.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Its values, one for each axis.
    pub values: Vec<String>,
    /// Miss ratio of the guest's picker minus that of the hypervisor's, percentage points,
    /// paired by seed; `None` when no seed has both.
    pub difference: Option<Mean>,
    /// Mean miss ratio of each picker, percent.
    pub percents: BTreeMap<Picker, f64>,
}

impl Point {
    /// Whether the guest's picks are worth it: fewer misses for sure, and by
    /// [`WORTH_IT`] at least.
    pub(crate) fn pays(&self) -> bool {
        self.difference
            .is_some_and(|mean| mean.is_below_zero() && mean.value <= -WORTH_IT)
    }
}

/// What a sweep comes to.
#[derive(Clone, Debug)]
pub(crate) struct Landscape {
    /// Names of the axes.
    pub axes: Vec<String>,
    /// The values of each axis, in the order of the sweep.
    pub values: Vec<Vec<String>>,
    /// Who is held against whom.
    pub duel: Duel,
    /// The points, in the order of the sweep.
    pub points: Vec<Point>,
}

impl Landscape {
    /// The landscape of a table; `None` without a picker of either side.
    pub(crate) fn of(table: &SweepTable) -> Option<Self> {
        let first = |guest: bool| {
            let pickers = table.rows.iter().map(|row| row.picker);
            let mut of_side: Vec<Picker> = pickers.filter(|p| p.is_guest() == guest).collect();
            of_side.sort();
            of_side.first().copied()
        };
        let baseline = table
            .rows
            .iter()
            .any(|row| row.picker == Picker::BASELINE)
            .then_some(Picker::BASELINE);
        let duel = Duel {
            guest: first(true)?,
            host: baseline.or_else(|| first(false))?,
        };
        let mut values: Vec<Vec<String>> = vec![Vec::new(); table.axes.len()];
        let mut by_point: BTreeMap<u32, Vec<&SweepRow>> = BTreeMap::new();
        for row in &table.rows {
            by_point.entry(row.point).or_default().push(row);
        }
        let points = by_point
            .values()
            .map(|rows| {
                for (known, value) in values.iter_mut().zip(&rows[0].values) {
                    if !known.contains(value) {
                        known.push(value.clone());
                    }
                }
                Point {
                    values: rows[0].values.clone(),
                    difference: difference(rows, duel),
                    percents: percents(rows),
                }
            })
            .collect();
        Some(Self {
            axes: table.axes.clone(),
            values,
            duel,
            points,
        })
    }

    /// The point with these values.
    pub(crate) fn at(&self, values: &[&str]) -> Option<&Point> {
        self.points
            .iter()
            .find(|point| point.values.iter().eq(values.iter()))
    }
}

fn ratio(row: &SweepRow) -> f64 {
    100.0 * row.misses as f64 / row.reads.max(1) as f64
}

fn percents(rows: &[&SweepRow]) -> BTreeMap<Picker, f64> {
    let mut by_picker: BTreeMap<Picker, Vec<f64>> = BTreeMap::new();
    for row in rows {
        by_picker.entry(row.picker).or_default().push(ratio(row));
    }
    by_picker
        .into_iter()
        .map(|(picker, all)| (picker, all.iter().sum::<f64>() / all.len() as f64))
        .collect()
}

fn difference(rows: &[&SweepRow], duel: Duel) -> Option<Mean> {
    let of = |picker: Picker| -> BTreeMap<u64, f64> {
        let rows = rows.iter().filter(|row| row.picker == picker);
        rows.map(|row| (row.seed, ratio(row))).collect()
    };
    let host = of(duel.host);
    let differences: Vec<f64> = of(duel.guest)
        .into_iter()
        .filter_map(|(seed, guest)| Some(guest - host.get(&seed)?))
        .collect();
    Mean::of(&differences)
}

/// Where along an axis the guest's picks stop paying.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Crossover {
    /// They pay at all values.
    PaysEverywhere,
    /// They pay at none.
    PaysNowhere,
    /// Between two neighbouring values.
    Between {
        /// The last value on the first side, in the order of the sweep.
        from: String,
        /// The first value on the other.
        to: String,
        /// Where between them the mean saving passes [`WORTH_IT`], by
        /// interpolation; `None` where it does not pass it and only the
        /// certainty is lost.
        about: Option<f64>,
        /// True when they pay before and not after.
        stops: bool,
    },
    /// They stop and start again.
    Several(usize),
}

/// Numbers of an axis, if all its values are.
fn numbers(values: &[String]) -> Option<Vec<f64>> {
    values.iter().map(|value| value.parse().ok()).collect()
}

/// Whether an axis is spaced evenly in ratio rather than in difference.
pub(crate) fn is_geometric(values: &[f64]) -> bool {
    let ratios: Vec<f64> = values.windows(2).map(|pair| pair[1] / pair[0]).collect();
    let (least, most) = ratios
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(l, m), r| (l.min(*r), m.max(*r)));
    values.iter().all(|value| *value > 0.0)
        && values.len() > 2
        && least > 1.0
        && most / least < GEOMETRIC
}

/// The crossover along the points of one line through the landscape, which
/// have the given values of the first axis.
fn crossover(values: &[String], line: &[Option<&Point>]) -> Crossover {
    let known: Vec<(usize, &Point)> = line
        .iter()
        .enumerate()
        .filter_map(|(i, point)| Some((i, (*point)?)))
        .collect();
    let changes: Vec<_> = known
        .windows(2)
        .filter(|pair| pair[0].1.pays() != pair[1].1.pays())
        .collect();
    match changes.as_slice() {
        [] if known.first().is_some_and(|(_, point)| point.pays()) => Crossover::PaysEverywhere,
        [] => Crossover::PaysNowhere,
        [pair] => {
            let [(i, before), (j, after)] = [pair[0], pair[1]];
            Crossover::Between {
                from: values[i].clone(),
                to: values[j].clone(),
                about: interpolate(values, (i, before), (j, after)),
                stops: before.pays(),
            }
        }
        several => Crossover::Several(several.len()),
    }
}

/// Where between two points the mean difference passes the least saving.
fn interpolate(values: &[String], a: (usize, &Point), b: (usize, &Point)) -> Option<f64> {
    let numbers = numbers(values)?;
    let (from, to) = (numbers[a.0], numbers[b.0]);
    let (before, after) = (a.1.difference?.value, b.1.difference?.value);
    // A point may fail to pay because it is not sure; then there is no passing.
    let share = (-WORTH_IT - before) / (after - before);
    if !(0.0..=1.0).contains(&share) {
        return None;
    }
    Some(match is_geometric(&numbers) {
        true => from * (to / from).powf(share),
        false => from + share * (to - from),
    })
}

/// Judges a sweep. `missing` cells and `failed` ones are those of its folder.
pub(crate) fn judge(title: &str, table: &SweepTable, missing: usize, failed: usize) -> Verdict {
    let mut verdict = Verdict {
        title: title.to_owned(),
        claims: Vec::new(),
        findings: Vec::new(),
        tables: Vec::new(),
    };
    let sound = table
        .rows
        .iter()
        .filter(|row| row.hits.checked_add(row.misses) == Some(row.reads))
        .count();
    verdict.claim(
        Source::Requirement,
        "Every cell of the sweep was run, and in each all reads are hits or misses.",
        missing == 0 && failed == 0 && !table.rows.is_empty() && sound == table.rows.len(),
        format!(
            "{} rows, of which {sound} add up; {missing} cells are missing and {failed} impossible or failed.",
            table.rows.len()
        ),
    );
    if let Some(landscape) = Landscape::of(table) {
        find(&mut verdict, &landscape);
        if landscape.axes.len() == 2 {
            let tables = (0..2).filter_map(|along| crossovers(&landscape, along));
            verdict.tables.extend(tables);
        }
        verdict.tables.push(point_table(&landscape));
    }
    verdict
}

fn describe(landscape: &Landscape, point: &Point) -> String {
    let pairs = landscape.axes.iter().zip(&point.values);
    pairs
        .map(|(axis, value)| format!("`{axis}` {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The best, the worst, and how many.
fn find(verdict: &mut Verdict, landscape: &Landscape) {
    let Duel { guest, host } = landscape.duel;
    let known: Vec<(&Point, Mean)> = landscape
        .points
        .iter()
        .filter_map(|point| Some((point, point.difference?)))
        .collect();
    let by = |a: &&(&Point, Mean), b: &&(&Point, Mean)| a.1.value.total_cmp(&b.1.value);
    let (Some(best), Some(worst)) = (known.iter().min_by(by), known.iter().max_by(by)) else {
        return;
    };
    let pays = known.iter().filter(|(point, _)| point.pays()).count();
    let harms = known
        .iter()
        .filter(|(_, mean)| mean.is_above_zero() && mean.value >= WORTH_IT)
        .count();
    verdict.findings.push(format!(
        "At {pays} of {} points {guest} misses fewer reads than {host}, for sure and by at least \
         {WORTH_IT} percentage point; at {harms} it misses more by as much.",
        known.len()
    ));
    verdict.findings.push(format!(
        "It saves most at {}: {} percentage points of all reads, over {} seeds.",
        describe(landscape, best.0),
        best.1.text(2),
        best.1.count
    ));
    let sentence = match worst.1.value > 0.0 {
        true => "It does worst at",
        false => "It saves least at",
    };
    verdict.findings.push(format!(
        "{sentence} {}: {} percentage points.",
        describe(landscape, worst.0),
        worst.1.text(2)
    ));
}

/// Along one of two axes, for each value of the other, where the guest's picks
/// stop paying; `None` for an axis without an order.
fn crossovers(landscape: &Landscape, along: usize) -> Option<Table> {
    numbers(&landscape.values[along])?;
    let across = 1 - along;
    let mut rows = Vec::new();
    for fixed in &landscape.values[across] {
        let line: Vec<Option<&Point>> = landscape.values[along]
            .iter()
            .map(|value| match along {
                0 => landscape.at(&[value, fixed]),
                _ => landscape.at(&[fixed, value]),
            })
            .collect();
        let text = match crossover(&landscape.values[along], &line) {
            Crossover::PaysEverywhere => "pays everywhere".to_owned(),
            Crossover::PaysNowhere => "pays nowhere".to_owned(),
            Crossover::Several(times) => format!("changes {times} times: see the figure"),
            Crossover::Between {
                from,
                to,
                about,
                stops,
            } => {
                let word = if stops { "stops" } else { "starts" };
                let about =
                    about.map_or(String::new(), |x| format!(", at about {}", three_digits(x)));
                format!("{word} paying between {from} and {to}{about}")
            }
        };
        rows.push(vec![fixed.clone(), text]);
    }
    let (along, across) = (&landscape.axes[along], &landscape.axes[across]);
    Some(Table {
        title: format!("Where along `{along}` it pays that the guest picks"),
        head: vec![format!("`{across}`"), format!("along `{along}`")],
        rows,
    })
}

fn three_digits(x: f64) -> String {
    let decimals = (2 - x.abs().max(1e-9).log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{x:.decimals$}");
    match decimals {
        0 => {
            let unit = 10f64
                .powi(x.abs().max(1.0).log10().floor() as i32 - 2)
                .max(1.0);
            format!("{:.0}", (x / unit).round() * unit)
        }
        _ => text,
    }
}

fn point_table(landscape: &Landscape) -> Table {
    let Duel { guest, host } = landscape.duel;
    let mut head: Vec<String> = landscape
        .axes
        .iter()
        .map(|axis| format!("`{axis}`"))
        .collect();
    head.push(format!(
        "{guest} minus {host} (percentage points) [95 % CI]"
    ));
    head.push("seeds".to_owned());
    head.push("pays".to_owned());
    let pickers: BTreeSet<Picker> = landscape
        .points
        .iter()
        .flat_map(|point| point.percents.keys().copied())
        .collect();
    head.extend(pickers.iter().map(|picker| format!("{picker} (%)")));
    Table {
        title: "Points".to_owned(),
        head,
        rows: landscape
            .points
            .iter()
            .map(|point| {
                let mut row = point.values.clone();
                row.push(point.difference.map_or("-".to_owned(), |mean| mean.text(2)));
                row.push(point.difference.map_or(0, |mean| mean.count).to_string());
                row.push(if point.pays() { "yes" } else { "no" }.to_owned());
                row.extend(pickers.iter().map(|picker| {
                    let percent = point.percents.get(picker);
                    percent.map_or("-".to_owned(), |percent| format!("{percent:.2}"))
                }));
                row
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
