//! Where guest picks pay: the points of a sweep, each a difference of miss ratios, and the values
//! at which the saving ends.

use std::collections::{BTreeMap, BTreeSet};

use results::stats::Mean;
use results::table::{Table, or_dash, yes};
use results::verdict::{Measured, Verdict};

use super::picker::Picker;
use super::sweep_table::{SweepRow, SweepTable};

/// The smallest saving that counts, percentage points of all reads.
const WORTH_IT: f64 = 1.0;

/// Largest quotient of the ratios between neighbouring values of a geometric axis.
const GEOMETRIC: f64 = 1.3;

/// The two pickers that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duel {
    /// The guest's.
    pub guest: Picker,
    /// The hypervisor's.
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
    /// Whether the guest's picks have significantly fewer misses, by at least [`WORTH_IT`].
    pub(crate) fn pays(&self) -> bool {
        self.difference
            .is_some_and(|mean| mean.is_below_zero() && mean.value <= -WORTH_IT)
    }

    /// Whether they have significantly more, by at least as much.
    fn harms(&self) -> bool {
        self.difference
            .is_some_and(|mean| mean.is_above_zero() && mean.value >= WORTH_IT)
    }
}

/// The points of a sweep over its axes.
#[derive(Clone, Debug)]
pub(crate) struct Landscape {
    /// Names of the axes.
    pub axes: Vec<String>,
    /// The values of each axis, in the order of the sweep.
    pub values: Vec<Vec<String>>,
    /// The pickers that are compared.
    pub duel: Duel,
    /// The points, in the order of the sweep.
    pub points: Vec<Point>,
}

impl Landscape {
    /// `None` unless both sides have a picker.
    pub(crate) fn of(table: &SweepTable) -> Option<Self> {
        let pickers = || table.rows.iter().map(|row| row.picker);
        let first = |is_guest: bool| pickers().filter(|of| of.is_guest() == is_guest).min();
        let baseline = pickers().find(|picker| *picker == Picker::BASELINE);
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

/// Where along an axis the guest's picks start or stop paying.
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
        /// Value at which the mean saving is [`WORTH_IT`], by interpolation; `None` if it does
        /// not cross that and only the significance is lost.
        about: Option<f64>,
        /// True when they pay before and not after.
        stops: bool,
    },
    /// They change this many times.
    Several(usize),
}

/// The values of an axis as numbers; `None` unless all are.
fn numbers(values: &[String]) -> Option<Vec<f64>> {
    values.iter().map(|value| value.parse().ok()).collect()
}

/// Whether neighbouring values have about the same ratio.
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

/// The crossover along a line of points, which have these values of an axis.
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

/// The value between two points at which the mean saving is [`WORTH_IT`].
fn interpolate(values: &[String], a: (usize, &Point), b: (usize, &Point)) -> Option<f64> {
    let numbers = numbers(values)?;
    let (from, to) = (numbers[a.0], numbers[b.0]);
    let (before, after) = (a.1.difference?.value, b.1.difference?.value);
    // A point may fail to pay for lack of significance; then the mean does not cross.
    let share = (-WORTH_IT - before) / (after - before);
    if !(0.0..=1.0).contains(&share) {
        return None;
    }
    Some(if is_geometric(&numbers) {
        from * (to / from).powf(share)
    } else {
        from + share * (to - from)
    })
}

/// Judges a sweep with this many missing and failed cells.
pub(crate) fn judge(title: &str, table: &SweepTable, missing: usize, failed: usize) -> Verdict {
    let landscape = Landscape::of(table);
    let findings = landscape.as_ref().and_then(findings);
    let tables = landscape.as_ref().map(|landscape| {
        let along = if landscape.axes.len() == 2 {
            0..2
        } else {
            0..0
        };
        let crossovers = along.filter_map(|along| crossovers(landscape, along));
        crossovers.chain([point_table(landscape)])
    });
    Verdict::new(title)
        .require(
            "Every cell of the sweep was run, and in each all reads are hits or misses.",
            completeness(table, missing, failed),
        )
        .findings(findings.into_iter().flatten())
        .tables(tables.into_iter().flatten())
}

fn completeness(table: &SweepTable, missing: usize, failed: usize) -> Option<Measured> {
    let is_sound = |row: &&SweepRow| row.hits.checked_add(row.misses) == Some(row.reads);
    let (sound, all) = (table.rows.iter().filter(is_sound).count(), table.rows.len());
    Some(Measured::new(
        missing == 0 && failed == 0 && all > 0 && sound == all,
        format!(
            "{sound} of {all} rows add up; {missing} cells are missing, and {failed} are impossible or failed."
        ),
    ))
}

fn describe(landscape: &Landscape, point: &Point) -> String {
    let pairs = landscape.axes.iter().zip(&point.values);
    let pairs: Vec<String> = pairs
        .map(|(axis, value)| format!("`{axis}` {value}"))
        .collect();
    pairs.join(", ")
}

/// The number of points at which guest picks pay, and the best and the worst point.
fn findings(landscape: &Landscape) -> Option<[String; 3]> {
    let Duel { guest, host } = landscape.duel;
    let known: Vec<(&Point, Mean)> = landscape
        .points
        .iter()
        .filter_map(|point| Some((point, point.difference?)))
        .collect();
    let by = |a: &&(&Point, Mean), b: &&(&Point, Mean)| a.1.value.total_cmp(&b.1.value);
    let (best, worst) = (known.iter().min_by(by)?, known.iter().max_by(by)?);
    let count = |is: fn(&Point) -> bool| known.iter().filter(|(point, _)| is(point)).count();
    let extreme = if worst.1.value > 0.0 {
        "Largest increase"
    } else {
        "Smallest saving"
    };
    Some([
        format!(
            "At {} of {} points {guest} has significantly fewer misses than {host}, by at least {WORTH_IT} percentage \
             point; at {} it has more by as much.",
            count(Point::pays),
            known.len(),
            count(Point::harms)
        ),
        format!(
            "Largest saving: at {}, {} percentage points of all reads, over {} seeds.",
            describe(landscape, best.0),
            best.1.text(2),
            best.1.count
        ),
        format!(
            "{extreme}: at {}, {} percentage points.",
            describe(landscape, worst.0),
            worst.1.text(2)
        ),
    ])
}

/// Along one of two axes, for each value of the other, where the guest's picks stop paying; `None`
/// for an axis without an order.
fn crossovers(landscape: &Landscape, along: usize) -> Option<Table> {
    let values = &landscape.values[along];
    numbers(values)?;
    let across = 1 - along;
    let text = |fixed: &str| {
        let point = |value: &String| {
            let mut at = [fixed; 2];
            at[along] = value;
            landscape.at(&at)
        };
        let line: Vec<Option<&Point>> = values.iter().map(point).collect();
        match crossover(values, &line) {
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
        }
    };
    let (along, across_name) = (&landscape.axes[along], &landscape.axes[across]);
    Some(Table::of(
        format!("Where guest picks pay along `{along}`"),
        &landscape.values[across],
        &[
            (&format!("`{across_name}`"), &|fixed| (*fixed).clone()),
            (&format!("along `{along}`"), &|fixed| text(fixed)),
        ],
    ))
}

fn three_digits(x: f64) -> String {
    let magnitude = x.abs().max(1e-9).log10().floor() as i32;
    if magnitude < 2 {
        let decimals = (2 - magnitude).min(6) as usize;
        return format!("{x:.decimals$}");
    }
    let unit = 10f64.powi(magnitude - 2);
    format!("{:.0}", (x / unit).round() * unit)
}

fn point_table(landscape: &Landscape) -> Table {
    let Duel { guest, host } = landscape.duel;
    let pickers: BTreeSet<Picker> = landscape
        .points
        .iter()
        .flat_map(|point| point.percents.keys().copied())
        .collect();
    let axes = landscape.axes.iter().map(|axis| format!("`{axis}`"));
    let numbers = [
        format!("{guest} minus {host} (percentage points) [95 % CI]"),
        "seeds".to_owned(),
        "pays".to_owned(),
    ];
    let percents = pickers.iter().map(|picker| format!("{picker} (%)"));
    let row = |point: &Point| {
        let percents = pickers.iter().map(|picker| {
            let percent = point.percents.get(picker);
            or_dash(percent, |percent| format!("{percent:.2}"))
        });
        let numbers = [
            or_dash(point.difference, |mean| mean.text(2)),
            point.difference.map_or(0, |mean| mean.count).to_string(),
            yes(point.pays()),
        ];
        let values = point.values.iter().cloned();
        values.chain(numbers).chain(percents).collect()
    };
    Table {
        title: "Points".to_owned(),
        head: axes.chain(numbers).chain(percents).collect(),
        rows: landscape.points.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests;
